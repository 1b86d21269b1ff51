"""Disks that fill up, and folders that are removed twice."""

import errno
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest

from onegen_integrations.server.errors import StorageError
from onegen_integrations.server.stores.folder import drop
from onegen_integrations.server.stores.library import Library
from onegen_model import OneGenModel, Passage, PassageIndex
from onegen_model.errors import PassageIndexError


def test_an_index_without_room_is_an_error_of_storage_without_a_path(
    model: OneGenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Library(tmp_path, model)) as library:
        store = library.create("Towns", "", {}, {})
        store_id, file_id = store.id, "file-" + "0" * 32
        store.index.add([Passage(f"{store_id}/{file_id}#0", "Alba was founded by Ann.")])

        def fail(self: PassageIndex, path: Any) -> NoReturn:
            full = OSError(errno.ENOSPC, "No space left on device")
            raise PassageIndexError(f"The index cannot be written to {path}") from full

        monkeypatch.setattr(PassageIndex, "save", fail)
        with pytest.raises(StorageError, match="No space left") as caught:
            store.forget(file_id)
    assert caught.value.status == 507
    assert str(tmp_path) not in str(caught.value)


def test_two_requests_remove_a_folder_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "file-1"
    folder.mkdir()
    (folder / "file.json").write_text("{}")
    drop(folder, "file.json")
    assert not folder.exists()
    drop(folder, "file.json")
