"""Files and folders as documents of LlamaIndex."""

import os
from collections.abc import Iterable
from typing import Any

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document

from onegen_integrations.shared.framework_documents import FolderReading, Paths
from onegen_integrations.shared.places import KEY
from onegen_model import FailedFile, ReadingOptions


class OneGenReader(BaseReader):
    """Reads files of any kind that `onegen index` reads, and folders of them.

    The metadata of a document is flat: `source` (relative to `root`), `title`, the number of
    `pages` of a file that has some, and the file's own (front matter, or that of a record), in
    which lists and mappings become text. `onegen` tells PassageParser where headings, pages and
    lines are; other parsers neither embed nor read it. With `by_page`, each page, slide or sheet is
    a document with its `page` (from 0) and `page_label` (from 1). The id of a document stays the
    same, as `refresh_ref_docs` needs it. Files that cannot be read are one
    UnreadableFilesError after the others are read; with `skip_bad` they are left out and stand in
    `failures`.
    """

    def __init__(
        self,
        *,
        root: str | os.PathLike[str] | None = None,
        options: ReadingOptions | None = None,
        by_page: bool = False,
        skip_bad: bool = False,
    ) -> None:
        self._reading = FolderReading(root, options, by_page, skip_bad, keeps_lists=False)
        self.failures: list[FailedFile] = []

    def lazy_load_data(self, paths: Paths, **_: Any) -> Iterable[Document]:
        """One document after another; a file is read when it is its turn."""
        for one in self._reading.documents(paths, self.failures):
            yield Document(
                id_=one.id,
                text=one.text,
                metadata=one.metadata,
                excluded_embed_metadata_keys=[KEY],
                excluded_llm_metadata_keys=[KEY],
            )

    def load_data(self, paths: Paths, **_: Any) -> list[Document]:
        """All documents of files and folders."""
        return list(self.lazy_load_data(paths))
