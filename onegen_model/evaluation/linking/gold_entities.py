"""What scoring has to know of the entities that the documents name."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.run_folder import writing
from onegen_model.evaluation.linking.documents import LinkingDocument
from onegen_model.events import Passage
from onegen_model.files import write_atomically

_GOLD = "entities.json"


@dataclass(frozen=True, slots=True)
class GoldEntities:
    """Which entities of the documents are in a list of `count`, and have a description there."""

    count: int
    known: frozenset[str]
    described: frozenset[str]
    is_whole: bool

    @classmethod
    def of(
        cls, documents: Iterable[LinkingDocument], entities: Sequence[Passage], *, is_whole: bool
    ) -> "GoldEntities":
        """`is_whole`: they are more than the candidates of the documents."""
        gold = {mention.entity_id for one in documents for mention in one.mentions}
        found = [one for one in entities if one.id in gold]
        known = frozenset(one.id for one in found)
        described = frozenset(one.id for one in found if one.title)
        return cls(len(entities), known, described, is_whole)

    def save(self, folder: Path) -> None:
        """Write it beside the predictions, since scoring needs no index; what was known of other
        documents stays."""
        known, described = self.known, self.described
        if (folder / _GOLD).exists():
            earlier = GoldEntities.load(folder)
            known, described = known | earlier.known, described | earlier.described
        plain = {
            "count": self.count,
            "known": sorted(known),
            "described": sorted(described),
            "is_whole": self.is_whole,
        }
        with writing(folder):
            write_atomically(folder / _GOLD, json.dumps(plain, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "GoldEntities":
        """Inverse of `save`; raises InvalidInputError."""
        file = folder / _GOLD
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
            known, described = frozenset(plain["known"]), frozenset(plain["described"])
            return cls(plain["count"], known, described, plain["is_whole"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"{file} cannot be read ({type(error).__name__}: {error}); expected what `onegen "
                "evaluate` writes; run the same command again"
            ) from error
