"""Lists as OpenAI sends them, page by page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Query

from onegen_integrations.server.errors import ParameterError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int = 20
    order: str = "desc"
    after: str | None = None
    before: str | None = None

    def of(
        self, items: Sequence[T], id_of: Callable[[T], str], show: Callable[[T], dict[str, Any]]
    ) -> dict[str, Any]:
        """The page of `items`, the oldest first; raises ParameterError for an unknown cursor."""
        ordered = list(items) if self.order == "asc" else list(reversed(items))
        ids = [id_of(one) for one in ordered]
        start = _position(ids, self.after, "after") + 1 if self.after else 0
        end = _position(ids, self.before, "before") if self.before else len(ids)
        if self.before and not self.after:  # The page that ends where the given one begins.
            start = max(0, end - self.limit)
        some = ordered[start:end][: self.limit]
        has_more = start > 0 if self.before else start + len(some) < len(ids)
        return {
            "object": "list",
            "data": list(map(show, some)),
            "first_id": id_of(some[0]) if some else None,
            "last_id": id_of(some[-1]) if some else None,
            "has_more": has_more,
        }


def _position(ids: Sequence[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        raise ParameterError(
            f"{param}={wanted!r} is in no list; expected the id of an item; take it from the page "
            "before",
            param=param,
        )
    return ids.index(wanted)


Order = Literal["asc", "desc"]


def page_of(
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Order = "desc",
    after: str | None = None,
    before: str | None = None,
) -> Page:
    """A dependency of routes."""
    return Page(limit, order, after, before)


def file_page_of(
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
    after: str | None = None,
) -> Page:
    """The page of a list of uploaded files, which may be longer."""
    return Page(limit, order, after)


Paged = Annotated[Page, Depends(page_of)]
FilesPaged = Annotated[Page, Depends(file_page_of)]
