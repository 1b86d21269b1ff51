"""Scores of runs that linked entities, and their tables."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.run_folder import RunFolder
from onegen_model.evaluation.linking import tables
from onegen_model.evaluation.linking.documents import LinkingDocument
from onegen_model.evaluation.linking.gold_entities import GoldEntities
from onegen_model.evaluation.linking.parts import parts_of
from onegen_model.evaluation.linking.predictions import CANDIDATES, ENTITIES, OWN, find_logs
from onegen_model.evaluation.linking.settings import TASK
from onegen_model.evaluation.linking.tables import Scored, System
from onegen_model.evaluation.score.scores import Scores
from onegen_model.evaluation.score.table import table
from onegen_model.linking.params import LinkingParams

logger = logging.getLogger(__name__)

AMONG_CANDIDATES = "Accuracy with given mentions, among their candidates"
AMONG_ENTITIES = "Accuracy with given mentions, among all entities"
FOUND = "Mentions found"
LINKED = "Mentions found and linked among all entities"
RECALL = "Recall of marked mentions"
BY_SCORE = "Links with at least this score"
BY_NAME_WEIGHT = "Accuracy with given mentions by --name-weight"
COST = "Seconds of a text"

_DEFAULT = LinkingParams()
_NAMES = {OWN: "OneGen", "bm25": "BM25", "minilm": "MiniLM"}
_NOTES = """\
± is the standard error, with texts as the units of sampling; differences are paired. Precision and
F1 are of texts whose every mention is marked. A link is right with exactly its span and entity;
only mentions whose entity is in the list count there. docs/guides/evaluation.md explains the rest.
"""


def score_linking_runs(
    runs: Mapping[str, RunFolder],
    documents: Sequence[LinkingDocument],
    trained: frozenset[str] | None = None,
    *,
    mention_threshold: float = 0.5,
    nil_threshold: float | None = None,
    name_weight: float = _DEFAULT.name_weight,
) -> Scores:
    """All tables of runs by name, over the documents that all of them hold.

    `trained` are the entities that mentions had in training. Of the mentions that were found with
    several thresholds those of `mention_threshold` come first. An entity whose score is below
    `nil_threshold` is none. The entities have the scores and the order that `link` gives them with
    this `name_weight`, and those of the cosine alone beside it. Raises InvalidInputError.
    """
    scored = _read(runs, documents, trained)
    systems = sorted(scored.systems, key=lambda one: _order(one, mention_threshold))
    # The scores of another system have another scale.
    systems = [
        shown
        for one in systems
        for shown in _shown(
            replace(one, nil_threshold=nil_threshold if one.is_own else None), name_weight
        )
    ]
    scored = replace(scored, systems=systems)
    found: Scores = {
        AMONG_CANDIDATES: tables.accuracy(scored, CANDIDATES),
        AMONG_ENTITIES: tables.accuracy(scored, ENTITIES),
        BY_NAME_WEIGHT: tables.by_name_weight(scored),
        FOUND: tables.found(scored),
    }
    if scored.gold.is_whole:
        found |= {LINKED: tables.linked(scored), BY_SCORE: tables.by_least_score(scored)}
    found |= {RECALL: tables.recall(scored), COST: tables.cost(scored)}
    return {title: rows for title, rows in found.items() if rows}


def _shown(one: System, name_weight: float) -> list[System]:
    """A system, and the same with or without names where it has them."""
    if not one.has_similarities:
        return [one]
    if one.is_own:
        other = one.reordered(f"{one.name}, cosine alone", 0)
        one = replace(one.reordered(one.name, name_weight), is_own=True, is_reordered=False)
    else:
        other = one.reordered(f"{one.name}, with names", name_weight)
    return [one, other] if name_weight else [one]


def _read(
    runs: Mapping[str, RunFolder],
    documents: Sequence[LinkingDocument],
    trained: frozenset[str] | None,
) -> Scored:
    systems = [
        one
        for number, (name, run) in enumerate(runs.items())
        for one in _systems("" if len(runs) == 1 else name, run, documents, is_first=not number)
    ]
    shared = set.intersection(*(set(one.by_document) for one in systems)) if systems else set()
    chosen = [one for one in documents if one.id in shared]
    if not chosen:
        raise InvalidInputError(
            f"{', '.join(runs)} share no text of the file as it is now; expected some; finish the "
            "runs, or name the file that they were made with"
        )
    if any(len(one.by_document) > len(chosen) for one in systems):
        logger.warning("Scored on the %d texts that all systems have", len(chosen))
    known = [GoldEntities.load(run.path) for run in runs.values()]
    gold = replace(
        known[0],
        known=frozenset.intersection(*(one.known for one in known)),
        is_whole=all(one.is_whole for one in known),
    )
    return Scored(chosen, systems, gold, parts_of(chosen, gold, trained))


def _systems(
    name: str, run: RunFolder, documents: Sequence[LinkingDocument], *, is_first: bool
) -> Iterator[System]:
    """Those of a run; the baselines are those of the first run."""
    if run.settings.task != TASK:
        raise InvalidInputError(
            f"{run.path} is a run of the task {run.settings.task}; expected one that linked "
            "entities; score it apart"
        )
    for log in find_logs(run.path):
        is_own = log.system == OWN
        if is_own or is_first:
            title = _NAMES.get(log.system, log.system)
            yield System(
                (name or title) if is_own else title,
                log.setting,
                log.read(documents).by_document,
                is_own=is_own,
            )


def _order(one: System, mention_threshold: float) -> tuple[bool, bool, float]:
    """Sorting is stable: the runs and the baselines keep their order."""
    threshold = one.threshold or 0.0
    return not one.is_own, threshold != mention_threshold, threshold


def linking_report(scores: Scores) -> str:
    """All tables under their titles."""
    parts = [f"### {title}\n\n{table('', rows)}\n" for title, rows in scores.items()]
    return "\n".join([*parts, _NOTES])
