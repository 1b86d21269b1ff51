"""What a system found in each document: one file a system and setting, which only grows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.run_folder import JsonLog
from onegen_model.evaluation.linking.documents import LinkingDocument, Span
from onegen_model.evaluation.linking.settings import BASELINES


class Hit(NamedTuple):
    """An entity with its score, and how alike its name and the mention are, where that is known.

    In a log the score holds nothing of the name.
    """

    entity: str
    score: float
    similarity: float | None = None


# Best first.
Hits = tuple[Hit, ...]

# Settings: the given mentions are linked among their candidates, or among all entities. A setting
# `found-0.5` are the mentions that the model finds with that threshold.
CANDIDATES, ENTITIES = "candidates", "entities"
_FOUND = "found-"
OWN = "own"
NUM_CANDIDATES = 5  # that `link` reports of each mention
KEPT = 20  # that a log keeps of each, for other weights of names


def found_with(threshold: float) -> str:
    """The setting of mentions that the model finds with a threshold."""
    return f"{_FOUND}{threshold:g}"


def threshold_of(setting: str) -> float | None:
    """The threshold of such a setting; None for given mentions."""
    return float(setting.removeprefix(_FOUND)) if setting.startswith(_FOUND) else None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The mentions of a document, in order, and what each may be. `seconds` is its share."""

    document: str
    spans: tuple[Span, ...]
    hits: tuple[Hits, ...]
    seconds: float = 0.0

    def taking(self, seconds: float) -> "Prediction":
        """The same, with its share of the time."""
        return replace(self, seconds=seconds)

    @property
    def has_similarities(self) -> bool:
        """Whether other weights of names can be tried."""
        return all(one.similarity is not None for hits in self.hits for one in hits)

    def by_names(self, weight: float) -> "Prediction":
        """The entities with what this weight adds to their scores, and in their order."""
        if not self.has_similarities:
            return self
        summed = (
            [one._replace(score=one.score + weight * (one.similarity or 0.0)) for one in hits]
            for hits in self.hits
        )
        ordered = (tuple(sorted(hits, key=lambda one: -one.score)) for hits in summed)
        return replace(self, hits=tuple(ordered))

    def best(self, nil_threshold: float | None = None) -> dict[Span, str]:
        """The entity of each mention that has one."""
        least = float("-inf") if nil_threshold is None else nil_threshold
        pairs = zip(self.spans, self.hits, strict=True)
        return {span: hits[0].entity for span, hits in pairs if hits and hits[0].score >= least}

    def listed(self) -> dict[Span, tuple[str, ...]]:
        """The first entities of each mention, as many as `link` reports."""
        pairs = zip(self.spans, self.hits, strict=True)
        return {span: tuple(one.entity for one in hits[:NUM_CANDIDATES]) for span, hits in pairs}


@dataclass(frozen=True, slots=True)
class Predictions:
    """Those of one system in one setting, by the document's id."""

    system: str
    setting: str
    by_document: Mapping[str, Prediction]


class PredictionLog:
    """The file of a system in a setting."""

    def __init__(self, folder: Path, system: str, setting: str) -> None:
        self.system, self.setting = system, setting
        self._log = JsonLog(folder / f"links.{system}.{setting}.jsonl")

    def add(self, documents: Sequence[LinkingDocument], predictions: Iterable[Prediction]) -> None:
        """Keep what was found in some documents."""
        self._log.drop_cut_line()
        self._log.append(
            {
                "document": document.id,
                "digest": document.digest,
                "mentions": [[*span] for span in found.spans],
                "entities": [[_plain(hit) for hit in hits] for hits in found.hits],
                "seconds": found.seconds,
            }
            for document, found in zip(documents, predictions, strict=True)
        )

    def read(self, documents: Iterable[LinkingDocument]) -> Predictions:
        """What is known of these documents, as they are now; raises InvalidInputError."""
        digests = {one.id: one.digest for one in documents}
        found = {}
        for place, row in self._log.read():
            try:
                if digests.get(row["document"]) == row["digest"]:
                    one = _prediction(row)
                    # Earlier versions kept no similarities: such a text is linked again.
                    if self.system != OWN or one.has_similarities:
                        found[one.document] = one
            except (KeyError, TypeError, ValueError) as error:
                raise InvalidInputError(
                    f"{place} cannot be read ({type(error).__name__}: {error}); expected what "
                    "`onegen evaluate` writes; remove the line and run the same command again"
                ) from error
        return Predictions(self.system, self.setting, found)


def find_logs(folder: Path) -> list[PredictionLog]:
    """All logs of a run: those of its own model, then those of the baselines."""
    names = [file.name.split(".", 2)[1:] for file in sorted(folder.glob("links.*.jsonl"))]
    logs = [PredictionLog(folder, system, rest.removesuffix(".jsonl")) for system, rest in names]
    order = {name: number for number, name in enumerate((OWN, *BASELINES))}
    return sorted(logs, key=lambda one: order.get(one.system, len(order)))


def _plain(hit: Hit) -> list[Any]:
    return [*hit] if hit.similarity is not None else [hit.entity, hit.score]


def _prediction(row: Mapping[str, Any]) -> Prediction:
    return Prediction(
        row["document"],
        tuple((start, end) for start, end in row["mentions"]),
        tuple(tuple(Hit(*hit) for hit in hits) for hits in row["entities"]),
        row["seconds"],
    )
