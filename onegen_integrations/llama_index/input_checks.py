"""Checks of what users ask, before a model is loaded or anything is written."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import QueryBundle

from onegen_model.errors import InvalidInputError

Method = TypeVar("Method", bound=Callable[..., Any])


def require_text(text: object, what: str) -> None:
    """Raises InvalidInputError for anything but a text that is not empty."""
    if not isinstance(text, str):
        raise InvalidInputError(f"The {what} is {_kind(text)}; expected some text; pass a str")
    if not text.strip():
        raise InvalidInputError(f"The {what} is empty; expected some text; write one")


def require_query(query: object) -> None:
    """Raises InvalidInputError for anything but a text or a QueryBundle with one."""
    if isinstance(query, QueryBundle):
        query = query.query_str
    require_text(query, "question")


def require_prompt(prompt: object) -> None:
    """Raises InvalidInputError for anything but a text that is not empty."""
    require_text(prompt, "question")


def require_message(message: object) -> None:
    """Raises InvalidInputError for anything but a text that is not empty."""
    require_text(message, "message")


def require_messages(messages: object) -> None:
    """Raises InvalidInputError for anything but a list of ChatMessage."""
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise InvalidInputError(
            f"The messages are {_kind(messages)}; expected a list of ChatMessage; write "
            "`[ChatMessage(…)]`"
        )
    for at, message in enumerate(messages):
        if not isinstance(message, ChatMessage):
            raise InvalidInputError(
                f"Message {at} is {_kind(message)}; expected a ChatMessage; write `ChatMessage(…)`"
            )


def checks(require: Callable[[Any], None]) -> Callable[[Method], Method]:
    """A decorator: `require` sees a method's first argument before its events are sent."""

    def decorate(method: Method) -> Method:
        [_, first, *_] = inspect.signature(method).parameters

        def check(given: tuple[Any, ...], named: dict[str, Any]) -> None:
            if given or first in named:
                require(given[0] if given else named[first])

        @functools.wraps(method)
        def checked(self: Any, *given: Any, **named: Any) -> Any:
            check(given, named)
            return method(self, *given, **named)

        @functools.wraps(method)
        async def achecked(self: Any, *given: Any, **named: Any) -> Any:
            check(given, named)
            return await method(self, *given, **named)

        decorated: Any = achecked if inspect.iscoroutinefunction(method) else checked
        return decorated  # type: ignore[no-any-return]

    return decorate


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
