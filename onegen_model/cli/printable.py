"""Text for a terminal."""

import logging
import re

# A document or a file name may hold escape sequences, which must not reach the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text without control characters, apart from tabs and line breaks."""
    return _CONTROL.sub("", text)


class PrintableFormatter(logging.Formatter):
    """Formats log records without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
