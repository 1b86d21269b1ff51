"""What a call is given: checked, and told apart from what another call is given."""

import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any

from onegen_model.errors import InvalidInputError

_identities: dict[int, str] = {}
_called: ContextVar[Mapping[str, Any] | None] = ContextVar("onegen_called", default=None)

BOUND = ("tools", "tool_choice", "response_format", "stop")
# LangChain's words for something else, however much they look like ours.
_FOREIGN = {"max_retries", "max_completion_tokens", "max_output_tokens"}
_OF_THE_RUN = {"tags", "metadata", "run_name", "run_id", "ls_structured_output_format"}


def identity_of(source: object) -> str:
    """A name that no other object has or will have; `id` is given away again."""
    if id(source) not in _identities:
        name = f"{type(source).__name__}-{uuid.uuid4().hex}"
        try:
            weakref.finalize(source, _identities.pop, id(source)).atexit = False
        except TypeError:  # its end cannot be noticed: another name each time
            return name
        _identities[id(source)] = name
    return _identities[id(source)]


def plain(value: Any) -> Any:
    """`value` with a name in the place of whatever is more than data: equal is what means the same.

    The `repr` of a function tells an address, which another function may have later.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return identity_of(value)


def require_known(called: Iterable[str], known: Iterable[str]) -> None:
    """Refuses what looks like one of `known` and is none; LangChain passes on words of others."""
    names = {*known, *BOUND}
    for name in sorted({*called} - names - _FOREIGN):
        if close := get_close_matches(name, sorted(names), n=1, cutoff=0.8):
            raise InvalidInputError(
                f"Unknown option {name!r} in a call; expected {close[0]!r}; correct its name"
            )


@contextmanager
def calling(called: Mapping[str, Any]) -> Iterator[None]:
    """`called` are the options of the call that runs."""
    token = _called.set({name: called[name] for name in called.keys() - _OF_THE_RUN})
    try:
        yield
    finally:
        _called.reset(token)


def current_call() -> dict[str, Any]:
    """The options of the call that runs, as `plain` has them."""
    return {name: plain(value) for name, value in sorted((_called.get() or {}).items())}
