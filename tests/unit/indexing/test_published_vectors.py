"""The published pickle of embeddings: what it is made of is read, and nothing else is run."""

import collections
import io
import operator
import os
import pickle
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onegen_model.errors import InvalidInputError
from onegen_model.indexing.published_vectors import read_published
from tests.support.entities import write_published

ROWS = torch.arange(1.0, 25.0).reshape(3, 8)
IDS = ["Q1", "Q2", "Q3"]


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Made by code that runs."""
    return tmp_path / "canary"


class Calls:
    """A pickle of it calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.called


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_sound_pickle(dtype: torch.dtype, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "e.pkl"
    path.write_bytes(pickle.dumps((ROWS.to(dtype), ["Q1", 2, "W:Ä"]), protocol))
    found = read_published(path)
    assert found.ids == ["Q1", "2", "W:Ä"]
    assert found.rows.dtype == dtype
    assert torch.equal(found.rows.float(), ROWS)


def test_part_of_a_larger_tensor_of_a_network(tmp_path: Path) -> None:
    rows = torch.nn.Linear(8, 5).weight[1:4]
    found = read_published(write_published(tmp_path / "e.pkl", rows, tuple(IDS)))
    assert torch.equal(found.rows, rows)
    assert not found.rows.requires_grad


def test_a_tensor_of_a_gpu_is_read_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:1")
    path = write_published(tmp_path / "e.pkl", ROWS, IDS)
    assert b"cuda:1" in path.read_bytes()
    assert torch.equal(read_published(path).rows, ROWS)


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_torch_has_saved(is_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "e.pt"
    torch.save((ROWS.bfloat16(), IDS), path, _use_new_zipfile_serialization=is_zip)
    found = read_published(path)
    assert torch.equal(found.rows.float(), ROWS)
    assert found.ids == IDS


# --- malicious files ---


def attacks(canary: Path) -> dict[str, tuple[Any, str]]:
    """Objects to be pickled, and the name of what they would run."""
    shell = f"touch {canary}"
    write = f"open({str(canary)!r}, 'w')"
    inner = io.BytesIO()
    torch.save(Calls(os.system, shell), inner)
    payload = pickle.dumps(Calls(os.system, shell))
    stored = Calls(torch.storage._load_from_bytes, inner.getvalue())
    made = stored, 0, (1, 1), (1, 1), False, collections.OrderedDict()
    return {
        "instead of all": (Calls(os.system, shell), "posix.system"),
        "instead of the tensor": ((Calls(os.system, shell), IDS), "posix.system"),
        "among the ids": ((ROWS, ["Q1", Calls(os.system, shell), "Q3"]), "posix.system"),
        "deep in the ids": ((ROWS, ["Q1", [[{"a": Calls(eval, write)}]]]), "builtins.eval"),
        "exec": ((ROWS, [Calls(exec, write)]), "builtins.exec"),
        "a way around": ((ROWS, [Calls(operator.attrgetter, "a")]), "operator.attrgetter"),
        "a process": ((ROWS, [Calls(subprocess.Popen, shell)]), "subprocess.Popen"),
        "another pickle": ((ROWS, [Calls(pickle.loads, payload)]), "_pickle.loads"),
        "torch itself": ((ROWS, [Calls(torch.load, str(canary))]), "torch.serialization.load"),
        "behind the two": ((ROWS, IDS, Calls(os.system, shell)), "posix.system"),
        "numpy": ((np.ones((3, 8)), IDS), "numpy._core"),
        "inside of the storage": (
            (Calls(torch._utils._rebuild_tensor_v2, *made), ["Q1"]),
            "posix.system",
        ),
    }


@pytest.mark.parametrize("name", attacks(Path("canary")))
@pytest.mark.parametrize("saved_by_torch", [False, True])
def test_code_is_refused_and_not_run(
    name: str, saved_by_torch: bool, canary: Path, tmp_path: Path
) -> None:
    attack, refused = attacks(canary)[name]
    path = tmp_path / "e.pkl"
    if saved_by_torch:
        torch.save(attack, path)
    else:
        path.write_bytes(pickle.dumps(attack))
    with pytest.raises(InvalidInputError) as raised:
        read_published(path)
    assert not canary.exists()
    if not saved_by_torch:
        assert f"asks for {refused}" in str(raised.value)
        assert "which was not run; expected pickle.dump((tensor" in str(raised.value)


@pytest.mark.parametrize(
    "name", ["among the ids", "deep in the ids", "another pickle", "inside of the storage"]
)
def test_the_attacks_would_run(name: str, canary: Path) -> None:
    """Otherwise the test above could not fail."""
    with suppress(AttributeError):  # What the last one returns is no storage.
        pickle.loads(pickle.dumps(attacks(canary)[name][0]))
    assert canary.exists()


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (b"ctorch._utils\n_rebuild_tensor_v2\n", b"}"),
        (b"ctorch.storage\n_load_from_bytes\n", b"}X\x04\x00\x00\x00codeK\x01s"),
        (b"ccollections\nOrderedDict\n", b"N}X\x08\x00\x00\x00__call__K\x01s\x86"),
    ],
)
def test_a_pickle_changes_nothing_that_outlives_it(
    code: bytes, state: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "e.pkl"
    path.write_bytes(b"\x80\x04" + code + state + b"b.")  # b: sets attributes
    with pytest.raises(InvalidInputError):
        read_published(path)
    sound = write_published(tmp_path / "sound.pkl", ROWS, IDS)
    assert torch.equal(read_published(sound).rows, ROWS)


def test_an_object_outside_of_the_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.pkl").write_bytes(b"\x80\x04X\x01\x00\x00\x00aQ.")
    with pytest.raises(InvalidInputError, match="asks for an object that lies outside of it"):
        read_published(tmp_path / "e.pkl")


# --- files that hold something else ---


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ((ROWS,), "holds a tuple"),
        ([ROWS, IDS], "holds a list"),
        ({"rows": 1}, "holds a dict"),
        ((IDS, ROWS), "holds a list in place of the tensor"),
        ((ROWS, {"Q1": 0}), "holds a dict in place of the ids"),
        ((ROWS, ["Q1", "Q2", 3.5]), "holds a float as id 2"),
        ((ROWS, ["Q1", "", "Q3"]), "holds a str as id 1"),
        ((ROWS, [True]), "holds a bool as id 0"),
        ((ROWS, [ROWS]), "as id 0"),
        ((ROWS[0], IDS), r"holds a tensor of torch.float32 and shape \(8,\)"),
        ((ROWS.long(), IDS), "holds a tensor of torch.int64"),
        ((collections.OrderedDict(), IDS), "holds an OrderedDict in place of the tensor"),
    ],
)
def test_other_content(made: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "e.pkl").write_bytes(pickle.dumps(made))
    with pytest.raises(InvalidInputError, match=message) as raised:
        read_published(tmp_path / "e.pkl")
    assert "; expected pickle.dump((tensor" in str(raised.value)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (4, 8), (8, 1)),
        (1, (3, 8), (8, 1)),
        (-1, (3, 8), (8, 1)),
        (0, (3, 8), (1 << 40, 1)),
        (0, (3, 8), (-8, 1)),
        (0, "ab", (8, 1)),
        (0, (3, 8), ROWS.tolist()),
    ],
)
def test_a_tensor_that_reaches_out_of_its_storage(
    offset: int, shape: Any, stride: Any, tmp_path: Path
) -> None:
    storage = torch.storage.TypedStorage(
        wrap_storage=ROWS.untyped_storage(), dtype=ROWS.dtype, _internal=True
    )
    tensor = Calls(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, {})
    (tmp_path / "e.pkl").write_bytes(pickle.dumps((tensor, IDS)))
    with pytest.raises(InvalidInputError, match="lies outside of its storage"):
        read_published(tmp_path / "e.pkl")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b'{"id": "Q1"}\n',
        b"PK\x03\x04 no zip file",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",  # 2^63 bytes are said to follow
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19. and nothing",
    ],
)
def test_what_is_no_pickle(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "e.pkl").write_bytes(content)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_published(tmp_path / "e.pkl")


def test_a_truncated_pickle(tmp_path: Path) -> None:
    path = write_published(tmp_path / "e.pkl", ROWS, IDS)
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(InvalidInputError, match="cannot be read"):
            read_published(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No file"):
        read_published(tmp_path / "e.pkl")
