"""Reads the file of embeddings that OneGen publishes: a tensor (n, dimension) and a list of ids.

A pickle may run any code while it is read. Here it may make only what such a file is made of, as
plain data; the tensor is made afterwards, from numbers that were checked.
"""

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from onegen_model.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

# How torch.save begins a file: as a zip file or, before torch 1.6, with a pickled number.
_ZIP = b"PK\x03\x04"
_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_EXPECTED = (
    "expected pickle.dump((tensor of shape (entities, dimension), list of ids)), as OneGen "
    "publishes it"
)
# How torch names what it does not make.
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True, slots=True)
class PublishedVectors:
    """`rows[i]`, not normalised yet, belongs to `ids[i]`; an id may be there several times."""

    path: Path
    rows: "torch.Tensor"
    ids: list[str]


def read_published(path: Path) -> PublishedVectors:
    """Raises InvalidInputError for a file that holds anything else, which is never run."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_OLD_FORMAT))
            file.seek(0)
            is_saved_by_torch = start.startswith(_ZIP) or start == _OLD_FORMAT
            made = _load_saved(path) if is_saved_by_torch else _unpickle(path, file)
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"No file {path}; expected a pickle of embeddings; check the path"
        ) from error
    if not isinstance(made, tuple) or len(made) != 2:
        raise _wrong(path, f"holds {_kind(made)}")
    rows, ids = made
    if isinstance(rows, _Tensor):
        del made  # It would keep the bytes of the tensor, which is as large again.
        rows = _make_tensor(path, rows)
    return PublishedVectors(path, _checked_rows(path, rows), _checked_ids(path, ids))


def _checked_rows(path: Path, rows: object) -> "torch.Tensor":
    import torch

    if not isinstance(rows, torch.Tensor):
        raise _wrong(path, f"holds {_kind(rows)} in place of the tensor")
    if rows.ndim != 2 or not rows.is_floating_point() or rows.layout != torch.strided:
        shape = tuple(rows.shape)
        raise _wrong(path, f"holds a tensor of {rows.dtype} and shape {shape}")
    return rows.detach()


def _checked_ids(path: Path, ids: object) -> list[str]:
    if not isinstance(ids, list | tuple):
        raise _wrong(path, f"holds {_kind(ids)} in place of the ids")
    for at, one in enumerate(ids):
        if isinstance(one, bool) or not isinstance(one, str | int) or one == "":
            raise _wrong(path, f"holds {_kind(one)} as id {at}")
    return list(map(str, ids))


# --- a plain pickle ---


class _Tensor:
    """A tensor that is to be made: the bytes of its storage, and its place in them."""

    __slots__ = ("offset", "shape", "storage", "stride")

    def __init__(self, storage: object, offset: object, shape: object, stride: object) -> None:
        self.storage = storage
        self.offset = offset
        self.shape = shape
        self.stride = stride


class _Storage:
    """What torch.save has written of a storage."""

    __slots__ = ("content",)

    def __init__(self, content: object) -> None:
        self.content = content


class _MakesTensor:
    """Stands for torch._utils._rebuild_tensor_v2; an object without attributes, because a pickle
    may set those of a function.
    """

    __slots__ = ()

    def __call__(self, storage: object, offset: object, shape: object, *more: object) -> _Tensor:
        return _Tensor(storage, offset, shape, more[0])


class _MakesStorage:
    """Stands for torch.storage._load_from_bytes."""

    __slots__ = ()

    def __call__(self, content: object) -> _Storage:
        return _Storage(content)


class _MakesHooks:
    """Stands for collections.OrderedDict: the hooks of a tensor, of which it has none."""

    __slots__ = ()

    def __call__(self) -> OrderedDict[Any, Any]:
        return OrderedDict()


_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _MakesTensor(),
    ("torch.storage", "_load_from_bytes"): _MakesStorage(),
    ("collections", "OrderedDict"): _MakesHooks(),
}


class _RefusedError(Exception):
    """The pickle asks for something else; the argument is its name."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None

    def persistent_load(self, name: object, /) -> Any:
        raise _RefusedError("an object that lies outside of it")


def _unpickle(path: Path, file: IO[bytes]) -> object:
    try:
        return _Unpickler(file).load()
    except _RefusedError as error:
        raise _refused(path, str(error)) from None
    except OSError:
        raise
    except Exception as error:  # A damaged pickle raises errors of any kind.
        raise _wrong(path, f"cannot be read ({_short(error)})") from error


def _make_tensor(path: Path, made: _Tensor) -> "torch.Tensor":
    import torch

    if not isinstance(made.storage, _Storage) or not isinstance(made.storage.content, bytes):
        raise _wrong(path, "holds a tensor without a storage")
    storage = _load_saved(path, io.BytesIO(made.storage.content))
    made.storage = None
    if not isinstance(storage, torch.storage.TypedStorage):
        raise _wrong(path, f"holds {_kind(storage)} as the storage of the tensor")
    try:
        none: torch.Tensor = torch._utils._rebuild_tensor(storage, 0, (0,), (1,))
        # It stays inside of the storage; `set_` would enlarge the storage instead.
        return none.as_strided(made.shape, made.stride, made.offset)  # type: ignore[arg-type]
    except (RuntimeError, TypeError, ValueError) as error:
        what = f"holds a tensor that lies outside of its storage ({_short(error)})"
        raise _wrong(path, what) from error


# --- what torch.save has written ---


def _load_saved(path: Path, content: IO[bytes] | None = None) -> object:
    """What torch reads itself with `weights_only`, on the CPU although it was saved on a GPU."""
    import torch

    try:
        if content is not None:
            return torch.load(content, map_location="cpu", weights_only=True)
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # Of any kind for a damaged file, as above.
        if found := _GLOBAL.search(str(error)):
            raise _refused(path, found[1]) from None
        raise _wrong(path, f"cannot be read ({_short(error)})") from error


def _refused(path: Path, name: str) -> InvalidInputError:
    return InvalidInputError(
        f"{path} asks for {name}, which was not run; {_EXPECTED}, and nothing that could run code; "
        "do not open this file with pickle, and fetch it again from its publisher"
    )


def _wrong(path: Path, what: str) -> InvalidInputError:
    return InvalidInputError(f"{path} {what}; {_EXPECTED}; fetch it again, or check the path")


def _kind(given: object) -> str:
    name = type(given).__name__.removeprefix("_")
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
