"""Refuses unknown names of options."""

import difflib
from collections.abc import Iterable

from onegen_model.errors import InvalidInputError


def require_known_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises InvalidInputError for the first of `given` that `owner` does not know."""
    names = sorted(known)
    for name in given:
        if name in names:
            continue
        near = difflib.get_close_matches(name, names, n=1)
        expected = repr(near[0]) if near else f"some of {', '.join(names)}"
        raise InvalidInputError(
            f"{owner} has no option {name!r}; expected {expected}; correct the name or leave it out"
        )
