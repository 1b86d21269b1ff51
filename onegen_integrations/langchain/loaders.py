"""Files and folders as documents of LangChain."""

import os
from collections.abc import Iterator

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from onegen_integrations.shared.framework_documents import FolderReading, Paths
from onegen_model import FailedFile, ReadingOptions


class OneGenLoader(BaseLoader):
    """Loads files of any kind that `onegen index` reads, and folders of them.

    The metadata of a document is flat: `source` (relative to `root`), `title`, the number of
    `pages` of a file that has some, and the file's own (front matter, or that of a record), in
    which mappings and mixed lists become JSON text. `onegen` tells OneGenTextSplitter where
    headings, pages and lines are. With `by_page`, each page, slide or sheet is a document with its
    `page` (from 0) and `page_label` (from 1). Files that cannot be read
    are one UnreadableFilesError after the others are loaded; with `skip_bad` they are left out and
    stand in `failures`.
    """

    def __init__(
        self,
        paths: Paths,
        *,
        root: str | os.PathLike[str] | None = None,
        options: ReadingOptions | None = None,
        by_page: bool = False,
        skip_bad: bool = False,
    ) -> None:
        self._paths = paths
        self._reading = FolderReading(root, options, by_page, skip_bad, keeps_lists=True)
        self.failures: list[FailedFile] = []

    def lazy_load(self) -> Iterator[Document]:
        """One document after another; a file is read when it is its turn."""
        for one in self._reading.documents(self._paths, self.failures):
            yield Document(id=one.id, page_content=one.text, metadata=one.metadata)
