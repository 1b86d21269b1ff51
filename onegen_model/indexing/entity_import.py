"""Makes an index of entities from embeddings that OneGen publishes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onegen_model.errors import InvalidInputError, PassageIndexError
from onegen_model.events import Passage
from onegen_model.indexing.entities import FirstFragments, require_linking
from onegen_model.indexing.entity_records import Entities, read_entities
from onegen_model.indexing.published_vectors import PublishedVectors, read_published
from onegen_model.retrieval.corpus_writer import Content, save_corpus
from onegen_model.retrieval.embedding import Embedder
from onegen_model.retrieval.folders import require_free_or_ours
from onegen_model.retrieval.manifest import STORED_DTYPES, index_spec, is_ours

if TYPE_CHECKING:
    import torch

# So many entities are embedded to see whether the model is the one that made the vectors.
_COMPARED = 16


@dataclass(frozen=True, slots=True)
class EntityImport:
    """The index holds `entities` entities.

    `unnamed` are those whose id is their name, because the list of entities lacks them, and
    `without_vector` are the entities of that list that were not in the file. `repeated` vectors
    belong to an id that has another one, too: the best of them counts. `agreement` is the mean
    cosine of a few vectors with those that the model makes now, None without a list of entities.
    """

    entities: int
    unnamed: int
    without_vector: int
    repeated: int
    agreement: float | None


def import_entities(
    model: Embedder,
    file: str | PathLike[str] | PublishedVectors,
    out: str | PathLike[str],
    *,
    entities: Entities | None = None,
    stored_as: str = "float32",
) -> EntityImport:
    """Write the embeddings of a published pickle, those of this model, as a new index.

    The pickle is `(tensor (n, dimension), [id, …])`; nothing else in it is made or run. `entities`
    gives names and descriptions to the ids, as for `index_entities`; without it the ids are the
    names. `stored_as` is the dtype of the vectors on disk, float32 or float16. Raises
    InvalidInputError for a file, PassageIndexError for a folder, and CheckpointError for a model,
    that cannot be used.
    """
    folder = Path(out)
    require_linking(model)
    require_new(folder, stored_as)
    named = _named(entities)
    published = file if isinstance(file, PublishedVectors) else read_published(Path(file))
    _require_shape(published, model)
    rows_of: dict[str, list[int]] = {}
    for at, name in enumerate(published.ids):
        rows_of.setdefault(name, []).append(at)
    passages = [named.get(name) or Passage(name, name) for name in rows_of]
    rows = _UnitRows(published, [at for some in rows_of.values() for at in some])
    made = replace(index_spec(model, None), stored_as=stored_as)
    content = Content(passages, list(map(len, rows_of.values())), rows)
    save_corpus(folder, made, content, None, lambda _: None)
    return EntityImport(
        len(passages),
        len(rows_of.keys() - named.keys()),
        len(named.keys() - rows_of.keys()),
        len(published.ids) - len(passages),
        _agreement(model, published, [(rows_of[n][0], named[n]) for n in rows_of if n in named]),
    )


def require_new(folder: Path, stored_as: str) -> None:
    """Raise PassageIndexError for a folder that holds anything, and InvalidInputError for a dtype
    that no index is stored in.
    """
    if stored_as not in STORED_DTYPES:
        raise InvalidInputError(
            f"stored_as={stored_as!r}; expected {' or '.join(STORED_DTYPES)}; change stored_as"
        )
    require_free_or_ours(folder)
    if is_ours(folder):
        raise PassageIndexError(
            f"{folder} holds an index already; expected a new folder; choose another one, or "
            "delete it first"
        )


def _named(entities: Entities | None) -> Mapping[str, Passage]:
    if entities is None:
        return {}
    records = read_entities(entities)
    records.require_sound()
    return records.entities


def _require_shape(published: PublishedVectors, model: Embedder) -> None:
    count, dimension = published.rows.shape
    if dimension != model.dimension:
        raise InvalidInputError(
            f"{published.path} holds vectors of dimension {dimension}; expected {model.dimension}, "
            "as this model writes them; name the model that made them with --model"
        )
    if not count or count != len(published.ids):
        raise InvalidInputError(
            f"{published.path} holds {count} vectors and {len(published.ids)} ids; expected one "
            "vector for each id, and at least one; fetch it again from its publisher"
        )


def _agreement(
    model: Embedder, published: PublishedVectors, known: Sequence[tuple[int, Passage]]
) -> float | None:
    some = known[:: max(1, len(known) // _COMPARED)][:_COMPARED]
    if not some:
        return None
    theirs = _UnitRows(published, [at for at, _ in some])[:]
    ours = FirstFragments(model).embed_passages([entity for _, entity in some])
    return float((theirs * ours).sum(axis=1).mean())


class _UnitRows:
    """Rows of a tensor as unit vectors, made when they are asked for: the whole is large."""

    def __init__(self, published: PublishedVectors, chosen: Sequence[int]) -> None:
        self._rows: torch.Tensor = published.rows
        self._ids = published.ids
        self._chosen = chosen

    def __getitem__(self, some: slice, /) -> NDArray[np.float32]:
        """float32, L2-normalised; raises InvalidInputError for a row without a direction."""
        chosen = self._chosen[some]
        rows: NDArray[np.float32] = self._rows[list(chosen)].float().numpy()
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        fine = np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)
        if not fine.all():
            raise InvalidInputError(
                f"The vector of {self._ids[chosen[int(fine.argmin())]]!r} is zero or not finite; "
                "expected a vector with a direction; fetch the file again from its publisher"
            )
        unit: NDArray[np.float32] = (rows / lengths).astype(np.float32)
        return unit
