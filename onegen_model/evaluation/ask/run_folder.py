"""A run on disk: settings.json, traces.jsonl, rankings.jsonl. It grows, and is read again."""

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

SETTINGS = "settings.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """All that traces and rankings depend on; a folder holds those of one `Settings`.

    `frame` is the answer's start and end; None where the model was told of none. `passages` is a
    digest of all that could be found. `note` may differ: where things came from, for people.
    """

    task: str
    pipeline: str
    fingerprint: str
    dtype: str
    searcher: str
    query: str
    pool: str
    passages: str
    frame: tuple[str, str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def differences(self, other: "Settings") -> list[str]:
        """`name here, there` for whatever is not the same."""
        pairs = {
            one.name: (getattr(self, one.name), getattr(other, one.name))
            for one in fields(self)
            if one.compare and one.name != "params"
        }
        names = sorted({*self.params, *other.params})
        pairs |= {name: (self.params.get(name), other.params.get(name)) for name in names}
        return [f"{name} {a!r}, not {b!r}" for name, (a, b) in pairs.items() if a != b]


class JsonLog:
    """Objects of a .jsonl file that only grows. A last line that a kill cut off does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """`file:line` and object; raises InvalidInputError."""
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            place = f"{self.path}:{number}"
            try:
                yield place, dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise _damaged(place, error) from error

    def mend(self) -> None:
        """Drop a line that was cut off, so that the next one does not join it."""
        if self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """All rows in one piece, flushed to disk."""
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with writing(self.path), self.path.open("ab") as file:
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


class RunFolder:
    """Traces and rankings of one run: `create` one to go on with, `open` one to look at it."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = settings
        self._traces = JsonLog(path / "traces.jsonl")
        self._rankings = JsonLog(path / "rankings.jsonl")

    @classmethod
    def create(cls, path: Path, settings: Settings) -> "RunFolder":
        """A new run, or the same one to go on with; raises InvalidInputError for another one."""
        if (path / SETTINGS).exists():
            found = cls.open(path)
            if others := found.settings.differences(settings):
                raise InvalidInputError(
                    f"{path} holds another run ({'; '.join(others)}); expected a new folder or the "
                    "same run; choose another --out"
                )
            with writing(path):
                found._traces.mend()
                found._rankings.mend()
            return found
        plain = {"format": _FORMAT, **asdict(settings)}
        text = json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
        staged = path / f"{SETTINGS}.new"  # A kill leaves whole settings, or none.
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            staged.write_text(text, encoding="utf-8")
            os.replace(staged, path / SETTINGS)
        return cls(path, settings)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Raises InvalidInputError where there is no run."""
        file = path / SETTINGS
        if not file.is_file():
            raise InvalidInputError(
                f"{path} holds no run; expected a folder with {SETTINGS}, as `onegen evaluate "
                "--out` writes it; check the path"
            )
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
            if plain.pop("format") != _FORMAT:
                raise ValueError("another format")
            plain["frame"] = plain["frame"] and tuple(plain["frame"])
            return cls(path, Settings(**plain))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{file} cannot be read ({type(error).__name__}: {error}); expected what `onegen "
                "evaluate` writes; choose another folder"
            ) from error

    def traces(self) -> dict[str, Trace]:
        """By question; raises InvalidInputError."""
        return {
            trace.question_id: trace
            for place, row in self._traces.read()
            for trace in [_parse(place, row, trace_from_dict)]
        }

    def rankings(self) -> list[Ranking]:
        """All of them; raises InvalidInputError."""
        return [_parse(place, row, ranking_from_dict) for place, row in self._rankings.read()]

    def add_traces(self, traces: Iterable[Trace]) -> None:
        self._traces.append(map(trace_to_dict, traces))

    def add_rankings(self, rankings: Iterable[Ranking]) -> None:
        self._rankings.append(map(ranking_to_dict, rankings))


def find_runs(paths: Iterable[Path]) -> dict[str, RunFolder]:
    """Runs by name: folders with a run, their traces file, or a folder of such folders."""
    folders: list[Path] = []
    for path in paths:
        here = path.parent if path.is_file() else path
        inside = sorted(file.parent for file in here.glob(f"*/{SETTINGS}"))
        folders += [here] if (here / SETTINGS).exists() or not inside else inside
    runs = {folder.resolve(): RunFolder.open(folder) for folder in folders}
    names = [folder.name for folder in runs]
    return {
        folder.name if names.count(folder.name) == 1 else str(run.path): run
        for folder, run in runs.items()
    }


def _parse(place: str, row: Mapping[str, Any], parse: Any) -> Any:
    try:
        return parse(row)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(place, error) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises InvalidInputError where the system does not let us write."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be written ({error}); expected a writable folder with room; make room, "
            "or choose another one"
        ) from error


def _damaged(place: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{place} cannot be read ({type(error).__name__}: {error}); expected what `onegen "
        "evaluate` writes; remove the line, and the same command asks that question again"
    )
