"""Files that are replaced as a whole, and folders that are held by one writer."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from onegen_model.files import (
    LOCK,
    hold_folder,
    is_staged,
    remove_stale,
    replacing,
    require_writable,
    sha256_of,
    write_atomically,
)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for content in ("grüße", b"\xff", memoryview(b"view")):
        write_atomically(file, content)
        expected = content.encode() if isinstance(content, str) else bytes(content)
        assert file.read_bytes() == expected
        assert sha256_of(file) == hashlib.sha256(expected).hexdigest()
    assert names(tmp_path) == ["a.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, "old")

    def fail() -> None:
        with replacing(file) as new:
            new.write(b"half")
            assert any(map(is_staged, names(tmp_path)))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.json"]
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
        write_atomically(file / "b.json", "below a file")


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    old, young = (tmp_path / f".{digit * 32}.staged" for digit in "ab")
    foreign = tmp_path / ".notes.staged"
    for file in (old, young, foreign):
        file.write_text("half")
    for file in (old, foreign):
        os.utime(file, (time.time() - 7200,) * 2)
    remove_stale(tmp_path)
    assert names(tmp_path) == sorted([young.name, foreign.name])


def test_a_folder_that_cannot_be_written_is_reported_at_once(tmp_path: Path) -> None:
    require_writable(tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(OSError):  # noqa: PT011
        require_writable(tmp_path / "missing")


def test_another_thread_cannot_take_a_folder_that_is_held(tmp_path: Path) -> None:
    found: list[str] = []

    def take() -> None:
        try:
            with hold_folder(tmp_path / "f"):
                found.append("taken")
        except TimeoutError:
            found.append("held")

    with hold_folder(tmp_path / "f"), hold_folder(tmp_path / "f"):
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        (tmp_path / "f" / "a.txt").write_text("something")
    take()
    assert found == ["held", "taken"]


def test_another_process_waits_for_a_folder_until_its_holder_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from onegen_model.files import hold_folder\n"
        "with hold_folder(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError), hold_folder(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with hold_folder(tmp_path):
        pass


def test_a_folder_that_was_made_to_be_held_and_stays_empty_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_folder(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with hold_folder(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir()


def test_nobody_takes_the_lock_of_a_folder_that_is_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    unlink = Path.unlink

    def take(wait: float) -> None:
        try:
            with hold_folder(tmp_path / "new", wait=wait):
                (tmp_path / "new" / "a.txt").write_text("something")
                found.append("taken")
        except TimeoutError:
            found.append("held")

    def in_thread(wait: float) -> threading.Thread:
        thread = threading.Thread(target=take, args=(wait,))
        thread.start()
        return thread

    def take_and_unlink(path: Path, missing_ok: bool = False) -> None:
        in_thread(0.0).join()
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", take_and_unlink)
    with hold_folder(tmp_path / "new"):
        waiting = in_thread(60.0)
    waiting.join()
    assert found == ["held", "taken"]
    assert (tmp_path / "new" / "a.txt").is_file()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_all_users_of_a_shared_folder_may_take_its_lock(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with hold_folder(tmp_path):
        pass
    assert (tmp_path / LOCK).stat().st_mode & 0o777 == mode & 0o666
