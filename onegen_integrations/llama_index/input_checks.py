"""Checks of what users ask, before a model is loaded or anything is written."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import QueryBundle

from onegen_integrations.shared.known_names import require_known_names
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


def checks(
    require: Callable[[Any], None], options: Iterable[str] = ()
) -> Callable[[Method], Method]:
    """A decorator that checks a call before its events are sent.

    `require` is called with the first argument of the method. Where there are `options`, no other
    keyword arguments than these and the method's own are accepted.
    """

    def decorate(method: Method) -> Method:
        own = list(inspect.signature(method).parameters)
        first, known = own[1], {*own, *options}

        def check(given: tuple[Any, ...], named: dict[str, Any]) -> None:
            if given or first in named:
                require(given[0] if given else named[first])
            if options:
                require_known_names(method.__name__, named, known - {"self", "kwargs"})

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
