"""Labelled mentions of articles in paragraphs, and claims that are true, false or unverifiable."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.invented_world.questions import said, value_at, walk
from training.invented_world.wording import Mention, fill
from training.invented_world.world import ContradictionError, Day, Entity, World

Row = dict[str, Any]


def write_mentions(specs: Sequence[Mapping[str, Any]], world: World) -> list[Row]:
    """Paragraphs with every name in them labelled."""
    rows = []
    for spec in specs:
        text = fill(spec["text"], None, world)
        mentions = [_mention(one, world) for one in text.mentions]
        rows.append(
            {
                "id": spec["id"],
                "annotation": "exhaustive",
                "text": text.text,
                "mentions": mentions,
            }
        )
    return rows


def _mention(one: Mention, world: World) -> Row:
    same = [other.id for other in world.values() if one.surface in other.names]
    if one.entity is None:
        kind = "nil"
        if same:
            raise ContradictionError(f"{one.surface!r} has no article, but {same} have the name")
    elif len(same) > 1:
        kind = "ambiguous"
    else:
        full = (world[one.entity].name, world[one.entity].title)
        kind = "exact" if one.surface in full else "partial"
    return {
        "start": one.start,
        "end": one.end,
        "surface": one.surface,
        "entity_id": one.entity,
        "kind": kind,
        "negatives": [other for other in same if other != one.entity],
    }


def write_claims(specs: Sequence[Mapping[str, Any]], world: World) -> list[Row]:
    """Claims with the label that follows from the facts, and the articles that decide it."""
    return [_compared(spec, world) if "before" in spec else _stated(spec, world) for spec in specs]


def _stated(spec: Mapping[str, Any], world: World) -> Row:
    hops = list(walk(spec["path"], world))
    so = value_at(spec["path"], world)
    says = _typed(spec["says"], world) if "says" in spec else so
    if says is None:
        raise ContradictionError(
            f"{spec['id']}: {spec['path']} leads nowhere, so name what it says"
        )
    label = "unverifiable" if so is None else "true" if so == says else "false"
    claim = spec["claim"].format(x=world[spec["path"].split(".")[0]].title, says=said(says))
    return _row(spec, claim, label, [hop["paragraph_id"] for hop in hops])


def _compared(spec: Mapping[str, Any], world: World) -> Row:
    first, second = (value_at(path, world) for path in spec["before"])
    if first is None or second is None:
        label = "unverifiable"
    elif first == second:
        raise ContradictionError(f"{spec['id']}: both are {first}")
    else:
        label = "true" if first < second else "false"
    starts = [world[path.split(".")[0]] for path in spec["before"]]
    claim = spec["claim"].format(a=starts[0].title, b=starts[1].title)
    return _row(spec, claim, label, [one.id for one in starts])


def _typed(value: object, world: World) -> Entity | Day | int:
    if isinstance(value, int):
        return value
    text = str(value)
    return world[text] if text in world else Day.parse(text)


def _row(spec: Mapping[str, Any], claim: str, label: str, evidence: list[str]) -> Row:
    return {"id": spec["id"], "claim": claim, "label": label, "evidence": evidence}
