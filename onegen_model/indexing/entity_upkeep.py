"""Lists the entities of an index, and removes some, without loading its model."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.indexing.entity_records import require_entities
from onegen_model.indexing.removal import open_without_model
from onegen_model.retrieval.corpus import EmbeddedCorpus
from onegen_model.retrieval.folders import hold_for_writing
from onegen_model.retrieval.manifest import read_manifest

# So many unknown ids are named in one message.
_NAMED = 20


def list_entities(folder: str | PathLike[str]) -> Iterator[Passage]:
    """The entities of an index, in its order; raises PassageIndexError for one of documents."""
    for entity in EmbeddedCorpus.open(folder).passages():
        require_entities([entity], Path(folder))
        yield entity


def remove_entities(folder: str | PathLike[str], ids: Iterable[str]) -> int:
    """Remove entities by their ids; returns their number.

    Raises InvalidInputError, and removes nothing, if the index lacks one of them, and
    PassageIndexError if it is one of documents.
    """
    path, wanted = Path(folder), dict.fromkeys(ids)
    read_manifest(path)  # A folder that is no index is not even locked.
    with hold_for_writing(path):
        index = open_without_model(path)
        require_entities(index.passages, path)
        unknown = [name for name in wanted if name not in index]
        if unknown:
            named = ", ".join(map(repr, unknown[:_NAMED]))
            more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            raise InvalidInputError(
                f"{path} holds no entity {named}{more}; expected ids of its entities; list them "
                "with `onegen entities --list`"
            )
        count = index.delete(wanted)
        if count:
            index.save(path)
        return count
