"""OneGen in LangChain; needs the extra `onegen[langchain]`."""

from typing import TYPE_CHECKING

from onegen_model.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "The package langchain-core is not installed; expected it for onegen_integrations."
        'langchain; run `pip install "onegen[langchain]"`'
    ) from error

from onegen_integrations.langchain.chat_models import OneGenChatModel
from onegen_integrations.langchain.embeddings import OneGenEmbeddings, to_document, to_passage
from onegen_integrations.langchain.entity_linker import OneGenEntityLinker
from onegen_integrations.langchain.index_store import OneGenVectorStore
from onegen_integrations.langchain.llms import OneGenLLM
from onegen_integrations.langchain.loaders import OneGenLoader
from onegen_integrations.langchain.rag_prompt import onegen_rag_prompt
from onegen_integrations.langchain.retrievers import OneGenRetriever
from onegen_integrations.langchain.vectorstores import Search, open_search

if TYPE_CHECKING:
    from onegen_integrations.langchain.text_splitters import OneGenTextSplitter

__all__ = [
    "OneGenChatModel",
    "OneGenEmbeddings",
    "OneGenEntityLinker",
    "OneGenLLM",
    "OneGenLoader",
    "OneGenRetriever",
    "OneGenTextSplitter",
    "OneGenVectorStore",
    "Search",
    "onegen_rag_prompt",
    "open_search",
    "to_document",
    "to_passage",
]


def __getattr__(name: str) -> object:
    if name != "OneGenTextSplitter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Its package is needed by nothing else here.
    from onegen_integrations.langchain.text_splitters import OneGenTextSplitter

    return OneGenTextSplitter
