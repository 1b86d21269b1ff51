"""Where `onegen link` writes: standard output, a file as a whole, or a file of lines that grows."""

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from onegen_model.cli.printable import printable
from onegen_model.errors import InvalidInputError
from onegen_model.files import write_atomically
from onegen_model.finetune.mining.resumable_file import PartialFile
from onegen_model.linking.formats import LinkedDocument, format_text
from onegen_model.linking.page import linked_page

_FORMATS = {".jsonl": "jsonl", ".html": "html", ".htm": "html"}


class Writing(Protocol):
    """Takes linked documents in order.

    `done` of them were written before, by this run or one that it continues; `counts` are those of
    `count_mentions`.
    """

    @property
    def done(self) -> int: ...

    @property
    def counts(self) -> Mapping[str, int]: ...

    def add(self, documents: Sequence[LinkedDocument]) -> None: ...

    def finish(self) -> None: ...

    def stopped(self) -> str:
        """What a stopped run leaves."""
        ...


def choose_format(options: Namespace) -> str:
    """The format of the documents; raises InvalidInputError for options that exclude each other."""
    chosen: str | None = options.format
    if options.out:
        return chosen or _FORMATS.get(Path(options.out).suffix.lower(), "text")
    if options.json and chosen not in (None, "jsonl"):
        raise InvalidInputError(
            f"--json and --format {chosen} are given; expected one form of standard output; leave "
            "one out, or add --out FILE"
        )
    return "jsonl" if options.json else chosen or "text"


def open_writing(
    options: Namespace, chosen: str, settings: Mapping[str, Any], *, named: bool
) -> Writing:
    """Raises InvalidInputError for a file that cannot be written, or was begun otherwise."""
    if not options.out:
        return _Printing(chosen, named=named)
    path = Path(options.out)
    if chosen == "jsonl":
        return _Growing(PartialFile(path, settings, force=options.force))
    return _Whole(path, chosen, named=named)


def count_mentions(documents: Sequence[LinkedDocument]) -> Counter[str]:
    """The numbers of mentions, and of those with an entity."""
    mentions = [mention for one in documents for mention in one.linked.mentions]
    linked = sum(mention.entity is not None for mention in mentions)
    return Counter(mentions=len(mentions), linked=linked)


def write_document(document: LinkedDocument, chosen: str, *, named: bool) -> str:
    """A document as JSON or text, with the line break at its end."""
    if chosen == "jsonl":
        return json.dumps(document.to_dict(), ensure_ascii=False) + "\n"
    return format_text(document, named=named)


def counted(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class _Printing:
    """Standard output, after each document; a page after the last."""

    def __init__(self, chosen: str, *, named: bool) -> None:
        self._chosen, self._named = chosen, named
        self.done = 0
        self.counts: Counter[str] = Counter()
        self._page: list[LinkedDocument] = []

    def add(self, documents: Sequence[LinkedDocument]) -> None:
        self.counts += count_mentions(documents)
        if self._chosen == "html":
            self._page += documents
            return
        with tqdm.external_write_mode(sys.stdout):  # Not into a bar of the same terminal.
            for one in documents:
                text = write_document(one, self._chosen, named=self._named)
                if self._chosen == "text":
                    text = printable(f"\n{text}" if self.done else text)
                sys.stdout.write(text)
                self.done += 1
            sys.stdout.flush()

    def finish(self) -> None:
        if self._chosen == "html":
            sys.stdout.write(linked_page(self._page))

    def stopped(self) -> str:
        return f"{counted(self.done, 'document')} written" if self.done else "nothing was written"


class _Whole:
    """A file that appears when all documents are linked."""

    def __init__(self, path: Path, chosen: str, *, named: bool) -> None:
        self._path, self._chosen, self._named = path, chosen, named
        self._documents: list[LinkedDocument] = []
        self.counts: Counter[str] = Counter()

    @property
    def done(self) -> int:
        return len(self._documents)

    def add(self, documents: Sequence[LinkedDocument]) -> None:
        self.counts += count_mentions(documents)
        self._documents += documents

    def finish(self) -> None:
        if self._chosen == "html":
            text = linked_page(self._documents)
        else:
            text = "\n".join(
                write_document(one, self._chosen, named=self._named) for one in self._documents
            )
        write_atomically(self._path, text)

    def stopped(self) -> str:
        return "nothing was written; --format jsonl keeps what is done"


class _Growing:
    """A file of JSON lines; see PartialFile."""

    def __init__(self, file: PartialFile) -> None:
        self._file = file

    @property
    def done(self) -> int:
        return self._file.done

    @property
    def counts(self) -> Mapping[str, int]:
        return self._file.counts

    def add(self, documents: Sequence[LinkedDocument]) -> None:
        lines = [json.dumps(one.to_dict(), ensure_ascii=False) for one in documents]
        self._file.append(lines, count_mentions(documents), items=len(documents))

    def finish(self) -> None:
        self._file.finish()

    def stopped(self) -> str:
        return (
            f"{counted(self.done, 'document')} in {self._file.path}.partial; run the same command "
            "again to continue"
        )
