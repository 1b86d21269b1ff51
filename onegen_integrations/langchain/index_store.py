"""A PassageIndex as a vector store of LangChain."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from onegen_integrations.langchain.embeddings import OneGenEmbeddings, to_document, to_passage
from onegen_integrations.shared.json_values import json_metadata
from onegen_integrations.shared.known_names import require_known_names
from onegen_model import Passage, PassageIndex
from onegen_model.errors import InvalidInputError


class OneGenVectorStore(VectorStore):
    """Searches a PassageIndex exactly, and keeps it in step with documents.

    A document whose text the index holds already, under any id, is not embedded again. Filters are
    those of the core. LangChain's `index` works on it, with each kind of cleanup.
    """

    def __init__(self, embedding: OneGenEmbeddings, index: PassageIndex | None = None) -> None:
        """A new index if none is given; `index` must be of the model of `embedding`."""
        if not isinstance(embedding, OneGenEmbeddings):
            raise InvalidInputError(
                f"embedding is a {type(embedding).__name__}; expected OneGenEmbeddings, the model "
                "that writes; pass those"
            )
        self.embedding = embedding
        self.index = PassageIndex(embedding.shared.model) if index is None else index

    @classmethod
    def load(cls, path: str | os.PathLike[str], embedding: OneGenEmbeddings) -> "OneGenVectorStore":
        """Over the index in a folder of `save` or `onegen index`; raises PassageIndexError."""
        return cls(embedding, PassageIndex.load(embedding.shared.model, path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index into a folder; see `PassageIndex.save`."""
        self.index.save(path)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> "OneGenVectorStore":
        """A store of these texts; `embedding` are OneGenEmbeddings."""
        store = cls(embedding, **kwargs)  # type: ignore[arg-type]
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def embeddings(self) -> OneGenEmbeddings:
        return self.embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Returns the ids; a text without one gets an id made from it."""
        texts = list(texts)
        made = zip(texts, metadatas or [{} for _ in texts], strict=True)
        documents = [Document(page_content=text, metadata=metadata) for text, metadata in made]
        return self.add_documents(documents, ids=ids, **kwargs)

    def add_documents(
        self, documents: list[Document], *, ids: list[str] | None = None, **kwargs: Any
    ) -> list[str]:
        """Returns the ids; a document of a known id replaces the one that has it."""
        names: Sequence[str | None] = ids or [document.id for document in documents]
        passages = [
            to_passage(document.model_copy(update={"id": name}))
            for document, name in zip(documents, names, strict=True)
        ]
        self.index.update({passage.id: _with_json(passage) for passage in passages}.values())
        return [passage.id for passage in passages]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove documents, all of them without `ids`; unknown ids are passed over."""
        gone = [one.id for one in self.index.passages] if ids is None else ids
        self.index.remove(gone)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        found = map(self.index.get, ids)
        return [to_document(passage) for passage in found if passage is not None]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Documents with their cosines, best first."""
        vector = self.embedding.embed_query(query)
        return self.similarity_search_with_score_by_vector(vector, k, **kwargs)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        found = self.similarity_search_with_score_by_vector(embedding, k, **kwargs)
        return [document for document, _ in found]

    def similarity_search_with_score_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Documents with their cosines, best first; `filter` is one of the core.

        Raises InvalidInputError for any other option.
        """
        require_known_names("OneGenVectorStore", kwargs, ["filter"])
        [found] = self.index.search(np.array([embedding], np.float32), k, filter=filter)
        return [(to_document(one.passage), one.score) for one in found]

    def _select_relevance_score_fn(self) -> Any:
        return lambda cosine: max(0.0, cosine)


def _with_json(passage: Passage) -> Passage:
    return Passage(passage.id, passage.text, passage.title, json_metadata(passage.metadata))
