"""A PassageIndex as a vector store of LlamaIndex."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from onegen_integrations.llama_index.embeddings import OneGenEmbedding
from onegen_integrations.llama_index.filters import to_core_filter
from onegen_integrations.llama_index.passage_parser import (
    TITLE,
    to_formatted,
    to_passage,
)
from onegen_integrations.shared.json_values import json_metadata
from onegen_integrations.shared.places import flat_metadata
from onegen_model import Passage, PassageIndex, matches_filter
from onegen_model.errors import InvalidInputError

# As LlamaIndex keeps them in metadata.
_DOCUMENT, _NODE = "ref_doc_id", "_node_content"


class OneGenVectorStore(BasePydanticVectorStore):
    """Searches a PassageIndex exactly; nodes are kept whole, so that no docstore is needed.

    `VectorStoreIndex.refresh_ref_docs`, `update_ref_doc` and `delete_ref_doc` work on it.
    `StorageContext.persist` writes the index into a folder beside its own files; see `load`.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    _index: PassageIndex = PrivateAttr()

    def __init__(self, embed_model: OneGenEmbedding, index: PassageIndex | None = None) -> None:
        """A new index if none is given; `index` must be of the model of `embed_model`."""
        super().__init__(stores_text=True)
        if not isinstance(embed_model, OneGenEmbedding):
            raise InvalidInputError(
                f"embed_model is a {type(embed_model).__name__}; expected OneGenEmbedding, the "
                "model that writes; pass that"
            )
        self._index = PassageIndex(embed_model.shared.model) if index is None else index

    @classmethod
    def class_name(cls) -> str:
        return "OneGenVectorStore"

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], embed_model: OneGenEmbedding
    ) -> "OneGenVectorStore":
        """Over the index in a folder of `save`, `persist` or `onegen index`.

        Raises PassageIndexError. Passages of `onegen index` become nodes with their title.
        """
        return cls(embed_model, PassageIndex.load(embed_model.shared.model, path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index into a folder; see `PassageIndex.save`."""
        self._index.save(path)

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """`save` into the folder whose name is that of `persist_path`, ending in ".index"."""
        if fs is not None and "file" not in getattr(fs, "protocol", ()):
            raise InvalidInputError(
                f"fs is a {type(fs).__name__}; expected the local file system, on which an index "
                "lies; persist to a local folder"
            )
        self.save(Path(persist_path).with_suffix(".index"))

    @property
    def client(self) -> PassageIndex:
        """The index."""
        return self._index

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Nodes with their embeddings; a node of a known id replaces the one that has it."""
        given = {node.node_id: node for node in nodes}
        vectors = np.array([node.get_embedding() for node in given.values()], np.float32)
        self._index.add_embedded([_to_stored(node) for node in given.values()], vectors)
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove the nodes of a document."""
        passages = self._index.passages
        self._index.remove(one.id for one in passages if one.metadata.get(_DOCUMENT) == ref_doc_id)

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """All nodes, those of some ids, or those that pass the filters."""
        return [to_node(passage) for passage in self._select(node_ids, filters)]

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        if node_ids is None and filters is None:
            raise InvalidInputError(
                "Neither node_ids nor filters are given; expected one of them; call clear() to "
                "remove all nodes"
            )
        self._index.remove(passage.id for passage in self._select(node_ids, filters))

    def clear(self) -> None:
        self._index.remove(passage.id for passage in self._index.passages)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nearest nodes with their cosines; raises InvalidInputError for other searches."""
        if query.mode != VectorStoreQueryMode.DEFAULT or query.node_ids:
            what = (
                "node_ids" if query.node_ids else f"mode {VectorStoreQueryMode(query.mode).value!r}"
            )
            raise InvalidInputError(
                f"{what} over OneGenVectorStore; expected the default search by vector; use "
                "filters, or another store"
            )
        if query.query_embedding is None:
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        wanted = to_core_filter(query.filters)
        if query.doc_ids:
            wanted = {"$and": [wanted, {_DOCUMENT: list(query.doc_ids)}]}
        vectors = np.array([query.query_embedding], np.float32)
        [found] = self._index.search(vectors, query.similarity_top_k, filter=wanted)
        return VectorStoreQueryResult(
            nodes=[to_node(one.passage) for one in found],
            similarities=[one.score for one in found],
            ids=[one.passage.id for one in found],
        )

    def _select(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[Passage]:
        wanted = to_core_filter(filters)
        found = self._index.passages if node_ids is None else map(self._index.get, node_ids)
        return [one for one in found if one is not None and matches_filter(one.metadata, wanted)]


def _to_stored(node: BaseNode) -> Passage:
    plain = node.model_copy(update={"metadata": json_metadata(node.metadata)})
    passage = to_passage(plain)
    return Passage(passage.id, passage.text, "", node_to_metadata_dict(plain))


def to_node(passage: Passage) -> BaseNode:
    """The node that was stored; one is made of a passage that came from elsewhere."""
    if _NODE not in passage.metadata:
        title = {TITLE: passage.title} if passage.title else {}
        metadata = {**flat_metadata(passage), **title}
        return to_formatted(TextNode(id_=passage.id, text=passage.text, metadata=metadata))
    node: BaseNode = metadata_dict_to_node(passage.metadata)
    return node
