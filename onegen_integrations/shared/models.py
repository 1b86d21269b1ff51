"""One set of weights per process, however many objects of a framework refer to it.

Frameworks copy, pickle and rebuild their objects freely; what they hold is a `SharedModel`.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onegen_model import OneGenModel
from onegen_model.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class _Key:
    """What was asked for. Two keys that come to the same weights load them twice."""

    source: str | None
    dtype: str
    device: str | None


_models: dict[_Key, OneGenModel] = {}
_locks: dict[_Key, threading.Lock] = {}


def shared_model(
    path_or_id: str | Path | None = None, *, dtype: str = "float32", device: str | None = None
) -> OneGenModel:
    """`OneGenModel.from_pretrained`, once for the same arguments; it then stays in memory."""
    return _load(_key(path_or_id, dtype, device))


def _key(path_or_id: str | Path | None, dtype: str, device: str | None) -> _Key:
    if path_or_id is not None and (folder := Path(path_or_id)).is_dir():
        path_or_id = folder.resolve()
    return _Key(None if path_or_id is None else str(path_or_id), dtype, device)


def _load(key: _Key) -> OneGenModel:
    # A lock for each key: who waits for one model must not hold up who has another.
    with _locks.setdefault(key, threading.Lock()):
        if key not in _models:
            _models[key] = OneGenModel.from_pretrained(
                key.source, dtype=key.dtype, device=key.device
            )
        return _models[key]


class SharedModel:
    """Refers to a model; `model` loads it when first asked for.

    Copies, deep ones too, are the handle itself. A pickle holds the name of the model, never its
    weights. Of a model that is already loaded, `dtype` and `device` are what they are.
    """

    __slots__ = ("_source",)

    def __init__(
        self,
        source: "str | Path | OneGenModel | SharedModel | None" = None,
        *,
        dtype: str = "float32",
        device: str | None = None,
    ) -> None:
        self._source: _Key | OneGenModel
        if isinstance(source, SharedModel):
            self._source = source._source
        elif isinstance(source, OneGenModel):
            names = (key for key, model in list(_models.items()) if model is source)
            self._source = next(names, source)
        else:
            self._source = _key(source, dtype, device)

    @property
    def model(self) -> OneGenModel:
        """Raises CheckpointError where it cannot be loaded."""
        return self._source if isinstance(self._source, OneGenModel) else _load(self._source)

    @property
    def source(self) -> str | None:
        """What names the model; None for the default one, and for one that came without a name."""
        return None if isinstance(self._source, OneGenModel) else self._source.source

    @property
    def is_named(self) -> bool:
        """False for a model that came loaded, from elsewhere than `shared_model`."""
        return not isinstance(self._source, OneGenModel)

    @property
    def fingerprint(self) -> str:
        """That of the model, which is loaded for it."""
        return self.model.fingerprint

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SharedModel) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __copy__(self) -> "SharedModel":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedModel":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self._source, OneGenModel):
            raise InvalidInputError(
                "A model that was handed over loaded cannot be pickled; expected one that a path "
                "or a hub id names; hand over that name instead"
            )
        return _restore, (self._source.source, self._source.dtype, self._source.device)

    def __repr__(self) -> str:
        if isinstance(self._source, OneGenModel):
            return f"SharedModel({self._source.fingerprint[:12]})"
        return f"SharedModel({self._source.source or 'default'})"


def _restore(source: str | None, dtype: str, device: str | None) -> SharedModel:
    return SharedModel(source, dtype=dtype, device=device)
