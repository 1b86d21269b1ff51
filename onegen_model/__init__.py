"""Retrieval-augmented generation in one model and one forward pass.

Names are imported when they are first used, so that `onegen --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onegen_model.checkpoint.options import LoadOptions, Quantization
    from onegen_model.citations import Citation
    from onegen_model.documents.digests import digest_of
    from onegen_model.documents.document import Document
    from onegen_model.documents.failures import FailedFile, UnreadableFilesError
    from onegen_model.documents.options import ReadingOptions
    from onegen_model.documents.reading import read_documents
    from onegen_model.documents.splitting import PassageSplitter
    from onegen_model.errors import OneGenError
    from onegen_model.events import (
        Event,
        Finished,
        Passage,
        PassagesInserted,
        Query,
        RetrievalRequested,
        ScoredPassage,
        Token,
        Usage,
    )
    from onegen_model.generation.handle import RequestHandle
    from onegen_model.generation.handle import RequestHandle as Ticket
    from onegen_model.indexing.entities import (
        EntityEstimate,
        EntityOptions,
        EntityReport,
        index_entities,
    )
    from onegen_model.indexing.entity_import import EntityImport, import_entities
    from onegen_model.indexing.options import IndexingOptions
    from onegen_model.indexing.reports import FileCounts, IndexReport
    from onegen_model.indexing.scan import KindCount, Scan
    from onegen_model.indexing.sync import grow_index, scan_files
    from onegen_model.linking.entities import entity_name, entity_passage
    from onegen_model.linking.mentions import LinkedText, LinkingUsage, Mention
    from onegen_model.linking.params import LinkingParams
    from onegen_model.linking.search import RankingRetriever
    from onegen_model.linking.streams import AsyncMentionStream, MentionStream
    from onegen_model.model import OneGenModel
    from onegen_model.options import Options
    from onegen_model.params import RetrievalParams, SamplingParams
    from onegen_model.places import PassagePlace, place_of
    from onegen_model.retrieval.corpus import EmbeddedCorpus
    from onegen_model.retrieval.corpus_building import CorpusOptions, CorpusReport, build_corpus
    from onegen_model.retrieval.filters import matches_filter
    from onegen_model.retrieval.index import PassageIndex
    from onegen_model.retrieval.neighbours import find_neighbours
    from onegen_model.retrieval.protocol import (
        AsyncRetriever,
        FailedSearch,
        NeighbourRetriever,
        Retriever,
        retrieving,
    )
    from onegen_model.retrieval.updates import RemovalReport, UpdateReport
    from onegen_model.transcript.answer import Answer, Retrieval
    from onegen_model.transcript.answer_parts import AnswerText, Part, PartStream, StepText
    from onegen_model.transcript.conversation import Conversation, Message
    from onegen_model.transcript.grammar import Grammar
    from onegen_model.transcript.template import Segment, Template
    from onegen_model.transcript.tool_calls import (
        InvalidToolCall,
        ToolCall,
        ToolCallParser,
        render_tool_call,
    )

# Module -> the names of `__all__` that it defines.
_MODULES = {
    "checkpoint.options": "LoadOptions Quantization",
    "citations": "Citation",
    "documents.digests": "digest_of",
    "documents.document": "Document",
    "documents.failures": "FailedFile UnreadableFilesError",
    "documents.options": "ReadingOptions",
    "documents.reading": "read_documents",
    "documents.splitting": "PassageSplitter",
    "errors": "OneGenError",
    "events": "Event Finished Passage PassagesInserted Query RetrievalRequested ScoredPassage "
    "Token Usage",
    "generation.handle": "RequestHandle",
    "linking.entities": "entity_name entity_passage",
    "linking.mentions": "LinkedText LinkingUsage Mention",
    "linking.params": "LinkingParams",
    "linking.search": "RankingRetriever",
    "linking.streams": "AsyncMentionStream MentionStream",
    "model": "OneGenModel",
    "options": "Options",
    "params": "RetrievalParams SamplingParams",
    "places": "PassagePlace place_of",
    "retrieval.corpus": "EmbeddedCorpus",
    "retrieval.corpus_building": "CorpusOptions CorpusReport build_corpus",
    "retrieval.filters": "matches_filter",
    "retrieval.index": "PassageIndex",
    "retrieval.updates": "RemovalReport UpdateReport",
    "indexing.entities": "EntityEstimate EntityOptions EntityReport index_entities",
    "indexing.entity_import": "EntityImport import_entities",
    "indexing.options": "IndexingOptions",
    "indexing.reports": "FileCounts IndexReport",
    "indexing.scan": "KindCount Scan",
    "indexing.sync": "grow_index scan_files",
    "retrieval.protocol": "AsyncRetriever FailedSearch NeighbourRetriever Retriever retrieving",
    "retrieval.neighbours": "find_neighbours",
    "transcript.answer": "Answer Retrieval",
    "transcript.answer_parts": "AnswerText Part PartStream StepText",
    "transcript.conversation": "Conversation Message",
    "transcript.grammar": "Grammar",
    "transcript.template": "Segment Template",
    "transcript.tool_calls": "InvalidToolCall ToolCall ToolCallParser render_tool_call",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}
# The name of `RequestHandle` in release 0.1.
_OLD_NAMES = {"Ticket": "RequestHandle"}

__all__ = [
    "Answer",
    "AnswerText",
    "AsyncMentionStream",
    "AsyncRetriever",
    "Citation",
    "Conversation",
    "CorpusOptions",
    "CorpusReport",
    "Document",
    "EmbeddedCorpus",
    "EntityEstimate",
    "EntityImport",
    "EntityOptions",
    "EntityReport",
    "Event",
    "FailedFile",
    "FailedSearch",
    "FileCounts",
    "Finished",
    "Grammar",
    "IndexReport",
    "IndexingOptions",
    "InvalidToolCall",
    "KindCount",
    "LinkedText",
    "LinkingParams",
    "LinkingUsage",
    "LoadOptions",
    "Mention",
    "MentionStream",
    "Message",
    "NeighbourRetriever",
    "OneGenError",
    "OneGenModel",
    "Options",
    "Part",
    "PartStream",
    "Passage",
    "PassageIndex",
    "PassagePlace",
    "PassageSplitter",
    "PassagesInserted",
    "Quantization",
    "Query",
    "RankingRetriever",
    "ReadingOptions",
    "RemovalReport",
    "RequestHandle",
    "Retrieval",
    "RetrievalParams",
    "RetrievalRequested",
    "Retriever",
    "SamplingParams",
    "Scan",
    "ScoredPassage",
    "Segment",
    "StepText",
    "Template",
    "Ticket",
    "Token",
    "ToolCall",
    "ToolCallParser",
    "UnreadableFilesError",
    "UpdateReport",
    "Usage",
    "build_corpus",
    "digest_of",
    "entity_name",
    "entity_passage",
    "find_neighbours",
    "grow_index",
    "import_entities",
    "index_entities",
    "matches_filter",
    "place_of",
    "read_documents",
    "render_tool_call",
    "retrieving",
    "scan_files",
]


def __getattr__(name: str) -> object:
    current = _OLD_NAMES.get(name, name)
    if current not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[current]}"), current)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
