"""One folder and two processes: nothing that one of them saved is dropped by the other."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from onegen_model import PassageIndex, grow_index
from onegen_model.errors import PassageIndexError
from tests.support.fake_embedder import FakeEmbedder
from tests.support.fake_model import ROOT, FakeModel, fails
from tests.support.indexes import passages


def in_another_process(script: str, *argv: object, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, argv)],
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_save_never_drops_what_another_process_saved(tmp_path: Path) -> None:
    path = tmp_path / "my.index"
    PassageIndex.build(FakeEmbedder(), passages(10)).save(path)
    ours = PassageIndex.load(FakeEmbedder(), path)
    ours.add(passages(5, start=100))
    script = """
        import sys
        from onegen_model import PassageIndex
        from tests.support.fake_embedder import FakeEmbedder
        from tests.support.indexes import passages
        index = PassageIndex.load(FakeEmbedder(), sys.argv[1])
        index.add(passages(20, start=200))
        index.save(sys.argv[1])
    """
    other = in_another_process(script, path)
    other.communicate()
    assert other.returncode == 0
    with pytest.raises(
        PassageIndexError,
        match=r"was changed by another process since it was loaded; expected it unchanged.*load it "
        r"again and repeat the change, or save to another folder",
    ):
        ours.save(path)
    assert len(PassageIndex.load(FakeEmbedder(), path)) == 30
    ours.save(tmp_path / "other.index")
    merged = PassageIndex.load(FakeEmbedder(), path)
    merged.add(ours.passages)
    merged.save(path)
    assert len(PassageIndex.load(FakeEmbedder(), path)) == 35


def test_an_index_that_was_saved_before_is_not_replaced_by_its_own_past(tmp_path: Path) -> None:
    path = tmp_path / "my.index"
    one, other = (PassageIndex.build(FakeEmbedder(), passages(n)) for n in (3, 4))
    one.save(path)
    one.save(path)
    other.save(path)  # It never knew the folder: this replaces it as a whole.
    with pytest.raises(PassageIndexError, match="was changed by another process"):
        one.save(path)
    assert len(PassageIndex.load(FakeEmbedder(), path)) == 4


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, count in (("one", 40), ("two", 30)):
        (tmp_path / name).mkdir()
        for n in range(count):
            (tmp_path / name / f"{n}.txt").write_text(f"{name} {n}")
    return tmp_path


def test_two_onegen_index_into_one_folder_are_not_both_a_success(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = """
        import sys
        from onegen_model.cli import main
        from tests.support.fake_model import FakeModel
        model = FakeModel()
        def wait():
            if not model.embedded:
                print("embedding", flush=True)
                sys.stdin.readline()
        model.on_embed = wait
        sys.exit(main(["index", "one", "--out", "my.index"], load_model=model.load))
    """
    first = in_another_process(script, cwd=here)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "embedding\n"
        model = FakeModel()
        line = fails(capsys, model, "index", "two", "--out", "my.index")
        assert "Another process is writing to my.index; expected one writer at a time" in line
        assert model.loaded == (), "known before the model is loaded"
        with pytest.raises(PassageIndexError, match="Another process is writing"):
            PassageIndex(model).save("my.index")
        out, _ = first.communicate("go\n")
    finally:
        first.kill()
        first.wait()
    assert first.returncode == 0
    assert "my.index: 40 passages (40 embedded now" in out
    assert len(PassageIndex.load(model, "my.index")) == 40
    assert grow_index(model, ["two"], "my.index").passages == 70


def test_a_reader_is_not_kept_out_by_a_writer(here: Path) -> None:
    model = FakeModel()
    sizes: list[int] = []
    grow_index(model, ["one"], "my.index")
    model.on_embed = lambda: sizes.append(len(PassageIndex.load(FakeModel(), "my.index")))
    grow_index(model, ["two"], "my.index")
    assert sizes == [40]
    assert len(PassageIndex.load(model, "my.index")) == 70
