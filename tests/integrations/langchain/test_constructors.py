"""Arguments of a component: none of them is ignored silently."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.vectorstores import InMemoryVectorStore

from onegen_integrations.langchain import (
    OneGenChatModel,
    OneGenEmbeddings,
    OneGenLLM,
    OneGenRetriever,
)

WRITERS = [OneGenChatModel, OneGenLLM]
ALL = [*WRITERS, OneGenRetriever, OneGenEmbeddings]


@pytest.mark.parametrize("kind", [*WRITERS, OneGenRetriever])
def test_a_misspelt_store_is_refused_with_the_right_name(
    kind: Any, store: InMemoryVectorStore
) -> None:
    with pytest.raises(ValueError, match="no argument 'vector_store'; expected 'vectorstore'"):
        kind(vector_store=store)


@pytest.mark.parametrize("kind", ALL)
def test_an_unknown_argument_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="has no argument 'magic'"):
        kind(magic=True)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", ["model", "model_name", "model_id"])
def test_the_usual_names_of_the_model_name_it(kind: Any, name: str, wide_folder: Path) -> None:
    assert kind(**{name: str(wide_folder)}).model == str(wide_folder)


@pytest.mark.parametrize("kind", [*WRITERS, OneGenRetriever])
@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens"])
def test_the_usual_names_of_the_longest_answer_limit_it(kind: Any, name: str) -> None:
    assert kind(**{name: 5}).max_tokens == 5


def test_streaming_streams_to_callbacks() -> None:
    assert OneGenChatModel(streaming=True).streaming
