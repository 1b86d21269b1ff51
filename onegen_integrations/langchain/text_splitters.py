"""A text splitter whose pieces are passages; needs the package langchain-text-splitters."""

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from langchain_core.documents import Document

from onegen_integrations.langchain.embeddings import OneGenEmbeddings
from onegen_integrations.shared.document_splitting import (
    flat_place,
    known_place,
    require_length,
    split_document,
)
from onegen_integrations.shared.json_values import json_metadata
from onegen_integrations.shared.places import KEY
from onegen_integrations.shared.text_structure import Syntax
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
    `syntax` is "text", "markdown" or "code"; without one, it is as OneGenLoader has read it, and of
    documents from elsewhere those from `.md` files are Markdown and others text. The first line of
    a passage is its title: the `title` of the metadata and the headings that lead to it. Metadata
    that a document has already is kept; `title`, `headings`, `lines`, `page`, `page_label`,
    `start_index` and the place of the passage (`onegen`) are added where they are known. The ids of
    passages are made from text and metadata of the document; a window needs a store that has kept
    them.
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
        counts: Counter[str] = Counter()
        documents: list[Document] = []
        for text, metadata in pairs:
            name = _digest(text, metadata)
            counts[name] += 1
            suffix = f"-{counts[name]}" if counts[name] > 1 else ""
            documents += self._split(text, metadata, name + suffix)
        return documents

    def _split(
        self, text: str, metadata: dict[Any, Any], document_id: str = "document"
    ) -> Iterator[Document]:
        model = self._embeddings.shared.model
        splitter = PassageSplitter.for_model(model, self._chunk_size)
        for passage in split_document(splitter, text, metadata, self._syntax, document_id):
            start, _ = known_place(passage).span or (0, 0)
            added = {**flat_place(passage, metadata), "start_index": start}
            if passage.title:
                added["title"] = passage.title
            kept = {name: value for name, value in metadata.items() if name != KEY}
            kept = copy.deepcopy(kept)
            yield Document(
                id=passage.id, page_content=passage.titled_text, metadata={**added, **kept}
            )


def _digest(text: str, metadata: dict[Any, Any]) -> str:
    """A name that is the same for the same document, and another one for any other."""
    plain = json.dumps([text, json_metadata(metadata)], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:24]
