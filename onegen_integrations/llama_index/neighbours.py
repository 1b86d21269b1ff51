"""What stands around a node of an index: by the ids that our splitters give, or by LlamaIndex's
relationships of a node with the previous and the next one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.indices.vector_store.retrievers import VectorIndexRetriever
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from onegen_integrations.llama_index.passage_parser import to_passage
from onegen_model import Passage, find_neighbours, place_of
from onegen_model.errors import InvalidInputError


def require_index(searched: object) -> None:
    """Raise InvalidInputError for a source of nodes that cannot fetch them by id."""
    if not isinstance(searched, VectorStoreIndex | VectorIndexRetriever):
        raise InvalidInputError(
            f"A window over {type(searched).__name__}, which cannot fetch nodes by id; expected a "
            "VectorStoreIndex; pass the index, or leave the window out"
        )


def fetch_neighbours(
    searched: Any, options: Mapping[str, Any], passage: Passage, window: int
) -> list[Passage]:
    """See NeighbourRetriever. `options` are those of the search over an index."""
    if isinstance(searched, VectorIndexRetriever):
        names = {"filters": "_filters", "node_ids": "_node_ids", "doc_ids": "_doc_ids"}
        options = {name: getattr(searched, own, None) for name, own in names.items()}
        searched = searched._index
    place = place_of(passage)
    if place is not None and place.passage_id == passage.id:
        chunks = range(max(0, place.chunk - window), place.chunk + window + 1)
        wanted = [place.id_of(chunk) for chunk in chunks if chunk != place.chunk]
        nodes = [one for one in _fetch(searched, wanted) if _passes(one, options)]
        if nodes:
            found = {one.node_id: to_passage(one) for one in nodes}
            return find_neighbours(passage, window, found.get)
    sides = [list(_walk(searched, options, passage.id, window, name)) for name in ("prev", "next")]
    return [*sides[0][::-1], passage, *sides[1]]


def _walk(
    index: VectorStoreIndex, options: Mapping[str, Any], node_id: str, steps: int, side: str
) -> Iterator[Passage]:
    found = _fetch(index, [node_id])
    document = found[0].ref_doc_id if found else None
    for _ in range(steps):
        related = getattr(found[0], f"{side}_node") if found else None
        found = _fetch(index, [related.node_id]) if related else []
        # Some parsers relate the last node of a document to the first one of the next.
        if not found or found[0].ref_doc_id != document or not _passes(found[0], options):
            return
        yield to_passage(found[0])


def _fetch(index: VectorStoreIndex, ids: Sequence[str]) -> list[BaseNode]:
    kept = [index.docstore.get_document(one, raise_error=False) for one in ids]
    nodes: list[BaseNode] = [one for one in kept if isinstance(one, BaseNode)]
    known = {one.node_id for one in nodes}
    missing = [one for one in ids if one not in known]
    store: Any = index.vector_store
    # Not every kind of store has nodes: the others leave them to the docstore.
    if missing and type(store).get_nodes is not BasePydanticVectorStore.get_nodes:
        nodes += store.get_nodes(missing)
    return nodes


def _passes(node: BaseNode, options: Mapping[str, Any]) -> bool:
    """Whether a search with these options may find the node."""
    node_ids, doc_ids = options.get("node_ids"), options.get("doc_ids")
    if node_ids is not None and node.node_id not in node_ids:
        return False
    if doc_ids is not None and node.ref_doc_id not in doc_ids:
        return False
    return _matches(node, options.get("filters"))


def _matches(node: BaseNode, filters: MetadataFilters | None) -> bool:
    if filters is None or not filters.filters:
        return True
    single = [
        _matches(node, one)
        if isinstance(one, MetadataFilters)
        else build_metadata_filter_fn(lambda _: node.metadata, MetadataFilters(filters=[one]))("")
        for one in filters.filters
    ]
    if filters.condition == FilterCondition.OR:
        return any(single)
    return not any(single) if filters.condition == FilterCondition.NOT else all(single)
