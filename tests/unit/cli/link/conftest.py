"""A tiny model that links, the index of its entities, and a folder to run in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onegen_model import OneGenModel
from onegen_model.cli import main
from tests.support.linking_model import entity_index, linking_model

Run = Callable[..., int]


@pytest.fixture(scope="session")
def model() -> OneGenModel:  # In place of the fake one of other commands.
    return linking_model()


@pytest.fixture(scope="session")
def saved_entities(model: OneGenModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("entities") / "entities"
    entity_index(model).save(folder)
    return folder


@pytest.fixture
def link(model: OneGenModel, saved_entities: Path) -> Run:
    """Runs `onegen link` with these entities, unless others are named."""

    def run(*argv: str, loads: Any = model) -> int:
        entities = [] if "--entities" in argv else ["--entities", str(saved_entities)]
        return main(["link", *argv, *entities], load_model=lambda name, dtype: loads)

    return run


@pytest.fixture
def error(link: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The line on stderr of a run that fails."""

    def fail(*argv: str, loads: Any = None) -> str:
        assert link(*argv, **({} if loads is None else {"loads": loads})) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.splitlines()[-1]

    return fail
