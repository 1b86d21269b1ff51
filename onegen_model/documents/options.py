"""Which files are read, and how."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, fields

from pathspec import GitIgnoreSpec

from onegen_model.errors import InvalidInputError

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """Which files of a folder are read, and the limits of each file.

    `encoding` is that of all text files (None: detected for each). `include` and `exclude` are
    patterns as in a .gitignore, relative to each folder that is searched; a file that is named
    itself is always read. `hidden` also reads names that begin with ".". `use_ignore_files` follows
    .gitignore and .ignore files. A larger file, packed or unpacked, a longer text, or a conversion
    that takes longer fails; the records of a .jsonl file are limited one by one.

    `as_written` keeps every character of a text file: front matter, titles of reStructuredText,
    tables and line ends are left as they are, and an empty document is a document. Files of other
    kinds are converted as always.
    """

    encoding: str | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    hidden: bool = False
    use_ignore_files: bool = True
    as_written: bool = False
    max_file_bytes: int = 256 * _MIB
    max_text_characters: int = 50_000_000
    convert_seconds: float = 300.0

    def __post_init__(self) -> None:
        _require_encoding(self.encoding)
        for name in ("include", "exclude"):
            object.__setattr__(self, name, _patterns(name, getattr(self, name)))
        for field in fields(self):
            if field.type in (int, float):
                _require_positive(field.name, getattr(self, field.name))


def _require_encoding(encoding: object) -> None:
    if encoding is None:
        return
    try:
        if isinstance(encoding, str) and codecs.lookup(encoding)._is_text_encoding:
            return
    except (LookupError, ValueError):
        pass
    raise InvalidInputError(
        f"There is no text encoding {encoding!r}; expected a name such as utf-8, cp1252 or "
        "shift_jis; change encoding, or leave it out to have it detected"
    )


def _patterns(name: str, patterns: object) -> tuple[str, ...]:
    if isinstance(patterns, str) or not isinstance(patterns, Sequence):
        raise InvalidInputError(
            f"{name} is {patterns!r}; expected a list of patterns such as ['*.md']; put it in a "
            "list"
        )
    try:
        GitIgnoreSpec.from_lines(patterns)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{name} has a pattern that cannot be used ({error}); expected patterns as in a "
            ".gitignore; correct it"
        ) from error
    return tuple(patterns)


def _require_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidInputError(f"{name} is {value!r}; expected a number above 0; change {name}")
