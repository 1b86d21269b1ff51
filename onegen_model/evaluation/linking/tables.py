"""The tables of an evaluation of entity linking. Lines are parts of the mentions, or systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onegen_model.evaluation.linking.counts import (
    Quality,
    count_entities,
    count_found,
    count_listed,
    difference,
    found_quality,
    linked_quality,
    mean,
)
from onegen_model.evaluation.linking.documents import GoldMention, LinkingDocument
from onegen_model.evaluation.linking.gold_entities import GoldEntities
from onegen_model.evaluation.linking.parts import ALL, Part, Wanted, exhaustive_texts
from onegen_model.evaluation.linking.predictions import (
    CANDIDATES,
    ENTITIES,
    NUM_CANDIDATES,
    Prediction,
    threshold_of,
)
from onegen_model.evaluation.score.cases import Columns
from onegen_model.evaluation.score.estimate import Estimate

Rows = dict[str, Columns]
_LEVELS = 8  # of least scores
_NAME_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
_TITLES = {CANDIDATES: "among candidates", ENTITIES: "among all entities"}


@dataclass(frozen=True, slots=True)
class System:
    """What one system found in one setting of a run; `name` is that of a table.

    `is_own`: it has found the mentions, too. `is_reordered`: the same as another one, but with
    another weight of names.
    """

    name: str
    setting: str
    by_document: Mapping[str, Prediction]
    nil_threshold: float | None = None
    is_own: bool = False
    is_reordered: bool = False
    name_weight: float = 0  # that is in the scores

    @property
    def threshold(self) -> float | None:
        """Of the mentions that it links; None for given ones."""
        return threshold_of(self.setting)

    @property
    def has_similarities(self) -> bool:
        """Whether other weights of names can be tried."""
        known = self.by_document.values()
        return any(map(any, (one.hits for one in known))) and all(
            one.has_similarities for one in known
        )

    def reordered(self, name: str, weight: float) -> "System":
        """The same entities with another weight of names."""
        more = weight - self.name_weight
        ordered = {key: one.by_names(more) for key, one in self.by_document.items()}
        changed = replace(self, name=name, by_document=ordered, name_weight=weight)
        return replace(changed, is_own=False, is_reordered=True)


@dataclass(frozen=True, slots=True)
class Scored:
    """Everything that the tables are made from."""

    documents: Sequence[LinkingDocument]
    systems: Sequence[System]
    gold: GoldEntities
    parts: Sequence[Part]

    def of(self, setting: str) -> list[System]:
        """The systems that have this setting."""
        return [one for one in self.systems if one.setting == setting]

    @property
    def finding(self) -> list[System]:
        """The systems that link found mentions."""
        return [one for one in self.systems if one.threshold is not None]

    def known_of(self, part: Part) -> Wanted:
        """Those of a part whose entity is in the list."""

        def is_wanted(document: LinkingDocument, mention: GoldMention) -> bool:
            return mention.entity_id in self.gold.known and part.has(document, mention)

        return is_wanted


def accuracy(scored: Scored, setting: str) -> Rows:
    """Of each system, by part; mentions whose entity is not in the list are left out."""
    systems, rows = scored.of(setting), Rows()
    for part in scored.parts if systems else ():
        wanted = scored.known_of(part)
        counts = {
            one.name: count_entities(scored.documents, one.by_document, wanted) for one in systems
        }
        first, *others = counts
        total = _total(counts[first])
        if not total.value:
            continue
        rows[part.name] = {"mentions": total, **{name: mean(one) for name, one in counts.items()}}
        if setting == ENTITIES:
            for one in systems:
                if one.is_own:
                    listed = count_listed(scored.documents, one.by_document, wanted)
                    rows[part.name][f"{one.name}, first {NUM_CANDIDATES}"] = mean(listed)
        for name in others:
            less = difference(counts[first], counts[name])
            rows[part.name][f"{first} less {name}"] = less
    return rows


def by_name_weight(scored: Scored) -> Rows:
    """Accuracy with given mentions, of the systems whose order depends on names."""
    rows = Rows()
    known = scored.known_of(scored.parts[0])
    for one in scored.systems:
        if one.is_reordered or one.setting not in _TITLES or not one.has_similarities:
            continue
        for weight in _NAME_WEIGHTS:
            ordered = one.reordered(one.name, weight).by_document
            right = count_entities(scored.documents, ordered, known)
            rows.setdefault(f"{weight:g}", {})[f"{one.name}, {_TITLES[one.setting]}"] = mean(right)
    return rows


def found(scored: Scored) -> Rows:
    """Precision, recall and F1 of the mentions that each model finds, by threshold and source."""
    rows = Rows()
    for one in scored.finding:
        if not one.is_own:
            continue
        for name, documents in exhaustive_texts(scored.documents).items():
            exact = found_quality(documents, one.by_document)
            partly = found_quality(documents, one.by_document, overlapping=True)
            rows[f"{one.name} at {one.threshold:g}, {name}"] = {
                "mentions": _total(exact.recall),
                **_columns(exact),
                **{f"overlapping {key}": value for key, value in _columns(partly).items()},
            }
    return rows


def linked(scored: Scored) -> Rows:
    """The same of exact spans with their entities, of each system."""
    rows = Rows()
    for name, documents in exhaustive_texts(scored.documents).items():
        qualities = {
            f"{one.name} at {one.threshold:g}, {name}": _linked(scored, one, documents)
            for one in scored.finding
        }
        first = next(iter(qualities.values()), None)
        for title, quality in qualities.items():
            rows[title] = {"mentions": _total(quality.recall), **_columns(quality)}
            if first is not None and quality is not first:
                rows[title]["first less this, F1"] = difference(first.f1, quality.f1)
    return rows


def _linked(
    scored: Scored, one: System, documents: Sequence[LinkingDocument], least: float | None = None
) -> Quality:
    least = one.nil_threshold if least is None else least
    return linked_quality(documents, one.by_document, scored.gold.known, least)


def recall(scored: Scored) -> Rows:
    """Marked mentions that were found, and found and linked, by part."""
    rows = Rows()
    for part in scored.parts if scored.finding else ():
        columns = Columns()
        for one in scored.finding:
            name = f"{one.name} at {one.threshold:g}"
            args = (scored.documents, one.by_document, part.has)
            if one.is_own:
                hit = count_found(*args)
                columns["mentions"] = _total(hit)
                columns[f"{name}: found"] = mean(hit)
                columns[f"{name}: overlapping"] = mean(count_found(*args, overlapping=True))
            if scored.gold.is_whole:
                args = (scored.documents, one.by_document, scored.known_of(part))
                right = count_entities(*args, one.nil_threshold)
                columns[f"{name}: linked"] = mean(right)
        rows[part.name] = columns
    return rows


def by_least_score(scored: Scored) -> Rows:
    """Links of the first model where those of lower scores are left out, from one run."""
    own = next((one for one in scored.finding if one.is_own), None)
    documents = exhaustive_texts(scored.documents).get(ALL)
    if own is None or documents is None:
        return {}
    scores = sorted(
        hits[0][1] for one in documents for hits in own.by_document[one.id].hits if hits
    )
    levels = [scores[len(scores) * step // _LEVELS] for step in range(1, _LEVELS) if scores]
    own = replace(own, nil_threshold=None)
    rows = {"none": _columns(_linked(scored, own, documents))}
    for level in dict.fromkeys(round(one, 3) for one in levels):
        rows[f"{level:.3f}"] = _columns(_linked(scored, own, documents, level))
    return rows


def cost(scored: Scored) -> Rows:
    """Seconds of a text, when several are read at a time."""
    rows = Rows()
    for one in scored.systems:
        if one.is_reordered:
            continue
        seconds = [one.by_document[document.id].seconds for document in scored.documents]
        # The texts of a batch share its time: no standard error over texts.
        found = replace(Estimate.of((value, 1) for value in seconds), standard_error=None)
        rows.setdefault(one.name, {})[one.setting] = found
    return rows


def _columns(quality: Quality) -> Columns:
    return {
        "precision": mean(quality.precision),
        "recall": mean(quality.recall),
        "F1": mean(quality.f1),
    }


def _total(counts: Mapping[str, tuple[float, float]]) -> Estimate:
    total = sum(cases for _, cases in counts.values())
    return Estimate(total, None, total)
