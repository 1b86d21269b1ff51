"""An index in another process: it travels as its path."""

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from onegen_model import OneGenModel, PassageIndex
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import InvalidInputError, OneGenError
from tests.conftest import MakeNetwork, make_tokenizer
from tests.support.fake_embedder import FakeEmbedder, unit
from tests.support.indexes import passages, query
from tests.support.integrations_models import save_model


def test_a_saved_or_loaded_index_pickles_as_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = PassageIndex.build(FakeEmbedder(), passages(30))
    saved.save("my.index")
    loaded = PassageIndex.load(FakeEmbedder(), "my.index")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for index in (saved, loaded):
        pickled = pickle.dumps(index)
        assert len(pickled) < 1000
        copy = pickle.loads(pickled)
        assert copy.passages == index.passages
        assert copy.retrieve([query("a")]) == index.retrieve([query("a")])


def test_an_index_without_a_folder_names_what_to_pass(tmp_path: Path) -> None:
    index = PassageIndex.build(FakeEmbedder(), passages(3))
    with pytest.raises(InvalidInputError, match=r"was never saved; .*pass its path and load it"):
        pickle.dumps(index)
    index.save(tmp_path / "my.index")
    index.add(passages(4))
    with pytest.raises(InvalidInputError, match=r"has changed since it was saved; .*save it first"):
        pickle.dumps(index)
    index.save(tmp_path / "my.index")
    assert len(pickle.loads(pickle.dumps(index))) == 4


class Locked(FakeEmbedder):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Heavy(FakeEmbedder):
    """Holds weights of 8 MB."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = np.zeros(2**20)


@pytest.mark.parametrize("kind", [Locked, Heavy])
def test_a_model_that_does_not_pickle_by_name_is_named(
    tmp_path: Path, kind: type[FakeEmbedder]
) -> None:
    index = PassageIndex(kind())
    index.add_embedded(passages(1), unit("a")[None])
    index.save(tmp_path / "my.index")
    with pytest.raises(
        InvalidInputError,
        match=rf"a {kind.__name__}, does not pickle as a name .*pass the names of the model and",
    ):
        pickle.dumps(index)


def test_an_index_travels_with_a_model_that_was_loaded_by_name(
    tmp_path: Path, make_network: MakeNetwork
) -> None:
    model = OneGenModel.from_pretrained(save_model(make_network, tmp_path / "model"))
    index = PassageIndex.build(model, passages(5))
    index.save(tmp_path / "my.index")
    copy = pickle.loads(pickle.dumps(index))
    vectors = model.embed_queries(["Which text is it?"])
    assert copy.search(vectors, 3) == index.search(vectors, 3)
    in_memory = OneGenModel(Checkpoint(model.network, make_tokenizer(), model.config, "f" * 64))
    index = PassageIndex.build(in_memory, passages(2))
    index.save(tmp_path / "other.index")
    with pytest.raises(OneGenError, match="pass its name"):
        pickle.dumps(index)
