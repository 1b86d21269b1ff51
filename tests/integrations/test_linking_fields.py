"""The fields of components that link: shared entities, copies, dictionaries, pickles."""

import copy
import gc
import pickle
import weakref
from pathlib import Path

import pytest

from onegen_integrations.shared import SharedModel, shared_model
from onegen_integrations.shared.entities import SharedEntities
from onegen_integrations.shared.linking_fields import LinkingFields
from onegen_model import LinkingParams, OneGenModel, PassageIndex
from onegen_model.errors import InvalidInputError, PassageIndexError
from tests.support.linked_nodes import save_linking_model
from tests.support.linking_model import ENTITIES


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_linking_model(tmp_path_factory.mktemp("linking"))


@pytest.fixture
def linker(folders: tuple[Path, Path]) -> OneGenModel:
    return shared_model(folders[0])


def test_all_forms_of_a_component_read_a_folder_once(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    original = PassageIndex.load.__func__  # type: ignore[attr-defined]

    def load(cls: type[PassageIndex], *arguments: object) -> PassageIndex:
        loads.append(arguments)
        index: PassageIndex = original(cls, *arguments)
        return index

    monkeypatch.setattr(PassageIndex, "load", classmethod(load))
    one = LinkingFields(model=folders[0], entities=folders[1], linking={"num_candidates": 2})
    assert loads == [], "nothing is read before it is needed"
    made = [
        one,
        copy.deepcopy(one),
        one.model_copy(deep=True),
        pickle.loads(pickle.dumps(one)),
        LinkingFields.model_validate(one.model_dump()),
        LinkingFields.model_validate_json(one.model_dump_json()),
        LinkingFields(model=str(folders[0]), entities=str(folders[1])),
    ]
    opened = [each.open_entities() for each in made]
    assert len({id(index) for index in opened}) == 1
    assert len(loads) == 1
    assert all(each.linking == LinkingParams(num_candidates=2) for each in made[:-1])
    assert one.model_dump()["entities"] == str(folders[1])
    assert one.model_dump()["linking"]["num_candidates"] == 2


def test_a_folder_that_has_changed_is_read_again(
    folders: tuple[Path, Path], linker: OneGenModel, tmp_path: Path
) -> None:
    PassageIndex.build(linker, ENTITIES[:2]).save(tmp_path / "few")
    before = LinkingFields(model=folders[0], entities=tmp_path / "few")
    assert len(before.open_entities()) == 2
    changed = PassageIndex.load(linker, tmp_path / "few")
    changed.add(ENTITIES[:3])
    changed.save(tmp_path / "few")
    after = LinkingFields(model=folders[0], entities=tmp_path / "few")
    assert len(after.open_entities()) == 3
    assert len(before.open_entities()) == 2


def test_unload_frees_model_and_entities(folders: tuple[Path, Path]) -> None:
    one = LinkingFields(model=folders[0], entities=folders[1])
    held = weakref.ref(one.open_entities())
    one.unload()
    gc.collect()
    assert held() is None
    assert len(one.open_entities()) == len(ENTITIES)
    assert one.shared.model.can_link


def test_entities_in_memory_are_labelled_by_their_content(linker: OneGenModel) -> None:
    index, same, fewer = (
        PassageIndex.build(linker, entities) for entities in (ENTITIES, ENTITIES, ENTITIES[:3])
    )
    labels = [SharedEntities(one).label for one in (index, same, fewer)]
    assert labels[0] == labels[1] != labels[2]
    foreign = [SharedEntities(object()) for _ in range(2)]
    assert foreign[0].label != foreign[1].label
    assert foreign[0].label == copy.deepcopy(foreign[0]).label
    plain = LinkingFields(model=linker, entities=index).model_dump()
    with pytest.raises(ValueError, match="placeholder of entities that were passed as an object"):
        LinkingFields(entities=plain["entities"])


def test_what_cannot_be_pickled_is_refused(linker: OneGenModel, folders: tuple[Path, Path]) -> None:
    index = PassageIndex.load(linker, folders[1])
    again = pickle.loads(pickle.dumps(SharedEntities(index)))
    assert again.source.passages == index.passages
    with pytest.raises(InvalidInputError, match="was never saved"):
        SharedEntities(PassageIndex.build(linker, ENTITIES)).require_picklable()
    with pytest.raises(InvalidInputError, match=r"function cannot be pickled .*pass its path"):
        SharedEntities(lambda: None).require_picklable()


def test_bad_input_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    missing = LinkingFields(model=folders[0], entities=tmp_path / "none")
    with pytest.raises(PassageIndexError):
        missing.open_entities()
    with pytest.raises(ValueError, match="linking is of type int; expected LinkingParams"):
        LinkingFields(entities=folders[1], linking=3)
    with pytest.raises(ValueError, match="linking has no option 'windows'; expected 'window'"):
        LinkingFields(entities=folders[1], linking={"windows": 32})
    with pytest.raises(ValueError, match="window=1; expected at least 16"):
        LinkingFields(entities=folders[1], linking={"window": 1})
    with pytest.raises(ValueError, match="Field required"):
        LinkingFields(model=folders[0])
    assert LinkingFields(model=folders[0], entities=folders[1]).shared == SharedModel(folders[0])
