"""Options of the subcommands that read files, and the report of those that cannot be read."""

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onegen_model.cli.printable import printable
from onegen_model.documents.failures import FailedFile, OnFailure

if TYPE_CHECKING:
    from onegen_model.documents.options import ReadingOptions

# The exit status of a command that did its work without some files.
FILES_WERE_SKIPPED = 3


def add_reading_options(parser: ArgumentParser) -> None:
    """Add which files are read, and how."""
    group = parser.add_argument_group("reading")
    group.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="GLOB",
        help="read only such files of folders, as in a .gitignore; repeatable (default: all)",
    )
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="pass over such files and folders; repeatable (default: none)",
    )
    group.add_argument(
        "--hidden", action="store_true", help='read names that begin with "." (default: not)'
    )
    group.add_argument(
        "--no-ignore",
        action="store_true",
        help="read what .gitignore and .ignore leave out (default: not)",
    )
    group.add_argument(
        "--encoding", metavar="NAME", help="of all text files (default: detected for each)"
    )
    group.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without files that cannot be read, and name them at the end; the exit status "
        f"is {FILES_WERE_SKIPPED} then (default: stop before the work begins)",
    )


def reading_options(namespace: Namespace) -> "ReadingOptions":
    """Raises InvalidInputError."""
    from onegen_model.documents.options import ReadingOptions  # Help does not wait for it.

    return ReadingOptions(
        encoding=namespace.encoding,
        include=namespace.include,
        exclude=namespace.exclude,
        hidden=namespace.hidden,
        use_ignore_files=not namespace.no_ignore,
    )


@dataclass(slots=True)
class SkippedFiles:
    """Collects files that cannot be read, where `--skip-bad` was given."""

    skip_bad: bool
    failures: list[FailedFile] = field(default_factory=list)

    @property
    def on_failure(self) -> OnFailure | None:
        """For `read_documents`; None lets it raise."""
        return self.failures.append if self.skip_bad else None

    def report(self) -> int:
        """Name the files on standard error; the exit status of the command."""
        if not self.failures:
            return 0
        count = len(self.failures)
        noun, were = ("file", "was") if count == 1 else ("files", "were")
        sys.stderr.write(f"onegen: {count} {noun} could not be read and {were} skipped:\n")
        sys.stderr.writelines(f"  {printable(str(failure))}\n" for failure in self.failures)
        return FILES_WERE_SKIPPED
