"""Lists what an index holds, and removes from it, without loading its model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NoReturn

from onegen_model.documents.reading import source_of
from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.events import Passage
from onegen_model.indexing.held import HeldFile, held_files, is_gone, root_of
from onegen_model.indexing.job import unsealed
from onegen_model.retrieval.corpus import EmbeddedCorpus
from onegen_model.retrieval.folders import hold_for_writing
from onegen_model.retrieval.index import PassageIndex
from onegen_model.retrieval.manifest import read_manifest
from onegen_model.retrieval.updates import RemovalReport


@dataclass(frozen=True, slots=True)
class StoredEmbedder:
    """What a manifest records of the model of an index; it embeds nothing."""

    fingerprint: str
    dimension: int
    max_passage_tokens: int

    def embed_passages(self, passages: Sequence[Passage], *, progress: bool = False) -> NoReturn:
        """Not without the model."""
        raise PassageIndexError(
            f"{len(passages)} passages are to be embedded without a model; expected only removals; "
            "load the index with its model"
        )


def list_files(folder: str | PathLike[str]) -> tuple[list[HeldFile], int]:
    """The files of an index by source, and the number of passages that come from no file."""
    path = Path(folder)
    passages = _read_passages(path)
    held = held_files(passages, root_of(path))
    placed = sum(len(file.passages) for file in held.values())
    return sorted(held.values(), key=lambda file: file.source), len(passages) - placed


def _read_passages(path: Path) -> list[Passage]:
    while True:
        corpus = EmbeddedCorpus.open(path)
        try:
            return list(corpus.passages())
        except PassageIndexError:
            # Another process may have saved in the meantime and removed the replaced files.
            if read_manifest(path) == corpus.manifest:
                raise


def remove_from_index(folder: str | PathLike[str], names: Iterable[str]) -> RemovalReport:
    """Remove files and folders by their sources or paths, and documents and passages by their ids.

    Raises InvalidInputError, and removes nothing, if the index has nothing of a name.
    """
    path = Path(folder)
    read_manifest(path)  # A folder that is no index is not even locked.
    with hold_for_writing(path):
        index = open_without_model(path)
        held = held_files(index.passages, root_of(path))
        found = {name: _ids_of(name, index, held, root_of(path)) for name in names}
        if unknown := [name for name, ids in found.items() if not ids]:
            raise InvalidInputError(
                f"{path} holds nothing of {', '.join(map(repr, unknown))}; expected a source, or "
                "the id of a document or passage; list them with `onegen index --list`"
            )
        gone = {passage_id for ids in found.values() for passage_id in ids}
        report = index.remove(gone)
        # A file is read again by the next sync, also where it has other records that stayed.
        index.add(
            unsealed(passage)
            for file in held.values()
            if not gone.isdisjoint(passage.id for passage in file.passages)
            for passage in file.passages
            if passage.id not in gone
        )
        index.save(path)
        return report


def _ids_of(name: str, index: PassageIndex, held: dict[str, HeldFile], root: Path) -> list[str]:
    for source in (name.rstrip("/"), source_of(Path(name), root)):
        files = [file for at, file in held.items() if at == source or at.startswith(f"{source}/")]
        if files:
            return [passage.id for file in files for passage in file.passages]
    if name in index:
        return [name]
    return [one.id for one in index.passages if one.id.rpartition("#")[0] == name]


def prune_index(folder: str | PathLike[str]) -> RemovalReport:
    """Remove what came from files that do not exist any more.

    Raises InvalidInputError, and removes nothing, if none of the files exists.
    """
    path = Path(folder)
    read_manifest(path)  # A folder that is no index is not even locked.
    with hold_for_writing(path):
        index, root = open_without_model(path), root_of(path)
        held = held_files(index.passages, root)
        gone = [file for source, file in held.items() if is_gone(source, root)]
        if gone and len(gone) == len(held):
            raise InvalidInputError(
                f"None of the {len(held)} files of {path} exists; expected the index beside its "
                "documents, where it was built; move it there, or delete its folder"
            )
        report = index.remove(passage.id for file in gone for passage in file.passages)
        if gone:
            index.save(path)
        return report


def open_without_model(path: Path) -> PassageIndex:
    """An index for removals; raises PassageIndexError for an embedded corpus."""
    manifest = read_manifest(path)
    if not manifest.is_index:
        raise PassageIndexError(
            f"{path} is a corpus of `onegen embed`; expected an index; run `onegen embed` again "
            "without the documents that are to go"
        )
    made = manifest.made
    embedder = StoredEmbedder(made.fingerprint, made.dimension, made.max_passage_tokens or 0)
    return PassageIndex.load(embedder, path)
