"""The checkpoints that belong to the package."""

from pathlib import Path

import pytest

from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.shipped import SHIPPED, shipped


def test_names_are_folders_of_the_package_and_one_of_them_links() -> None:
    read = {name: CheckpointConfig.read(folder) for name, folder in SHIPPED.items()}
    links = {name: config.template.linking is not None for name, config in read.items()}
    assert links == {"default": False, "entity-linking": True}
    assert shipped("entity-linking") == SHIPPED["entity-linking"]
    assert shipped("a model") is None


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "entity-linking").mkdir()
    assert shipped("entity-linking") is None
    assert shipped("default") == SHIPPED["default"]
