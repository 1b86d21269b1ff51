"""Pickles by name: a pickle stores how a checkpoint was loaded, never its weights."""

from functools import partial
from typing import Any, Self

from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.errors import InvalidInputError


class PickledByName:
    """A mixin for a class with `from_pretrained`. Unpickling loads the checkpoint again.

    Copies, deep ones too, are the object itself.
    """

    _checkpoint: Checkpoint

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if (origin := self._checkpoint.origin) is None:
            raise InvalidInputError(
                "A model that was put together in memory cannot be pickled; expected one that "
                "`from_pretrained` loaded; save it, load it from the folder, or pass its name"
            )
        loader: Any = type(self)
        return partial(loader.from_pretrained, **origin.options), (origin.source,)
