"""Retrieval-augmented generation in one model and one forward pass."""

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
from onegen_model.model import OneGenModel
from onegen_model.options import Options
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.retrieval.corpus import EmbeddedCorpus
from onegen_model.retrieval.filters import matches_filter
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.protocol import AsyncRetriever, Retriever
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

# The name of `RequestHandle` in release 0.1.
Ticket = RequestHandle

__all__ = [
    "Answer",
    "AnswerText",
    "AsyncRetriever",
    "Conversation",
    "EmbeddedCorpus",
    "Event",
    "Finished",
    "Grammar",
    "InvalidToolCall",
    "Message",
    "OneGenError",
    "OneGenModel",
    "Options",
    "Part",
    "PartStream",
    "Passage",
    "PassageIndex",
    "PassagesInserted",
    "Query",
    "RequestHandle",
    "Retrieval",
    "RetrievalParams",
    "RetrievalRequested",
    "Retriever",
    "SamplingParams",
    "ScoredPassage",
    "Segment",
    "StepText",
    "Template",
    "Ticket",
    "Token",
    "ToolCall",
    "ToolCallParser",
    "Usage",
    "matches_filter",
    "render_tool_call",
]
