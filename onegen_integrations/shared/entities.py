"""The entities that a component links to: an index, the folder of one, or another retriever."""

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

from onegen_integrations.shared.models import SharedModel
from onegen_model import (
    LinkedText,
    Mention,
    OneGenModel,
    PassageIndex,
    ScoredPassage,
    entity_name,
)
from onegen_model.errors import InvalidInputError, OneGenError

_UNNAMED = "SharedEntities("  # how entities that were passed as an object are serialised

# By model, folder, and the time of the folder's last change; an index stays for as long as a
# component holds it. A model that was loaded again is another one: the index needs its own.
_indexes: WeakValueDictionary[tuple[OneGenModel, Path, int], PassageIndex] = WeakValueDictionary()


class SharedEntities:
    """Refers to entities; an index in a folder is read when it is first used.

    Copies, deep ones too, are the handle itself. A pickle holds the path of an index.
    """

    __slots__ = ("_opened", "_token", "source")

    def __init__(self, source: Any) -> None:
        if isinstance(source, str) and source.startswith(_UNNAMED):
            raise InvalidInputError(
                f"{source} is the placeholder of entities that were passed as an object; expected "
                "the folder of an index; pass that path"
            )
        self.source: Any = os.fspath(source) if isinstance(source, os.PathLike) else source
        self._opened: tuple[OneGenModel, Any] | None = None
        self._token = uuid4().hex

    def open(self, model: SharedModel, adapt: Callable[[Any], Any]) -> Any:
        """The retriever that the core is given: an index that is read from its folder, or what
        `adapt` makes of an object. Raises PassageIndexError for a folder without an index.
        """
        loaded, opened = model.model, self._opened
        if opened is None or opened[0] is not loaded:
            own = self.source
            found = _load(loaded, Path(own)) if isinstance(own, str) else adapt(own)
            self._opened = opened = (loaded, found)
        return opened[1]

    def close(self) -> None:
        """Forget what `open` has made."""
        self._opened = None

    def require_picklable(self) -> None:
        """Raise InvalidInputError for an object that cannot be pickled."""
        try:
            pickle.dumps(self.source)
        except OneGenError:
            raise
        except Exception as error:
            raise InvalidInputError(
                f"{type(self.source).__name__} cannot be pickled ({error}); expected entities that "
                "can; save them as a PassageIndex and pass its path"
            ) from error

    @property
    def label(self) -> str:
        """The path, or a placeholder that no other entities have.

        Caches of the frameworks compare components by it.
        """
        if isinstance(self.source, str):
            return self.source
        content = self._token
        if isinstance(self.source, PassageIndex):
            content = sha256(repr(self.source.passages).encode(errors="replace")).hexdigest()
        return f"{_UNNAMED}{type(self.source).__name__}, {content[:32]})"

    def __copy__(self) -> "SharedEntities":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedEntities":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedEntities, (self.source,)

    def __repr__(self) -> str:
        return f"{_UNNAMED}{self.source if isinstance(self.source, str) else type(self.source)})"


def _load(model: OneGenModel, folder: Path) -> PassageIndex:
    changed = folder.stat().st_mtime_ns if folder.is_dir() else 0
    key = (model, folder.resolve(), changed)
    index = _indexes.get(key)
    if index is None:
        index = _indexes[key] = PassageIndex.load(model, folder)
    return index


@dataclass(frozen=True, slots=True)
class UnscoredEntity(ScoredPassage):
    """An entity whose source tells no score, or one that is no cosine; `score` says nothing."""


def with_known_scores(linked: LinkedText) -> LinkedText:
    """The text, in which mentions of unscored entities have the score None."""
    return replace(linked, mentions=tuple(map(with_known_score, linked.mentions)))


def with_known_score(mention: Mention) -> Mention:
    """The mention, with the score None if its best candidate is unscored."""
    if any(isinstance(one, UnscoredEntity) for one in mention.candidates[:1]):
        return replace(mention, score=None)
    return mention


def mention_values(mention: Mention) -> dict[str, Any]:
    """A mention as metadata, in JSON; `id` and `name` are None where it has no entity, and `score`
    where that is unknown."""
    entity = mention.entity.passage if mention.entity else None
    return {
        "start": mention.start,
        "end": mention.end,
        "surface": mention.surface,
        "id": entity.id if entity else None,
        "name": entity_name(entity) if entity else None,
        "score": mention.score,
    }
