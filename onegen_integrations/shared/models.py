"""One set of weights per process, however many objects of a framework refer to it.

Frameworks copy, pickle and rebuild their objects, which therefore hold a `SharedModel`.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from onegen_model import LoadOptions, OneGenModel
from onegen_model.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class _Key:
    """The arguments of a load. Different keys for the same weights load them twice.

    `identity` is `options` in a form that can be compared and hashed.
    """

    source: str | None
    dtype: str
    device: str | None
    options: LoadOptions = field(compare=False)
    identity: tuple[Any, ...] = ()


_models: dict[_Key, OneGenModel] = {}
_locks: dict[_Key, threading.Lock] = {}
if hasattr(os, "register_at_fork"):
    # In a child, a thread of the parent may hold a lock, and the models belong to the parent.
    os.register_at_fork(after_in_child=_locks.clear)
    os.register_at_fork(after_in_child=_models.clear)


def shared_model(
    path_or_id: str | Path | None = None,
    *,
    dtype: str = "float32",
    device: str | None = None,
    **options: Unpack[LoadOptions],
) -> OneGenModel:
    """`OneGenModel.from_pretrained`, once for the same arguments.

    The model stays in memory until `unload_model` is called with the same arguments.
    """
    return _load(_key(path_or_id, dtype, device, options))


def unload_model(
    path_or_id: str | Path | None = None,
    *,
    dtype: str = "float32",
    device: str | None = None,
    **options: Unpack[LoadOptions],
) -> None:
    """Free the model that `shared_model` loaded for these arguments, if there is one.

    Answers that are being written fail. A component that refers to the model loads it again when
    it is used next.
    """
    _unload(_key(path_or_id, dtype, device, options))


def _key(
    path_or_id: str | Path | None, dtype: str, device: str | None, options: LoadOptions
) -> _Key:
    if path_or_id is not None and (folder := Path(path_or_id)).is_dir():
        path_or_id = folder.resolve()
    given: Any = {name: value for name, value in options.items() if value not in (None, {})}
    source = None if path_or_id is None else str(path_or_id)
    return _Key(source, dtype, device, given, _comparable(given))


def _comparable(value: Any) -> Any:
    """A value that can be hashed, and that is equal for equal options."""
    if isinstance(value, Mapping):
        pairs = ((repr(name), _comparable(inner)) for name, inner in value.items())
        return tuple(sorted(pairs, key=lambda pair: pair[0]))
    return repr(value)


def _load(key: _Key) -> OneGenModel:
    # One lock per key, so that a load does not delay the use of another model.
    with _locks.setdefault(key, threading.Lock()):
        if key not in _models:
            _models[key] = OneGenModel.from_pretrained(
                key.source, dtype=key.dtype, device=key.device, **key.options
            )
        return _models[key]


def _unload(key: _Key) -> None:
    with _locks.setdefault(key, threading.Lock()):
        if (model := _models.pop(key, None)) is not None:
            model.unload()


class SharedModel:
    """Refers to a model; `model` loads it when first asked for.

    Copies, deep ones too, are the handle itself. A pickle holds the name of the model, never its
    weights. Of a model that is already loaded, `dtype`, `device` and `options` are ignored.
    """

    __slots__ = ("_source",)

    def __init__(
        self,
        source: "str | Path | OneGenModel | SharedModel | None" = None,
        *,
        dtype: str = "float32",
        device: str | None = None,
        **options: Unpack[LoadOptions],
    ) -> None:
        self._source: _Key | OneGenModel
        if isinstance(source, SharedModel):
            self._source = source._source
        elif isinstance(source, OneGenModel):
            names = (key for key, model in list(_models.items()) if model is source)
            self._source = next(names, source)
        else:
            self._source = _key(source, dtype, device, options)

    @property
    def model(self) -> OneGenModel:
        """Raises CheckpointError where it cannot be loaded."""
        return self._source if isinstance(self._source, OneGenModel) else _load(self._source)

    @property
    def source(self) -> str | None:
        """The name of the model; None for the default one, and for one that came without a name."""
        return None if isinstance(self._source, OneGenModel) else self._source.source

    @property
    def is_named(self) -> bool:
        """False for a model that came loaded, from elsewhere than `shared_model`."""
        return not isinstance(self._source, OneGenModel)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model, which is loaded if necessary."""
        return self.model.fingerprint

    def unload(self) -> None:
        """Free the model for all components that share it; answers being written fail.

        A named model is loaded again at the next use; one that came loaded cannot be.
        """
        if isinstance(self._source, OneGenModel):
            self._source.unload()
        else:
            _unload(self._source)

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
                "A model that was passed as a loaded object cannot be pickled; expected one that a "
                "path or a hub id names; pass its name"
            )
        key = self._source
        return _restore, (key.source, key.dtype, key.device, key.options)

    def __repr__(self) -> str:
        if isinstance(self._source, OneGenModel):
            return f"SharedModel({self._source.fingerprint[:12]})"
        return f"SharedModel({self._source.source or 'default'})"


def _restore(
    source: str | None, dtype: str, device: str | None, options: LoadOptions
) -> SharedModel:
    return SharedModel(source, dtype=dtype, device=device, **options)
