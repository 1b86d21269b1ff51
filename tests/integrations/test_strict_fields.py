"""Arguments that a component does not have: refused with the nearest name, never dropped."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onegen_integrations.shared.model_fields import ModelFields
from onegen_integrations.shared.sampling_fields import SamplingFields
from onegen_integrations.shared.strict_fields import StrictFields


class Host(BaseModel):
    """A framework's own class, which drops what it does not know."""

    model_config = ConfigDict(extra="ignore")

    callbacks: Any = None
    vectorstore: Any = Field(default=None, alias="store")

    @classmethod
    def class_name(cls) -> str:
        return cls.__name__


class Component(ModelFields, SamplingFields, Host):
    pass


class Labelled(ModelFields, Host):
    model_name: str = "label"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("vector_store", "vectorstore"),
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("call_backs", "callbacks"),
        ("devise", "device"),
    ],
)
def test_a_misspelt_argument_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(ValidationError, match=f"no argument '{name}'; expected '{nearest}'"):
        Component(**{name: "x"})


def test_an_argument_near_to_nothing_is_refused_with_all_names() -> None:
    with pytest.raises(ValidationError, match=r"no argument 'zz'; expected some of .*temperature"):
        Component(zz=1)


@pytest.mark.parametrize("name", ["model", "model_name", "model_id", "model_path"])
def test_the_usual_names_of_the_model_name_the_model(name: str) -> None:
    assert Component(**{name: "some/folder"}).model == "some/folder"


@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens"])
def test_the_usual_names_of_the_length_set_it(name: str) -> None:
    assert Component(**{name: 5}).max_tokens == 5


def test_two_names_with_different_values_are_refused_and_equal_ones_are_not() -> None:
    with pytest.raises(ValidationError, match="'model' and 'model_id', which mean the same"):
        Component(model="one", model_id="another")
    assert Component(model="one", model_id="one").model == "one"


def test_a_label_of_the_host_names_the_model_only_where_no_model_is_given() -> None:
    alone = Labelled(model_name="some/folder")
    assert (alone.model, alone.model_name) == ("some/folder", "some/folder")
    both = Labelled(model="some/folder", model_name="mine")
    assert (both.model, both.model_name) == ("some/folder", "mine")


def test_the_hosts_own_fields_and_aliases_pass() -> None:
    component = Component(callbacks=[1], store="s", stop_sequences=["x"])
    assert (component.callbacks, component.vectorstore, component.stop) == ([1], "s", ["x"])


def test_what_a_component_writes_of_itself_can_be_read_back() -> None:
    written = Component(model="m", temperature=0.5).model_dump()
    again = Component.model_validate({**written, "class_name": "Component"})
    assert again.model_dump() == written
    assert Component.model_validate(again) is again


def test_a_mixin_without_those_fields_translates_nothing() -> None:
    class Plain(StrictFields):
        size: int = 0

    with pytest.raises(ValidationError, match="no argument 'model_id'"):
        Plain(model_id="x")


def test_an_argument_for_remote_services_is_ignored_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="Component ignores 'timeout'"):
        assert "timeout" not in Component(timeout=60).model_dump()


def test_a_subclass_of_a_user_that_allows_more_arguments_takes_them() -> None:
    class Open(Component):
        model_config = ConfigDict(extra="allow")

    component: Any = Open(tenant="a", model_path="some/folder")
    assert (component.tenant, component.model) == ("a", "some/folder")
