"""The names of the package."""

import pytest

import onegen_model


def test_every_public_name_can_be_imported() -> None:
    for name in onegen_model.__all__:
        assert getattr(onegen_model, name) is not None
    assert onegen_model.Ticket is onegen_model.RequestHandle
    assert set(onegen_model.__all__) <= set(dir(onegen_model))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = onegen_model.nothing
