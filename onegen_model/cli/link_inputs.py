"""The texts that `onegen link` is given: arguments, standard input, files and folders."""

import hashlib
import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onegen_model.cli.reading_options import SkippedFiles, reading_options
from onegen_model.documents.finding import find_files, warn_of_skipped
from onegen_model.documents.kinds import has_known_suffix
from onegen_model.documents.options import ReadingOptions
from onegen_model.documents.reading import read_found
from onegen_model.errors import InvalidInputError

_STDIN = "-"
# With white space in it, only these beginnings make a path of a text.
_PLACED = re.compile(r"(?:\.{1,2}|~)?[/\\]")


@dataclass(frozen=True, slots=True)
class LinkInput:
    """A text to link; `source` is its file, "-" for standard input, None for an argument."""

    id: str
    source: str | None
    text: str


def read_inputs(options: Namespace, skipped: SkippedFiles) -> list[LinkInput]:
    """All texts, in order; raises InvalidInputError for what can be neither text nor path."""
    given: list[str] = options.inputs
    reading = replace(reading_options(options), as_written=True)
    if options.text:
        return [_argument(number, text) for number, text in enumerate(given, 1)]
    existing = [one for one in given if one != _STDIN and os.path.lexists(os.path.expanduser(one))]
    missing = [one for one in given if one != _STDIN and one not in existing]
    _require_one_kind(existing, missing)
    if existing and _STDIN not in given:
        return _read_files(list(map(os.path.expanduser, existing)), reading, skipped)
    if existing:
        raise InvalidInputError(
            f"Standard input (-) and {existing[0]!r} are given; expected texts, or files and "
            "folders; run one command after the other"
        )
    return [
        LinkInput(_STDIN, _STDIN, _standard_input(reading.encoding))
        if text == _STDIN
        else _argument(number, text)
        for number, text in enumerate(given, 1)
    ]


def inputs_digest(inputs: Iterable[LinkInput]) -> str:
    """A hash of the texts and their names."""
    digest = hashlib.sha256()
    for one in inputs:
        digest.update(json.dumps([one.id, one.source, one.text]).encode())
    return digest.hexdigest()[:32]


def _require_one_kind(existing: Sequence[str], missing: Sequence[str]) -> None:
    """Raise InvalidInputError for a path that is missing."""
    wrong = missing if existing else list(filter(looks_like_path, missing))
    if not wrong:
        return
    if existing:
        raise InvalidInputError(
            f"There is no file or folder {wrong[0]!r} beside {existing[0]!r}; expected paths that "
            "exist; check the path or, if the arguments are texts, add --text"
        )
    raise InvalidInputError(
        f"There is no file or folder {wrong[0]!r}; expected one that exists, or a text; check the "
        "path or, if it is a text, add --text"
    )


def looks_like_path(argument: str) -> bool:
    """Whether an argument was meant as a path, although nothing is there.

    A word with a separator or the suffix of a known kind is; among other texts one that begins as
    a path does and ends as one.
    """
    is_known = has_known_suffix(argument)
    if re.search(r"\s", argument):
        ends = is_known or argument.endswith(("/", "\\"))
        return ends and _PLACED.match(argument) is not None
    return is_known or re.search(r"[/\\]", argument) is not None


def _argument(number: int, text: str) -> LinkInput:
    try:
        text.encode()  # Python reads other bytes as surrogates where the locale is C.
    except UnicodeError as error:
        raise InvalidInputError(
            f"Argument {number} is not UTF-8; expected text; convert it, or pass it as a file"
        ) from error
    return LinkInput(f"text {number}", None, text)


def _standard_input(encoding: str | None) -> str:
    """The text, with its line ends; only a byte order mark is left out."""
    try:
        binary = getattr(sys.stdin, "buffer", None)
        if binary is None:
            text = sys.stdin.read()
        else:
            text = binary.read().decode(encoding or "utf-8").removeprefix("\ufeff")
        text.encode()
    except UnicodeError as error:
        raise InvalidInputError(
            f"Standard input is not {encoding or 'UTF-8'}; expected text; convert it, or name its "
            "encoding with --encoding"
        ) from error
    return str(text)


def _read_files(
    paths: Sequence[str], reading: ReadingOptions, skipped: SkippedFiles
) -> list[LinkInput]:
    found = find_files(paths, reading)
    warn_of_skipped(found)
    documents = read_found(
        found,
        root=Path.cwd(),  # Files of one name in two folders have two sources.
        options=reading,
        on_failure=skipped.on_failure,
        progress=None,
    )
    return [LinkInput(one.id, one.source, one.text) for one in documents]
