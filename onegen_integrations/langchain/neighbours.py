"""What stands around a document of a store, which finds it by the ids that our splitters give."""

import warnings
from collections.abc import Callable
from typing import Any

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from onegen_integrations.langchain.embeddings import passage_id, to_passage
from onegen_integrations.langchain.filters import is_of_the_core
from onegen_integrations.langchain.vectorstores import Search
from onegen_model import Passage, find_neighbours, matches_filter, place_of
from onegen_model.errors import InvalidInputError

_WITHOUT_PLACE = (
    "Documents that do not say where they stand have no neighbours, and a window does not widen "
    "them; split documents with OneGenTextSplitter"
)
_WITH_OTHER_ID = (
    "Documents whose ids are not those of OneGenTextSplitter have no neighbours, and a window does "
    "not widen them; keep the ids, in LangChain's `index` by `key_encoder=lambda one: one.id`"
)


def require_fetching(search: Search, filter: object) -> None:
    """Raise InvalidInputError for a store without ids, and for a filter only it understands."""
    source, name = search.source, type(search.source).__name__
    by_ids = getattr(type(source), "get_by_ids", None)
    if not isinstance(source, VectorStore) or by_ids is VectorStore.get_by_ids:
        raise InvalidInputError(
            f"A window over {name}, which cannot fetch documents by id; expected a vector store "
            "with `get_by_ids`, such as Chroma, FAISS or InMemoryVectorStore; leave the window out"
        )
    _test(search, filter)


def fetch_neighbours(
    search: Search, passage: Passage, window: int, filter: object
) -> list[Passage]:
    """See NeighbourRetriever. A document that none of our splitters made has no neighbours."""
    place = place_of(passage)
    if place is None or place.passage_id != passage.id:
        # Python shows the same warning once, not for each document.
        warnings.warn(_WITHOUT_PLACE if place is None else _WITH_OTHER_ID, stacklevel=1)
        return [passage]
    chunks = range(max(0, place.chunk - window), place.chunk + window + 1)
    wanted = [place.id_of(chunk) for chunk in chunks if chunk != place.chunk]
    passes = _test(search, filter)
    documents = search.source.get_by_ids(wanted)  # type: ignore[union-attr]
    found = {passage_id(one): to_passage(one) for one in documents if passes(one)}
    return find_neighbours(passage, window, found.get)


def _test(search: Search, filter: object) -> Callable[[Document], bool]:
    """Whether a document passes the filter of a search: what it may not find, it may not read."""
    wanted: Any = filter or search.options.get("filter")
    if not wanted:
        return lambda _: True
    if is_of_the_core(wanted):
        return lambda document: matches_filter(document.metadata, wanted)
    kind = {cls.__name__ for cls in type(search.source).__mro__}
    if callable(wanted) and "FAISS" in kind:
        return lambda document: bool(wanted(document.metadata))
    if callable(wanted) and "InMemoryVectorStore" in kind:
        return lambda document: bool(wanted(document))
    raise InvalidInputError(
        f"A window with a filter that only {type(search.source).__name__} understands; expected a "
        "filter of the core, because neighbours must pass it too; rewrite it, or leave the window "
        "out"
    )
