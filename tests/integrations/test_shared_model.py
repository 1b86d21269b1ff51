"""One set of weights for equal arguments, however often and from however many threads."""

import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from onegen_integrations.shared import SharedModel, shared_model, unload_model
from onegen_integrations.shared import models as shared
from onegen_integrations.shared.model_fields import ModelFields
from onegen_model import OneGenModel
from onegen_model.errors import CheckpointError, InvalidInputError


class Loaded(OneGenModel):
    """A model without weights that knows what it was asked for."""

    def __init__(self, *asked: Any) -> None:
        self.fingerprint = "-".join(map(str, asked))
        self.is_unloaded = False

    def unload(self) -> None:
        self.is_unloaded = True


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    engine: SharedModel = Field(exclude=True, repr=False)
    temperature: float = 0.0


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Every load, in order; the process's own models are out of the way meanwhile."""
    seen: list[tuple[Any, ...]] = []

    def load(source: str | None, *, dtype: str, device: str | None, **options: Any) -> OneGenModel:
        asked = (source, dtype, device, *sorted(map(str, options.items())))
        seen.append(asked)
        time.sleep(0.02)
        return Loaded(*asked)

    monkeypatch.setattr(OneGenModel, "from_pretrained", load)
    monkeypatch.setattr(shared, "_models", {})
    monkeypatch.setattr(shared, "_locks", {})
    return seen


def test_eight_threads_that_ask_at_once_load_once(loads: list[tuple[Any, ...]]) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> OneGenModel:
        barrier.wait()
        return shared_model("hub/id")

    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(ask, range(8)))
    assert loads == [("hub/id", "float32", None)]
    assert len({id(model) for model in models}) == 1


def test_the_arguments_decide_which_weights_are_loaded(
    loads: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert shared_model("model") is shared_model(tmp_path / "model")
    assert shared_model(tmp_path / "x" / ".." / "model") is not shared_model("model/other")
    assert shared_model("model", dtype="bfloat16") is not shared_model("model")
    assert shared_model() is shared_model(None)
    assert len(loads) == len(set(loads))


def test_a_load_that_fails_is_tried_again(
    loads: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> OneGenModel:
        raise CheckpointError("no such folder")

    with monkeypatch.context() as patch:
        patch.setattr(OneGenModel, "from_pretrained", fail)
        with pytest.raises(CheckpointError):
            shared_model("late")
    assert shared_model("late").fingerprint == "late-float32-None"


def test_a_handle_loads_when_it_is_used_and_is_never_copied(loads: list[tuple[Any, ...]]) -> None:
    handle = SharedModel("hub/id")
    assert copy.copy(handle) is handle
    assert copy.deepcopy([handle])[0] is handle
    assert repr(handle) == "SharedModel(hub/id)"
    assert loads == []
    assert handle.model is shared_model("hub/id")
    assert handle.fingerprint == "hub/id-float32-None"
    assert len(loads) == 1


def test_a_pickle_holds_the_name_and_not_the_weights(loads: list[tuple[Any, ...]]) -> None:
    for handle in (SharedModel("hub/id", dtype="float16"), SharedModel(shared_model("hub/id"))):
        packed = pickle.dumps(handle)
        assert len(packed) < 300
        assert pickle.loads(packed) == handle
        assert pickle.loads(packed).model is handle.model
    assert len(loads) == 2


def test_a_handle_of_a_loaded_model_works_but_for_pickling() -> None:
    model = Loaded("mine")
    handle = SharedModel(model)
    assert handle.model is model
    assert SharedModel(handle) == handle == SharedModel(model)
    assert len({handle, SharedModel(model), SharedModel(Loaded("mine"))}) == 2
    with pytest.raises(InvalidInputError, match="cannot be pickled; expected one that a path"):
        pickle.dumps(handle)


def test_a_handle_is_a_field_of_a_pydantic_model(loads: list[tuple[Any, ...]]) -> None:
    holder = Holder(engine=SharedModel("hub/id"))
    assert holder.model_copy(deep=True).engine is holder.engine
    assert pickle.loads(pickle.dumps(holder)).engine == holder.engine
    assert Holder(**{**holder.__dict__, "temperature": 1}).engine is holder.engine
    assert holder.model_dump() == {"temperature": 0.0}
    assert loads == []


def test_arguments_of_loading_decide_which_weights(loads: list[tuple[Any, ...]]) -> None:
    plain = shared_model("hub/id")
    for options in (
        {"revision": "v1"},
        {"revision": "v2"},
        {"device_map": {"": "cpu"}},
        {"device_map": "auto"},
        {"quantization": "4bit"},
        {"model_kwargs": {"max_memory": {0: "10GiB", "cpu": "30GiB"}}},
    ):
        model = shared_model("hub/id", **options)
        assert model is not plain
        assert shared_model("hub/id", **copy.deepcopy(options)) is model
        handle = pickle.loads(pickle.dumps(SharedModel("hub/id", **options)))
        assert handle.model is model
    assert shared_model("hub/id", model_kwargs={}, revision=None) is plain
    assert len(loads) == len(set(loads)) == 7


def test_an_unloaded_model_is_forgotten_and_loaded_again_when_used(
    loads: list[tuple[Any, ...]],
) -> None:
    handle, other = SharedModel("hub/id"), shared_model("hub/other")
    first = handle.model
    handle.unload()
    handle.unload()
    assert (first.is_unloaded, other.is_unloaded) == (True, False)
    second = SharedModel("hub/id").model
    assert second is not first
    assert handle.model is second
    unload_model("hub/id")
    assert second.is_unloaded
    assert len(loads) == 3


def test_unloading_what_was_never_loaded_loads_nothing(loads: list[tuple[Any, ...]]) -> None:
    SharedModel("hub/id").unload()
    unload_model("hub/id", revision="v1")
    assert loads == []


def test_a_handle_of_a_loaded_model_unloads_it() -> None:
    model = Loaded("mine")
    SharedModel(model).unload()
    assert model.is_unloaded


def test_a_component_loads_as_its_fields_say(loads: list[tuple[Any, ...]]) -> None:
    component = ModelFields(model="hub/id", device_map="cpu", revision="v1", quantization="8bit")
    model = component.shared.model
    assert loads == [
        (
            *("hub/id", "float32", None),
            *("('device_map', 'cpu')", "('quantization', '8bit')", "('revision', 'v1')"),
        )
    ]
    component.unload()
    assert model.is_unloaded
