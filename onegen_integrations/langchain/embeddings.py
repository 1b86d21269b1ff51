"""LangChain's documents as passages and as embeddings.

A document's `page_content` is embedded, and it is inserted into the context.
"""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from pydantic import ConfigDict

from onegen_integrations.shared.model_fields import EmbeddingFields
from onegen_integrations.shared.places import flat_metadata, nested_metadata
from onegen_model import Passage, ScoredPassage
from onegen_model.errors import InvalidInputError

_HANDLE = "\0onegen:"
# Global, because a store may hold a copy of the embeddings.
_vectors: dict[str, list[float]] = {}


class OneGenEmbeddings(EmbeddingFields, Embeddings):
    """Embeds documents as passages and queries as a question that retrieves at once.

    A document is bare text. Its title is the first line, `"title\\ntext"`, which is how
    a passage with a title is rendered, so that both have the same embedding. A document longer
    than `max_passage_tokens` is embedded by its beginning, with one warning. With
    `length_function=embeddings.count_tokens` LangChain's splitters count as the model does, up to a
    few tokens where they join pieces.
    """

    model_config = ConfigDict(extra="forbid")

    splitter: ClassVar[str] = "OneGenTextSplitter"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Unit vectors; raises InvalidInputError for an empty text."""
        return self._embed_texts(texts)

    def embed_query(self, text: str) -> list[float]:
        """A unit vector; for the text of a `handle`, the vector of that handle."""
        return self._look_up(text) if text.startswith(_HANDLE) else self._embed_query(text)

    @contextmanager
    def handle(self, vector: Sequence[float]) -> Iterator[str]:
        """A text for which `embed_query` returns `vector` until the context is left.

        For stores that can only be searched by text: they embed it and receive the vector.
        """
        name = f"{_HANDLE}{uuid.uuid4().hex}"
        _vectors[name] = list(vector)
        try:
            yield name
        finally:
            del _vectors[name]

    def _look_up(self, name: str) -> list[float]:
        try:
            return list(_vectors[name])
        except KeyError:
            raise InvalidInputError(
                "A handle was used after its context had ended; expected a search that ends "
                "inside it; search by text instead"
            ) from None


def passage_id(document: Document) -> str:
    """The document's own id, or one made from its content."""
    if known := document.id or document.metadata.get("_id"):  # Qdrant keeps it in the metadata
        return str(known)
    content = document.page_content.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:32]


def to_passage(document: Document) -> Passage:
    """The passage whose text is `page_content`, which was embedded.

    The metadata's `title` becomes its title only if `page_content` begins with that line.
    """
    title, text = document.metadata.get("title"), document.page_content
    metadata = nested_metadata(document.metadata)
    if isinstance(title, str) and title and text.startswith(f"{title}\n"):
        body = text.removeprefix(f"{title}\n")
        if body.strip():  # A passage is more than a title.
            return Passage(passage_id(document), body, title, metadata)
    return Passage(passage_id(document), text, "", metadata)


def to_document(found: Passage | ScoredPassage) -> Document:
    """Inverse of `to_passage`; a score goes into the metadata, as `relevance_score`.

    The place of the passage is there as texts and numbers: `source`, `page`, `lines` and others.
    """
    passage = found.passage if isinstance(found, ScoredPassage) else found
    metadata = flat_metadata(passage)
    if passage.title:
        metadata["title"] = passage.title
    if isinstance(found, ScoredPassage):
        metadata["relevance_score"] = found.score
    return Document(id=passage.id, page_content=passage.titled_text, metadata=metadata)
