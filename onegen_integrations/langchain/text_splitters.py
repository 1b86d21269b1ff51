"""A text splitter whose pieces are passages; needs the package langchain-text-splitters."""

import copy
from collections.abc import Iterator
from typing import Any

from langchain_core.documents import Document

from onegen_integrations.langchain.embeddings import OneGenEmbeddings
from onegen_integrations.shared.document_splitting import (
    Syntax,
    flat_place,
    known_place,
    require_length,
    split_document,
)
from onegen_model import PassageSplitter
from onegen_model.errors import MissingExtraError

try:
    from langchain_text_splitters import TextSplitter
except ImportError as error:
    raise MissingExtraError(
        "The package langchain-text-splitters is not installed; expected it for "
        "OneGenTextSplitter; run `pip install langchain-text-splitters`"
    ) from error


class OneGenTextSplitter(TextSplitter):
    """Splits documents into passages of `embeddings` (default: those of the default checkpoint).

    `chunk_size` counts tokens of the model, and is at most its longest passage (the default).
    `syntax` is "text", "markdown" or "code"; without one, documents from `.md` files are Markdown
    and others text. The first line of a passage is its title: the `title` of the metadata and the
    headings that lead to it. Metadata that a document has already is kept; `title`, `headings`,
    `lines` and `start_index` are added.
    """

    def __init__(
        self,
        embeddings: OneGenEmbeddings | None = None,
        *,
        chunk_size: int | None = None,
        syntax: Syntax | None = None,
    ) -> None:
        self._embeddings = embeddings or OneGenEmbeddings()
        super().__init__(
            require_length(chunk_size, self._embeddings.max_passage_tokens),
            chunk_overlap=0,
            length_function=self._embeddings.count_tokens,
            add_start_index=True,
        )
        self._syntax = syntax

    def split_text(self, text: str) -> list[str]:
        """The passages of a text without metadata."""
        return [document.page_content for document in self._split(text, {})]

    def create_documents(
        self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None
    ) -> list[Document]:
        """The passages of all texts; `start_index` is the position of a text behind its title."""
        pairs = zip(texts, metadatas or [{}] * len(texts), strict=True)
        return [document for text, metadata in pairs for document in self._split(text, metadata)]

    def _split(self, text: str, metadata: dict[Any, Any]) -> Iterator[Document]:
        model = self._embeddings.shared.model
        splitter = PassageSplitter.for_model(model, self._chunk_size)
        for passage in split_document(splitter, text, metadata, self._syntax):
            start, _ = known_place(passage).span or (0, 0)
            added = {**flat_place(passage), "start_index": start}
            if passage.title:
                added["title"] = passage.title
            kept = copy.deepcopy(metadata)
            yield Document(page_content=passage.titled_text, metadata={**added, **kept})
