"""OneGenChatModel and OneGenRetriever in LangChain's own suites."""

from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import ChatModelIntegrationTests, RetrieversIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from onegen_integrations.langchain import OneGenChatModel, OneGenEmbeddings, OneGenRetriever
from onegen_integrations.shared import shared_model
from tests.conftest import MakeNetwork
from tests.support.integrations_models import save_model

TOWNS = ("Alba", "Brig", "Cary", "Dorn", "Elva", "Fink", "Gera")
NO_LOAD = "langchain-core 1.7 loads its own classes only where all are allowed"
NO_LOOP = "a random model calls no tool unasked; below, the default checkpoint does it"
RANDOM = "a random model copies nothing; below, the default checkpoint does it"
# What under a grammar a random model may write before it closes a string.
LONG = 800


def fill_store(folder: Path) -> InMemoryVectorStore:
    store = InMemoryVectorStore(OneGenEmbeddings(model=folder))
    store.add_texts([f"{town} is a town by the river." for town in TOWNS], ids=list(TOWNS))
    return store


@pytest.fixture(scope="module")
def brief_folder(make_network: MakeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that soon ends what it writes, JSON too."""
    folder = save_model(
        make_network,
        tmp_path_factory.mktemp("brief"),
        max_position_embeddings=4096,
        num_hidden_layers=1,
    )
    model = shared_model(folder)
    weights = model.network.get_output_embeddings().weight.data
    for token in ("<|im_end|>", "}", '"'):
        weights[model.renderer.tokenizer.convert_tokens_to_ids(token)] *= 2
    return folder


class OnTheTinyModel:
    @pytest.fixture(autouse=True)
    def _use(self, brief_folder: Path) -> None:
        self.folder = brief_folder

    @property
    def chat_model_class(self) -> type[OneGenChatModel]:
        return OneGenChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": str(self.folder)}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {**super().standard_chat_model_params, "max_tokens": LONG}  # type: ignore[misc]

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False


class TestUnit(OnTheTinyModel, ChatModelUnitTests):
    """9 of 10."""

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"ONEGEN_MODEL": str(self.folder)}, {}, {"model": str(self.folder)}

    @pytest.mark.xfail(reason=NO_LOAD, raises=ValueError, strict=True)
    def test_serdes(self, model: OneGenChatModel) -> None:
        # A snapshot would hold the versions of all packages.
        super().test_serdes(model, lambda name: ANY)  # type: ignore[arg-type]


class Integration(OnTheTinyModel, ChatModelIntegrationTests):
    """What a random model cannot pass."""

    @pytest.mark.xfail(reason=NO_LOOP, raises=AssertionError, strict=True)
    @pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)
    def test_agent_loop(self, model: OneGenChatModel) -> None:
        super().test_agent_loop(model)

    @pytest.mark.xfail(reason=RANDOM, raises=AssertionError, strict=True)
    @pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)
    def test_tool_calling(self, model: OneGenChatModel) -> None:
        super().test_tool_calling(model)

    @pytest.mark.xfail(reason=RANDOM, raises=AssertionError, strict=True)
    async def test_tool_calling_async(self, model: OneGenChatModel) -> None:
        await super().test_tool_calling_async(model)

    @pytest.mark.xfail(reason=RANDOM, raises=AssertionError, strict=True)
    def test_unicode_tool_call_integration(self, model: OneGenChatModel) -> None:  # type: ignore[override]
        super().test_unicode_tool_call_integration(model)


class TestIntegration(Integration):
    """Nothing to search."""


class TestIntegrationWithAStore(Integration):
    """With blocks in place of a string."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "vectorstore": fill_store(self.folder)}


class TestRetriever(RetrieversIntegrationTests):
    """A single hop: over several, `k` would be counted for each."""

    @pytest.fixture(autouse=True)
    def _use(self, brief_folder: Path) -> None:
        self.folder = brief_folder

    @property
    def retriever_constructor(self) -> type[OneGenRetriever]:
        return OneGenRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {
            "model": str(self.folder),
            "vectorstore": fill_store(self.folder),
            "retrieval": "always",
            "max_retrievals": 1,
        }

    @property
    def retriever_query_example(self) -> str:
        return "Who founded Alba?"


class Suite(ChatModelIntegrationTests):
    """For those of its tests that need a model with content."""

    @property
    def chat_model_class(self) -> type[OneGenChatModel]:
        return OneGenChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {}


@pytest.fixture(params=[None, "v1"])
def default(request: pytest.FixtureRequest) -> OneGenChatModel:
    """The default checkpoint."""
    return OneGenChatModel(temperature=0, max_tokens=100, output_version=request.param)


@pytest.mark.weights
def test_the_default_checkpoint_calls_a_tool_as_asked(default: OneGenChatModel) -> None:
    Suite().test_tool_calling(default)


@pytest.mark.weights
async def test_the_default_checkpoint_calls_a_tool_as_asked_from_a_loop() -> None:
    await Suite().test_tool_calling_async(OneGenChatModel(max_tokens=100))


@tool
def order_film(title: str) -> str:
    """Order a film from the library."""
    return f"Ordered: {title}"


@pytest.mark.weights
@pytest.mark.parametrize("title", ["こんにちは株式会社", "Łódź Çelik", "Красный мост"])
def test_the_default_checkpoint_copies_unicode_into_a_call(title: str) -> None:
    chat = OneGenChatModel(max_tokens=100).bind_tools([order_film], tool_choice="any")
    reply = chat.invoke(f"Order the film '{title}'.")
    assert [call["args"] for call in reply.tool_calls] == [{"title": title}]


@pytest.mark.weights
def test_the_default_checkpoint_copies_two_scripts() -> None:
    Suite().test_unicode_tool_call_integration(OneGenChatModel(max_tokens=100))


@pytest.mark.weights
def test_the_default_checkpoint_calls_a_tool_unasked(default: OneGenChatModel) -> None:
    Suite().test_agent_loop(default)
