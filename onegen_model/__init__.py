"""Retrieval-augmented generation in one model and one forward pass."""

from onegen_model.answer import Answer, Retrieval
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
from onegen_model.index import PassageIndex
from onegen_model.model import OneGenModel
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.retrieval import AsyncRetriever, Retriever

__all__ = [
    "Answer",
    "AsyncRetriever",
    "Event",
    "Finished",
    "OneGenError",
    "OneGenModel",
    "Passage",
    "PassageIndex",
    "PassagesInserted",
    "Query",
    "Retrieval",
    "RetrievalParams",
    "RetrievalRequested",
    "Retriever",
    "SamplingParams",
    "ScoredPassage",
    "Token",
    "Usage",
]
