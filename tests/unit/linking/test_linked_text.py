"""Linked texts that are put together."""

import pytest

from onegen_model import LinkedText, LinkingUsage, Mention


def test_linked_texts_add_up() -> None:
    first = LinkedText("Ada met ", (Mention(0, 3, "Ada", None, None),), LinkingUsage(forwarded=2))
    second = LinkedText("Alan.", (Mention(0, 4, "Alan", None, 0.5),), LinkingUsage(forwarded=3))
    both = first + second
    assert both == LinkedText(
        "Ada met Alan.", (first.mentions[0], Mention(8, 12, "Alan", None, 0.5))
    )
    assert both.usage.forwarded == 5
    assert all(both.text[one.start : one.end] == one.surface for one in both.mentions)
    assert LinkedText("", ()) + first == first
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = first + "text"  # type: ignore[operator]
