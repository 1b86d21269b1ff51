"""Tiny bases to train on, made once, and what keeps a run of a tiny model short."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from onegen_model.finetune.run import training
from tests.conftest import MakeNetwork
from tests.support.finetuning import make_base


@pytest.fixture(scope="session", autouse=True)
def _short_collections() -> Iterator[None]:
    """The Trainer collects garbage at each start: not among the modules that are loaded by then."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes as long as six steps; `test_run_end.py` draws."""
    monkeypatch.setattr(training, "draw_run", lambda *_: True)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory, make_network: MakeNetwork) -> dict[bool, Path]:
    """Bases without control tokens, by whether the output head is tied to the input embeddings."""
    folder = tmp_path_factory.mktemp("bases")
    return {
        tied: make_base(folder / f"tied-{tied}", make_network, tied=tied) for tied in (True, False)
    }


@pytest.fixture(scope="session")
def base(bases: dict[bool, Path]) -> Path:
    """The untied one. Tests read it and never write into it."""
    return bases[False]
