"""Tells whether a file would still be read as it was read."""

import hashlib
from pathlib import Path

from onegen_model.documents.failures import FailedFile, UnreadableFilesError
from onegen_model.documents.finding import reason_of
from onegen_model.documents.kinds import suffix_of
from onegen_model.documents.options import ReadingOptions

# To be raised with each change of the texts, titles or metadata that reading makes of a file.
READING_VERSION = 1


def digest_of(path: Path, options: ReadingOptions | None = None) -> str:
    """A hash, in 32 hex digits, of a file's bytes and of how they are read; nothing is converted.

    Equal to `Document.digest` of the file's documents. The name of the file counts only by its
    suffix: a file without a heading takes its title from its name. Raises UnreadableFilesError.
    """
    options = options or ReadingOptions()
    how: tuple[object, ...] = (READING_VERSION, suffix_of(path), options.encoding)
    if options.as_written:  # Older digests know nothing of it.
        how += ("as written",)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise UnreadableFilesError([FailedFile(path, reason_of(error))]) from error
    digest.update(repr(how).encode())
    return digest.hexdigest()[:32]
