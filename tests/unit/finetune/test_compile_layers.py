"""`compile_layers`: the same run in compiled code, or one error where nothing can be compiled."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from onegen_model.cli import main
from onegen_model.errors import InvalidInputError
from onegen_model.finetune.run.training import run
from tests.support.finetuning import losses_of, write_recipe


@pytest.fixture(autouse=True)
def nothing_compiled_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "code"))
    # Without optimisation the compiler takes half the time; the code computes the same.
    with torch._inductor.config.patch({"aot_inductor.debug_compile": True}):
        torch.compiler.reset()
        yield


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_layers_learn_what_layers_learn(base: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"method": "full", "trainer": {"max_steps": 3}}
    expected = losses_of(run(write_recipe(tmp_path / "plain", base, **changes)))
    changes["compile_layers"] = True
    found = losses_of(run(write_recipe(tmp_path / "compiled", base, **changes)))
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-3)
    assert len(list((tmp_path / "code").rglob("*.main.so"))) > 1  # The first one is a try.


def test_with_deepspeed_nothing_is_compiled(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"compile_layers is true with trainer\.deepspeed"):
        write_recipe(tmp_path, base, compile_layers=True, trainer={"deepspeed": "zero3.json"})


def test_a_machine_without_a_compiler_is_one_error_before_the_first_step(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    write_recipe(tmp_path, base, compile_layers=True)
    assert main(["train", str(tmp_path / "recipe.yaml")]) == 2
    error = capsys.readouterr().err
    assert "torch cannot compile for cpu here" in error
    assert "leave out compile_layers" in error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").glob("checkpoint-*"))
