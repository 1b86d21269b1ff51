"""The settings of an evaluation of entity linking."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from onegen_model.errors import InvalidInputError

LinkingBaseline = Literal["name", "name+words", "bm25", "minilm", "two-step"]
BASELINES: tuple[LinkingBaseline, ...] = get_args(LinkingBaseline)

TASK = "linking"


@dataclass(frozen=True, slots=True)
class LinkingEvaluationSettings:
    """What is linked to what, and the folder `out` that keeps it.

    `entities` is an index of entities that the model has embedded; with `entity_file`, records of
    entities, only the candidates of the documents are embedded, and nothing is measured over all
    entities. One of the two is given.

    Mentions are found with `mention_threshold` and, apart, with each of `thresholds`; not at all
    unless `detects`. `baselines` link the same mentions. `encoder` is the folder of a sentence
    encoder in place of MiniLM, and `encoder_index` that of its vectors (default: in `out`).
    `limit` is a number of documents, evenly spaced. Paths may be text.
    """

    out: Path
    entities: Path | None = None
    entity_file: Path | None = None
    mention_threshold: float = 0.5
    thresholds: tuple[float, ...] = ()
    detects: bool = True
    baselines: tuple[LinkingBaseline, ...] = ()
    encoder: Path | None = None
    encoder_index: Path | None = None
    batch: int = 16
    limit: int | None = None
    note: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name in ("out", "entities", "entity_file", "encoder", "encoder_index"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(path))
        if (self.entities is None) == (self.entity_file is None):
            given = "Both" if self.entities else "None"
            raise InvalidInputError(
                f"{given} of entities and entity_file; expected one: an index of all entities, or "
                "a file of them of which only the candidates are embedded; change them"
            )
        for name in ("batch", "limit"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise _wrong(name, value, "at least 1")
        for value in (self.mention_threshold, *self.thresholds):
            if not 0 < value < 1:
                raise _wrong("threshold", value, "a number between 0 and 1")
        for name in self.baselines:
            if name not in BASELINES:
                raise InvalidInputError(
                    f"The baseline {name!r}; expected one of {', '.join(BASELINES)}; correct the "
                    "name"
                )

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        """The thresholds of all passes that find mentions, the chosen one first."""
        chosen = (self.mention_threshold, *self.thresholds) if self.detects else ()
        return tuple(dict.fromkeys(chosen))


def _wrong(name: str, value: object, expected: str) -> InvalidInputError:
    return InvalidInputError(f"{name}={value!r}; expected {expected}; change {name}")
