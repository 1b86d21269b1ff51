"""The folder of an evaluation: settings.json, traces.jsonl, rankings.jsonl."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.ranking import Ranking, ranking_from_dict, ranking_to_dict
from onegen_model.evaluation.ask.trace import Trace, trace_from_dict, trace_to_dict
from onegen_model.files import write_atomically
from onegen_model.jsonl import JsonLines, append_lines

SETTINGS = "settings.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything that traces and rankings depend on; one folder holds those of one RunSettings.

    `frame` is start and end of the answer frame, None where the prompt asks for none. `passages`
    is a digest of the pool. `note` says where things came from and may differ.
    """

    task: str
    pipeline: str
    fingerprint: str
    dtype: str
    retriever: str
    query: str
    pool: str
    passages: str
    frame: tuple[str, str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def differences(self, other: "RunSettings") -> list[str]:
        """`name here, not there` for each setting that differs."""
        pairs = {
            one.name: (getattr(self, one.name), getattr(other, one.name))
            for one in fields(self)
            if one.compare and one.name != "params"
        }
        names = sorted({*self.params, *other.params})
        pairs |= {name: (self.params.get(name), other.params.get(name)) for name in names}
        return [f"{name} {a!r}, not {b!r}" for name, (a, b) in pairs.items() if a != b]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form; the file calls the retriever "searcher", as its first release did."""
        plain = asdict(self)
        names = {"retriever": "searcher"}
        return {"format": _FORMAT} | {names.get(name, name): plain[name] for name in plain}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "RunSettings":
        """Inverse of `to_dict`; raises ValueError, KeyError or TypeError."""
        values = dict(plain)
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        values["retriever"] = values.pop("searcher")
        values["frame"] = values["frame"] and tuple(values["frame"])
        return cls(**values)


class JsonLog:
    """Objects of a .jsonl file that only grows; a last line without its end is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """`file:line` and object; raises InvalidInputError."""
        if not self.path.exists():
            return
        lines = JsonLines(self.path)
        whole = len(lines) - (not _ends_with_newline(self.path))
        for index in range(whole):
            place = lines.where(index)
            try:
                row = lines[index]
            except InvalidInputError as error:
                raise _damaged(place, error) from error
            yield place, row

    def drop_cut_line(self) -> None:
        """Remove a last line without its end, so that the next line does not join it."""
        if self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write all rows at once and sync them to disk."""
        with writing(self.path):
            append_lines(self.path, rows)


class RunFolder:
    """Traces and rankings of one evaluation: `create` it to add some, `open` it to read them."""

    def __init__(self, path: Path, settings: RunSettings) -> None:
        self.path = path
        self.settings = settings
        self._traces = JsonLog(path / "traces.jsonl")
        self._rankings = JsonLog(path / "rankings.jsonl")

    @classmethod
    def create(cls, path: Path, settings: RunSettings) -> "RunFolder":
        """A new run, or the same one to continue; raises InvalidInputError for another run."""
        if (path / SETTINGS).exists():
            found = cls.open(path)
            if others := found.settings.differences(settings):
                raise InvalidInputError(
                    f"{path} holds another run ({'; '.join(others)}); expected a new folder or the "
                    "same run; choose another --out"
                )
            with writing(path):
                found._traces.drop_cut_line()
                found._rankings.drop_cut_line()
            return found
        text = json.dumps(settings.to_dict(), indent=1, ensure_ascii=False) + "\n"
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / SETTINGS, text)
        return cls(path, settings)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run; raises InvalidInputError if there is none."""
        file = path / SETTINGS
        if not file.is_file():
            raise InvalidInputError(
                f"{path} holds no run; expected a folder with {SETTINGS}, as `onegen evaluate "
                "--out` writes it; check the path"
            )
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
            return cls(path, RunSettings.from_dict(plain))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{file} cannot be read ({type(error).__name__}: {error}); expected what `onegen "
                "evaluate` writes; choose another folder"
            ) from error

    def traces(self) -> dict[str, Trace]:
        """Traces by the question's id; raises InvalidInputError."""
        return {
            trace.question_id: trace
            for place, row in self._traces.read()
            for trace in [_parse(place, row, trace_from_dict)]
        }

    def rankings(self) -> list[Ranking]:
        """All rankings; raises InvalidInputError."""
        return [_parse(place, row, ranking_from_dict) for place, row in self._rankings.read()]

    def add_traces(self, traces: Iterable[Trace]) -> None:
        self._traces.append(map(trace_to_dict, traces))

    def add_rankings(self, rankings: Iterable[Ranking]) -> None:
        self._rankings.append(map(ranking_to_dict, rankings))


def find_runs(paths: Iterable[str | os.PathLike[str]]) -> dict[str, RunFolder]:
    """Runs by name; a path is a run's folder, its traces file, or a folder of runs."""
    folders: list[Path] = []
    for path in map(Path, paths):
        here = path.parent if path.is_file() else path
        inside = sorted(file.parent for file in here.glob(f"*/{SETTINGS}"))
        folders += [here] if (here / SETTINGS).exists() or not inside else inside
    runs = {folder.resolve(): RunFolder.open(folder) for folder in folders}
    names = [folder.name for folder in runs]
    return {
        folder.name if names.count(folder.name) == 1 else str(run.path): run
        for folder, run in runs.items()
    }


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        if not file.tell():
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _parse(place: str, row: Mapping[str, Any], parse: Any) -> Any:
    try:
        return parse(row)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(place, error) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into an InvalidInputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be written ({error}); expected a writable folder with free space; "
            "free some, or choose another folder"
        ) from error


def _damaged(place: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{place} cannot be read ({type(error).__name__}: {error}); expected what `onegen "
        "evaluate` writes; remove the line and run the same command to ask that question again"
    )
