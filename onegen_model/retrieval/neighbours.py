"""What stands around a passage in its document, by the ids that places give to the pieces."""

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from onegen_model.events import Passage
from onegen_model.places import place_of
from onegen_model.retrieval.filters import compile_filter

Find = Callable[[str], Passage | None]


def find_neighbours(
    passage: Passage, window: int, find: Find, filter: Mapping[str, Any] | None = None
) -> list[Passage]:
    """The passage between at most `window` neighbours on each side, in order and without a gap.

    A passage that `find` does not know, or that `filter` does not match, ends its side.
    """
    place, matches = place_of(passage), compile_filter(filter)
    if place is None:
        return [passage]

    def side(step: int) -> list[Passage]:
        chunks = range(place.chunk + step, place.chunk + step * (window + 1), step)
        found = (find(place.id_of(chunk)) for chunk in chunks if chunk >= 0)
        fitting = takewhile(lambda one: one is not None and matches(one.metadata), found)
        return [one for one in fitting if one is not None]

    return [*side(-1)[::-1], passage, *side(1)]
