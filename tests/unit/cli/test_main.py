"""What all subcommands share: help and version, bad paths, and imports that are not needed."""

import json
import logging
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from onegen_model.cli import main
from onegen_model.cli.parser import parse_arguments
from onegen_model.cli.printable import PrintableFormatter
from tests.support.fake_model import ROOT, FakeModel, fails, run

COMMANDS = (
    *("index", "embed", "ask", "chat", "demo", "train", "data", "mine", "evaluate", "link"),
    "serve",
)
HEAVY = (
    *("torch", "transformers", "sentence_transformers", "peft", "numpy", "faiss"),
    *("semantic_text_splitter", "llguidance", "pydantic"),
)
SCRIPT = f"""
import json, sys
from onegen_model.cli import main
try:
    main(json.loads(sys.argv[1]))
except SystemExit as end:
    loaded = [name for name in {HEAVY} if name in sys.modules]
    print(json.dumps([end.code, loaded]))
"""


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["nonsense"], 2),
        *(([command, "--help"], 0) for command in COMMANDS),
        (["data", "check", "--help"], 0),
        (["ask"], 2),
        (["evaluate"], 2),
        (["aks"], 2),
        (["--verison"], 2),
        (["ask", "q", "--topk", "2"], 2),
    ],
    ids=str,
)
def test_help_version_and_wrong_usage_do_not_wait_for_torch(argv: list[str], status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(argv)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [status, []]


@pytest.mark.parametrize(
    "argv",
    [
        ["ask", " "],
        ["ask", "q"],
        ["ask", "q", "--index", "absent"],
        ["ask", "q", "--index", "absent", "--threads", "1"],
        ["ask", "q", "--index", "absent", "--top-k", "0"],
        ["ask", "q", "--retrieval", "never", "--device", "gpu"],
        ["chat", "--index", "absent"],
        ["chat", "--retrieval", "never", "--resume", "absent"],
        ["mine", "absent.jsonl", "--out", "new"],
        ["link", "q", "--entities", "absent"],
        ["link", "q", "--entities", "absent", "--candidates", "0"],
    ],
    ids=" ".join,
)
def test_an_error_that_needs_no_model_does_not_wait_for_torch(
    argv: list[str], tmp_path: Path
) -> None:
    script = SCRIPT.replace("    main(", "    raise SystemExit(main(").replace("]))\n", "])))\n", 1)
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(argv)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [2, []]
    assert done.stderr.startswith("onegen: error: ")
    assert time.perf_counter() - begun < 5  # torch alone takes 1 to 2 s on an idle machine


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["aks", "q"], "unknown command aks; did you mean ask?"),
        (["xyzzy"], "unknown command xyzzy; `onegen --help` lists the commands"),
        (["--verison"], "unrecognized arguments: --verison; did you mean --version?"),
        (["ask", "q", "--topk=2"], "unrecognized arguments: --topk=2; did you mean --top-k?"),
        (["index", "d", "--out", "o", "--baatch", "2"], "did you mean --batch?"),
        (["link", "t", "--entitis", "d"], "are required: --entities; did you mean --entities?"),
        (["link", "t", "--entitis=d"], "are required: --entities; did you mean --entities?"),
        (["embed", "d", "--dtype", "float16"], "are required: --out\n"),
        (["ask", "q", "--xyzzy"], "unrecognized arguments: --xyzzy\n"),
        ([], "the following arguments are required: COMMAND"),
    ],
    ids=str,
)
def test_wrong_names_are_answered_with_the_nearest(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert said in capsys.readouterr().err


# One line for each subcommand with all of its paths.
PATHS = {
    "index": "index ~/p --out=~/x --model=~/x",
    "embed": "embed ~/p --out=~/x --model=~/x",
    "ask": "ask ~/question --index=~/x --model=~/x",
    "chat": "chat --index=~/x --resume=~/x --model=~/x",
    "demo": "demo --model=~/x",
    "train": "train ~/x",
    "data": "data check ~/x --passages=~/x --model=~/x",
    "mine": "mine ~/x --out=~/x --passages=~/x --with=~/x --vectors=~/x",
    "evaluate": "evaluate --questions=~/x --out=~/x --score ~/x --train ~/x --corpus=~/x "
    "--index=~/x --encoder=~/x --model=~/x --entities=~/x --entity-file=~/x --encoder-index=~/x",
    "link": "link text --entities=~/x --out=~/x --model=~/x",
    "serve": "serve --index=~/x --entities=~/x --model=~/x --storage=~/x --api-keys=~/x",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_home_folder_is_found_in_every_path(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    options = vars(parse_arguments(PATHS[command].split()))
    assert options.pop("question", "~/question") == "~/question"
    assert "~" not in str(options)
    assert "/home/ada" in str(options)


def test_threads_are_set_wherever_torch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seen = []
    monkeypatch.setattr("torch.set_num_threads", seen.append)
    assert run(FakeModel(), "ask", "q", "--retrieval", "never", "--threads", "3") == 0
    assert seen == [3]
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"onegen {version('onegen')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_subcommand_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert f"\n    {command} " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: onegen {command}")
    assert len(shown.split("\n\n")[1]) > 20  # the description


@pytest.mark.parametrize(
    "argv",
    [
        ["index", "absent", "--out", "new"],
        ["embed", "absent", "--out", "new"],
        ["ask", "Who?", "--index", "absent"],
        ["chat", "--index", "docs"],
        ["train", "absent.yaml"],
        ["train", "docs"],
        ["data", "check", "absent.jsonl"],
        ["data", "check", "docs"],
        ["mine", "absent.jsonl", "--out", "mined.jsonl"],
        ["mine", "docs", "--out", "mined.jsonl"],
        [
            "evaluate",
            "--questions",
            "docs",
            "--task",
            "retrieval",
            "--out",
            "o",
            "--corpus",
            "docs",
        ],
        ["evaluate", "--questions", "absent", "--score", "docs"],
    ],
    ids=" ".join,
)
def test_a_bad_path_is_one_line_and_no_traceback(
    argv: list[str], model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, model, *argv)
    assert line.startswith("onegen: error: ")
    assert len(line.split("; ")) >= 3
    assert model.loaded == ()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(13, "Permission denied", "secret"),
            "secret cannot be used (Permission denied); expected permission for it; change",
        ),
        (
            NotADirectoryError(20, "Not a directory", "file/x"),
            "file/x cannot be used (Not a directory); expected an existing file or folder",
        ),
        (
            OSError(28, "No space left on device", b"out"),
            "out cannot be used (No space left on device); expected a path that",
        ),
        (OSError("odd"), "The system reports: odd; expected no such error"),
    ],
)
def test_an_error_of_the_file_system_is_one_line(
    error: OSError, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_path: str | None, _dtype: str) -> Any:
        raise error

    assert main(["demo"], load) == 2
    assert capsys.readouterr().err.startswith(f"onegen: error: {said}")
    with pytest.raises(type(error)):
        main(["demo", "--debug"], load)


def test_a_bug_keeps_its_traceback() -> None:
    def load(_path: str | None, _dtype: str) -> Any:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        main(["demo"], load)


def test_a_wrong_index_is_reported_before_the_model_is_loaded(
    model: FakeModel, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("absent", "docs"):
        fails(capsys, model, "ask", "Who?", "--index", path)
        assert model.loaded == ()


def test_ctrl_c_while_a_model_is_loaded_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def load(_path: str | None, _dtype: str) -> Any:
        raise KeyboardInterrupt

    assert main(["demo"], load) == 130
    assert capsys.readouterr().err == "onegen: stopped\n"
    assert run(FakeModel(), "ask", "q", "--retrieval", "never") == 0


def test_an_unknown_option_shows_the_usage_of_its_subcommand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["ask", "Who?", "--k", "2"])
    shown = capsys.readouterr().err
    assert shown.startswith("usage: onegen ask ")
    assert "--top-k" in shown
    assert "unrecognized arguments: --k 2" in shown


@pytest.mark.parametrize("command", ["ask -", "chat"])
def test_a_closed_input_is_an_empty_one(command: str, here: Path) -> None:
    line = f"{sys.executable} -m onegen_model.cli {command} --index absent <&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, shell=True, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("onegen: error: ")
    assert done.stderr.count("\n") == 1


def test_control_characters_never_reach_the_terminal(
    model: FakeModel, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, model, "ask", "q", "--index", "a\x1b]0;title\x07b\x9bm")
    assert "a]0;titlebm" in line
    assert not set(line) & set("\x1b\x07\x9b")
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "%s is cut", ("a\x1b[2Jb",), None)
    assert PrintableFormatter("onegen: %(message)s").format(record) == "onegen: a[2Jb is cut"
