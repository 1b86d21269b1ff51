"""One file that cannot be converted fails alone, with its reason, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from onegen_model import FailedFile, ReadingOptions, UnreadableFilesError, read_documents
from onegen_model.documents import converter as converters
from onegen_model.documents.converter import Converter
from onegen_model.documents.reading import FileReader
from tests.support import office_files


def write_zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("word/document.xml", b" " * 30_000_000)


def write_ole(path: Path) -> None:
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000))


def write_noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def write_half(path: Path) -> None:
    office_files.write_docx(path)
    path.write_bytes(path.read_bytes()[:-900])


def write_deep_html(path: Path) -> None:
    path.write_text("<html><body>" + "<div>" * 3_000 + "deep" + "</div>" * 3_000)


BAD: list[tuple[str, Callable[[Path], None], str]] = [
    ("locked.pdf", lambda path: office_files.write_pdf(path, password="x"), "it is encrypted"),
    ("pictures.pdf", office_files.write_picture_pdf, "it holds no text, only pictures"),
    ("noise.pdf", write_noise, "it is damaged"),
    ("bomb.docx", write_zip_bomb, "30000000 bytes when it is unpacked; at most 1000000"),
    ("locked.xlsx", write_ole, "it is encrypted, or of an older format"),
    ("noise.pptx", write_noise, "it is damaged"),
    ("half.docx", write_half, "it is damaged"),
    ("noise.epub", write_noise, "it is damaged"),
    ("bad.ipynb", lambda path: path.write_text("{") and None, "it is damaged"),
]


def test_each_bad_file_fails_alone(here: Path) -> None:
    for name, write, _ in BAD:
        write(here / name)
    office_files.write_xlsx(here / "zz.xlsx")
    failures: list[FailedFile] = []
    options = ReadingOptions(max_file_bytes=1_000_000)
    read = list(read_documents(["."], options=options, on_failure=failures.append))
    assert [doc.title for doc in read] == ["zz"]
    reasons = {failure.path.name: failure.reason for failure in failures}
    assert sorted(reasons) == sorted(name for name, _, _ in BAD)
    for name, _, reason in BAD:
        assert reason in reasons[name]
        assert "\n" not in reasons[name]


def test_a_page_nested_without_end_is_read_or_fails_alone(here: Path) -> None:
    write_deep_html(here / "deep.html")
    office_files.write_docx(here / "z.docx")
    failures: list[FailedFile] = []
    read = list(read_documents(["."], on_failure=failures.append))
    assert read[-1].title == "Lease"
    assert len(read) + len(failures) == 2


def code_with(deeds: dict[str, str]) -> str:
    """A converter process that does something else first with files of some names."""
    return converters._CODE.replace(
        "main()\n",
        "import os, time\n"
        "from onegen_model.documents import conversion\n"
        "real = conversion.convert\n"
        "def convert(request):\n"
        f"    deeds = {deeds!r}\n"
        "    exec(deeds.get(os.path.basename(request['path']), ''))\n"
        "    return real(request)\n"
        "conversion.convert = convert\n"
        "main()\n",
    )


def test_a_crash_or_a_hang_fails_that_file_alone(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deeds = {
        "crash.html": "os.kill(os.getpid(), 11)",
        "end.html": "os._exit(3)",
        "hang.html": "time.sleep(600)",
        "large.html": "bytearray(5 << 30)",
        "noise.html": "print('noise', flush=True); os.write(1, b'noise')",
    }
    monkeypatch.setattr(converters, "_CODE", code_with(deeds))
    names = ("a.html", *deeds, "z.html")
    for name in names:
        (here / name).write_text(f"<p>{name}</p>")
    failures: list[FailedFile] = []
    options = ReadingOptions(convert_seconds=5)
    read = [doc.text for doc in read_documents(["."], options=options, on_failure=failures.append)]
    assert read == ["a.html", "noise.html", "z.html"]
    assert {failure.path.name: failure.reason for failure in failures} == {
        "crash.html": "its conversion gave no result (signal 11)",
        "end.html": "its conversion gave no result (status 3)",
        "hang.html": "its conversion gave no result in 5 s",
        "large.html": "its conversion needs too much memory",
    }


def test_one_process_converts_many_files_and_ends(here: Path) -> None:
    for number in range(5):
        (here / f"{number}.html").write_text(f"<p>{number}</p>")
    with FileReader() as reader:
        seen = set()
        for number in range(5):
            path = here / f"{number}.html"
            assert [doc.text for doc in reader.read(path, path.name)] == [str(number)]
            process = reader._converter._process
            assert process is not None
            seen.add(process.pid)
        assert len(seen) == 1
    assert process.poll() is not None
    unfinished = read_documents(["."])
    next(unfinished)
    unfinished.close()  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_killed_reader_leaves_no_process_behind(here: Path) -> None:
    (here / "bad.html").write_text("<p>x</p>")
    code = (
        "import sys, pathlib\n"
        "from onegen_model.documents import converter\n"
        "converter._CODE = sys.argv[1]\n"
        "start = converter._start\n"
        "def spy():\n"
        "    process = start()\n"
        "    print(process.pid, flush=True)\n"
        "    return process\n"
        "converter._start = spy\n"
        "from onegen_model import ReadingOptions\n"
        "converter.Converter(ReadingOptions()).convert(pathlib.Path('bad.html'))\n"
    )
    arguments = [sys.executable, "-c", code, code_with({"bad.html": "time.sleep(600)"})]
    environment = {**os.environ, "PYTHONPATH": converters._ROOT}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(1.0)
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not is_alive(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the converter outlived its parent")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_reads_from_a_script_on_standard_input_and_runs_nothing_of_the_folder(here: Path) -> None:
    office_files.write_docx(here / "a.docx")
    for name in ("json", "markitdown", "zipfile", "mammoth"):
        (here / f"{name}.py").write_text("open('was_run', 'w').close()\nraise SystemExit(9)\n")
    code = (
        "import sys\n"
        "from onegen_model import read_documents\n"
        "print([doc.title for doc in read_documents(['a.docx'])])\n"
        "print('torch' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": converters._ROOT}
    done = subprocess.run(
        [sys.executable, "-P", "-"],
        input=code,
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout == "['Lease']\nFalse\n"
    assert not (here / "was_run").exists()


def test_a_missing_converter_names_the_extra(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converters, "find_spec", lambda name: None)
    office_files.write_docx(here / "a.docx")
    (here / "b.txt").write_text("text")
    read = []
    with pytest.raises(UnreadableFilesError, match=r'pip install "onegen\[documents\]"'):
        read.extend(read_documents(["."]))
    assert len(read) == 1


def test_the_converter_process_starts_without_torch() -> None:
    code = (
        "import sys\nfrom onegen_model.documents import converter_process, conversion\n"
        "print('torch' in sys.modules, 'markitdown' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": converters._ROOT}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "False False\n"


def test_closing_twice_is_fine() -> None:
    converter = Converter(ReadingOptions())
    converter.close()
    converter.close()
