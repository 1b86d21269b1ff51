"""Options of a call: checked, brought to one name each, and made comparable for caches."""

import uuid
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any

from onegen_model.errors import InvalidInputError

_identities: dict[int, str] = {}
_called: ContextVar[Mapping[str, Any] | None] = ContextVar("onegen_called", default=None)

TOOLS = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
_ALIASES = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "score_threshold": "min_score",
}
# Options of other models, with the values that change nothing here.
_NEUTRAL: Mapping[str, Collection[object]] = {
    "n": (1,),
    "logprobs": (False,),
    "stream_usage": (True,),
    "strict": (False,),
    "echo": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}
_FREE = {"stop", "stream", "max_retries"}
_OF_THE_RUN = {"tags", "metadata", "run_name", "run_id", "ls_structured_output_format"}


def identity_of(source: object) -> str:
    """A name that no other object ever has; Python reuses an `id`."""
    if id(source) not in _identities:
        name = f"{type(source).__name__}-{uuid.uuid4().hex}"
        try:
            weakref.finalize(source, _identities.pop, id(source), None).atexit = False
        except TypeError:  # It cannot be referenced weakly: a new name each time.
            return name
        return _identities.setdefault(id(source), name)
    return _identities[id(source)]


def plain(value: Any) -> Any:
    """`value` as plain data, with a name for each object, so that calls can be compared.

    The `repr` of a function holds an address, which another function may have later.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return identity_of(value)


def read_options(called: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The options of a call by their own names; raises InvalidInputError for an unknown one.

    An option of another model is accepted if its value is None or changes nothing here.
    """
    options: dict[str, Any] = {}
    for alias, value in called.items():
        name = _ALIASES.get(alias, alias)
        if name in known or name in _FREE:
            options[name] = value
        elif value is not None and value not in _NEUTRAL.get(name, ()):
            _refuse(name, value, known)
    return options


def _refuse(name: str, value: object, known: Collection[str]) -> None:
    if name in _NEUTRAL:
        expected = f"{name}={next(iter(_NEUTRAL[name]))!r}"
        raise InvalidInputError(
            f"Option {name}={value!r} in a call; expected {expected}, because this model has "
            "nothing else; leave it out"
        )
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    expected = repr(close[0]) if close else f"one of {', '.join(sorted(known))}"
    advice = "correct its name" if close else "leave it out"
    raise InvalidInputError(f"Unknown option {name!r} in a call; expected {expected}; {advice}")


@contextmanager
def calling(called: Mapping[str, Any]) -> Iterator[None]:
    """Context in which `called` are the options of the current call."""
    token = _called.set({name: called[name] for name in called.keys() - _OF_THE_RUN})
    try:
        yield
    finally:
        _called.reset(token)


def current_call() -> dict[str, Any]:
    """The options of the current call, as `plain` writes them."""
    return {name: plain(value) for name, value in sorted((_called.get() or {}).items())}
