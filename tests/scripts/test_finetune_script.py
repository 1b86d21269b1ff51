"""What `training/finetune.py` may be reported, by hand or by a launcher."""

import runpy
import sys
from pathlib import Path

import pytest

from onegen_model.finetune.run import training as run_module
from onegen_model.finetune.run.recipe import Recipe
from tests.conftest import MakeNetwork
from tests.support.finetuning import make_base, write_recipe

SCRIPT = Path(__file__).parents[2] / "training" / "finetune.py"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_network: MakeNetwork) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "base", make_network)


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        (["{recipe}"], None),
        (["--config", "{recipe}"], None),
        (["--local_rank=1", "--config", "{recipe}"], None),
        (["--local-rank", "0", "{recipe}", "--max-steps", "3"], 3),
    ],
)
def test_the_recipe_may_be_named_either_way_and_a_launcher_may_add_the_rank(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    steps: int | None,
) -> None:
    recipe = write_recipe(tmp_path, base)
    asked: list[tuple[Recipe, int | None]] = []
    monkeypatch.setattr(run_module, "run", lambda *given: asked.append(given))
    file = str(tmp_path / "recipe.yaml")
    monkeypatch.setattr(sys, "argv", ["finetune.py", *(a.format(recipe=file) for a in arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert asked == [(recipe, steps)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one recipe; give its path, or --config PATH"),
        (["a.yaml", "--config", "b.yaml"], "expected one recipe"),
        (["a.yaml", "--max-steps", "0"], "--max-steps is 0; expected at least 1"),
        (["--local_rank", "first", "a.yaml"], "invalid int value: 'first'"),
    ],
)
def test_arguments_that_name_no_run_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["finetune.py", *arguments])
    with pytest.raises(SystemExit):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert message in capsys.readouterr().err


def test_a_missing_recipe_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["finetune.py", "--config", "nowhere.yaml"])
    with pytest.raises(SystemExit, match=r"^error: No recipe nowhere.yaml; expected a YAML file"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
