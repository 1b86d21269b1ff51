"""OneGenLLM as a component: loaded once and late, copied, serialised and restored."""

import asyncio
import copy
import json
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ChatMessage

from onegen_integrations.llama_index import OneGenEmbedding, OneGenLLM, PassageParser
from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError
from tests.integrations.llama_index.scripted_turns import last


def components(folder: Path) -> list[Any]:
    llm = OneGenLLM(
        model=folder, temperature=0.5, stop=["."], system_prompt="Be kind.", max_tokens=9
    )
    embedding = OneGenEmbedding(model=str(folder), embed_batch_size=3)
    return [llm, embedding, PassageParser(embedding, chunk_size=30)]


def test_components_come_back_from_dictionaries_and_json(folder: Path) -> None:
    for one in components(folder):
        for again in (
            type(one).from_dict(one.to_dict()),
            type(one).from_json(one.to_json()),
        ):
            assert again.to_dict() == one.to_dict()
        assert str(folder) in json.dumps(one.to_dict())


def test_all_forms_of_a_component_share_one_load(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    original = OneGenModel.from_pretrained

    def count(*arguments: Any, **options: Any) -> OneGenModel:
        loads.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(OneGenModel, "from_pretrained", count)
    own = tmp_path / "copy"
    shutil.copytree(folder, own)
    llm, embedding = OneGenLLM(model=own), OneGenEmbedding(model=str(own))
    assert loads == [], "nothing is loaded before it is needed"
    parser = PassageParser(embedding)
    made: list[Any] = [llm, embedding, parser.embed_model]
    for one in (llm, embedding, parser):
        packed = pickle.dumps(one)
        assert len(packed) < 2000
        for again in (pickle.loads(packed), copy.deepcopy(one), one.model_copy(deep=True)):
            assert again.to_dict() == one.to_dict()
            made.append(again if one is not parser else again.embed_model)
    assert len({id(one.shared.model) for one in made}) == 1
    assert len(loads) == 1
    text = "Alba lies on a river. " * 20
    [unpacked] = [pickle.loads(pickle.dumps(parser))]
    assert unpacked.split_text(text) == parser.split_text(text)


def test_a_loaded_model_works_but_for_pickling(folder: Path) -> None:
    own = OneGenModel.from_pretrained(folder)
    llm = OneGenLLM(model=own)
    assert llm.shared.model is own
    assert copy.deepcopy(llm).shared.model is own
    # The copy of a parser would split for the default model.
    for one in (llm, PassageParser(OneGenEmbedding(model=own))):
        with pytest.raises(InvalidInputError, match="cannot be pickled; expected one that a path"):
            pickle.dumps(one)


def test_metadata_describes_the_model(llm: OneGenLLM, model: OneGenModel) -> None:
    reply = llm.metadata
    assert reply.context_window == model.max_context == 4096
    assert reply.is_function_calling_model
    assert reply.is_chat_model
    assert reply.num_output == llm.max_tokens


@pytest.mark.parametrize("way", ["achat", "acomplete", "astream_chat", "apredict"])
def test_the_event_loop_does_not_wait_for_the_model_to_load(
    way: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(folder, tmp_path / "copy")  # not loaded yet
    loaders: list[threading.Thread] = []
    original = OneGenModel.from_pretrained

    def load(*arguments: Any, **options: Any) -> OneGenModel:
        loaders.append(threading.current_thread())
        return original(*arguments, **options)

    monkeypatch.setattr(OneGenModel, "from_pretrained", load)
    llm = OneGenLLM(model=own, max_tokens=2)

    async def ask() -> None:
        if way == "astream_chat":
            await last(llm.astream_chat([ChatMessage("Hello.")]))
        elif way == "achat":
            await llm.achat([ChatMessage("Hello.")])
        elif way == "acomplete":
            await llm.acomplete("Hello.")
        else:
            await llm.apredict(PromptTemplate("Hello."))

    assert llm.metadata.is_chat_model
    assert loaders == []
    asyncio.run(ask())
    assert len(loaders) == 1
    assert loaders[0] is not threading.main_thread()
    assert llm.metadata.model_dump()["context_window"] == 4096


def test_a_loaded_model_is_written_by_its_name_if_it_has_one(
    folder: Path, model: OneGenModel
) -> None:
    named = OneGenLLM(model=model, max_tokens=9)
    assert named.to_dict()["model"] == str(folder)
    assert OneGenLLM.from_dict(named.to_dict()).shared.model is model
    own = OneGenModel.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"was passed as a loaded object; expected a path"):
        OneGenLLM.from_dict(OneGenLLM(model=own).to_dict())
