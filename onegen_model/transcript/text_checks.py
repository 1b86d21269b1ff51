"""Checks of texts, questions and passages: a `str` that can be written as UTF-8."""

from collections.abc import Mapping

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage


def require_text(value: object, name: str) -> str:
    """`value` itself; raises InvalidInputError, whose message begins with `name`.

    A NUL character is text like any other; half a surrogate pair is not.
    """
    if not isinstance(value, str):
        raise InvalidInputError(
            f"{name} is {_shortened(value)} of type {type(value).__name__}; expected text (str); "
            "convert it, or leave it out"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{name} holds the lone surrogate {value[error.start]!a} at character {error.start}; "
            "expected text that can be written as UTF-8; decode its source with "
            'errors="replace", or remove the character'
        ) from None
    return value


def require_texts_in(value: object, name: str) -> None:
    """Check every string of a nested value, for example of a tool; raises InvalidInputError."""
    values: list[object] = [value]
    while values:  # No recursion: JSON nests deeper than functions may call each other.
        one = values.pop()
        if isinstance(one, Mapping):
            values += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            values += one
        elif isinstance(one, str):
            require_text(one, name)


def require_question(question: object, name: str = "The question") -> str:
    """`question` itself; raises InvalidInputError where it is not text or empty."""
    text = require_text(question, name)
    if not text.strip():
        raise InvalidInputError(f"{name} is empty; expected some text; write one")
    return text


def require_passage(passage: object) -> Passage:
    """`passage` itself; raises InvalidInputError where a field is not text or the text is empty."""
    if not isinstance(passage, Passage):
        raise InvalidInputError(
            f"A passage is of type {type(passage).__name__}; expected a Passage; make one with "
            "Passage(id, text, title)"
        )
    require_text(passage.id, "The id of a passage")
    text = require_text(passage.text, f"The text of passage {passage.id!r}")
    require_text(passage.title, f"The title of passage {passage.id!r}")
    if not text.strip():
        raise InvalidInputError(
            f"Passage {passage.id!r} is empty; expected some text; leave it out"
        )
    return passage


def _shortened(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
