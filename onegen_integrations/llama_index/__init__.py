"""OneGen in LlamaIndex; needs the extra `onegen[llama-index]`."""

from onegen_model.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "The package llama-index-core is not installed; expected it for onegen_integrations."
        'llama_index; run `pip install "onegen[llama-index]"`'
    ) from error

from onegen_integrations.llama_index.chat_engine import OneGenChatEngine
from onegen_integrations.llama_index.embeddings import OneGenEmbedding
from onegen_integrations.llama_index.entity_extractor import OneGenEntityExtractor
from onegen_integrations.llama_index.graph_extractor import OneGenGraphExtractor
from onegen_integrations.llama_index.index_store import OneGenVectorStore
from onegen_integrations.llama_index.llms import OneGenLLM
from onegen_integrations.llama_index.passage_parser import PassageParser
from onegen_integrations.llama_index.query_engine import OneGenQueryEngine
from onegen_integrations.llama_index.readers import OneGenReader
from onegen_integrations.llama_index.retrievers import OneGenRetriever

__all__ = [
    "OneGenChatEngine",
    "OneGenEmbedding",
    "OneGenEntityExtractor",
    "OneGenGraphExtractor",
    "OneGenLLM",
    "OneGenQueryEngine",
    "OneGenReader",
    "OneGenRetriever",
    "OneGenVectorStore",
    "PassageParser",
]
