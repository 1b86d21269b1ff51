"""Questions: answers, hops and gold paragraphs, which follow from paths through the facts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.invented_world.world import ContradictionError, Day, Entity, World, follow

DATASET = "invented-world"
CANDIDATES = 10
# The sub-question of a hop, by the fact that answers it.
HOPS: Mapping[str, str] = {
    "architect": "Who is the architect of {}?",
    "author": "Who is the author of {}?",
    "based_on": "What is {} based on?",
    "birthplace": "Where was {} born?",
    "born": "When was {} born?",
    "builder": "Which company built {}?",
    "captain": "Who was the captain of {}?",
    "composer": "Who is the composer of {}?",
    "country": "Which country is {} from?",
    "deathplace": "Where did {} die?",
    "died": "When did {} die?",
    "director": "Who is the director of {}?",
    "educated": "Where was {} educated?",
    "father": "Who is the father of {}?",
    "founded": "When was {} founded?",
    "founder": "Who is the founder of {}?",
    "launched": "When was {} launched?",
    "mother": "Who is the mother of {}?",
    "river": "Which river is {} on?",
    "spouse": "Who is the spouse of {}?",
    "year": "When was {} released?",
}
Row = dict[str, Any]


def write_questions(specs: Sequence[Mapping[str, Any]], world: World) -> list[Row]:
    """All question rows, in order; raises ContradictionError."""
    rows: dict[str, Row] = {}
    for spec in specs:
        if spec["id"] in rows:
            raise ContradictionError(f"there are two questions {spec['id']}")
        row = _compared(spec, world) if "compare" in spec else _followed(spec, world)
        row["candidates"] = list(_candidates(row["supporting"], world))
        if "follows" in spec:
            if spec["follows"] not in rows:
                raise ContradictionError(f"{spec['id']} follows no question above it")
            row |= {"follows": spec["follows"], "follow_up": spec["short"]}
        row |= {mark: True for mark in ("demo", "quick") if spec.get(mark)}
        rows[spec["id"]] = row
    return list(rows.values())


def _followed(spec: Mapping[str, Any], world: World) -> Row:
    path = spec.get("path") or spec["missing"]
    start = world[path.split(".")[0]]
    hops = list(walk(path, world))
    found = hops[-1]["answer"] != ""
    if found == ("missing" in spec):
        raise ContradictionError(f"{spec['id']}: {path} leads to {hops[-1]['answer']!r}")
    kind = spec["id"].split("-")[0]
    row = _row(spec, kind, spec["ask"].format(x=spec.get("title", start.title)), hops)
    if not found:
        row["answerable"] = False
    end = value_at(path, world)
    row["answer"], row["aliases"] = hops[-1]["answer"], aliases(end)
    return row


def _compared(spec: Mapping[str, Any], world: World) -> Row:
    sides = [list(walk(path, world)) for path in spec["compare"]]
    first, second = (world[path.split(".")[0]] for path in spec["compare"])
    values = [value_at(path, world) for path in spec["compare"]]
    if None in values:
        raise ContradictionError(f"{spec['id']}: one of {spec['compare']} leads nowhere")
    answer: Entity | str
    if spec["take"] == "same":
        answer = "yes" if values[0] == values[1] else "no"
    elif values[0] == values[1]:
        raise ContradictionError(f"{spec['id']}: both are {values[0]}")
    else:
        answer = first if (values[0] < values[1]) == (spec["take"] == "first") else second
    hops = [hop for pair in zip(*sides, strict=True) for hop in pair]
    kind = "comparison" if len(hops) == 2 else "bridge_comparison"
    row = _row(spec, kind, spec["ask"].format(a=first.title, b=second.title), hops)
    row["answer"] = answer if isinstance(answer, str) else answer.title
    row["aliases"] = aliases(answer)
    return row


def _row(spec: Mapping[str, Any], kind: str, question: str, hops: list[Row]) -> Row:
    kinds = {"one": "one_hop", "two": "two_hops", "three": "three_hops"}
    kinds |= {"none": "unanswerable", "next": "follow_up"}
    return {
        "id": spec["id"],
        "dataset": DATASET,
        "type": kinds.get(kind, kind),
        "question": question,
        "answer": "",
        "aliases": [],
        "hops": hops,
        "supporting": list(dict.fromkeys(hop["paragraph_id"] for hop in hops)),
    }


def value_at(path: str, world: World) -> Any:
    """The fact at the end of a path that begins with the id of an article."""
    start, _, rest = path.partition(".")
    if start not in world:
        raise ContradictionError(f"{path}: there is no article {start!r}")
    return follow(world[start], rest)


def walk(path: str, world: World) -> Iterator[Row]:
    """The hops of a path; the answer of the last one is empty where the facts end."""
    start, *fields = path.split(".")
    if start not in world:
        raise ContradictionError(f"{path}: there is no article {start!r}")
    here: Any = world[start]
    for field in fields:
        value = here.get(field)
        yield {
            "question": _sub_question(here, field),
            "answer": said(value),
            "title": here.title,
            "paragraph_id": here.id,
        }
        if value is None:
            break
        here = value


def _sub_question(subject: Entity, field: str) -> str:
    if field == "country" and subject.kind != "person":
        return f"Which country is {subject.title} in?"
    return HOPS[field].format(subject.title)


def said(value: Any) -> str:
    """A fact as the articles write it."""
    if isinstance(value, Entity):
        return value.facts["title"] if value.kind == "river" else value.name
    return "" if value is None else str(value)


def aliases(value: Any) -> list[str]:
    """Other ways to write an answer."""
    if isinstance(value, Day):
        day, month, year = str(value).split()
        return [f"{month} {day}, {year}"]
    if not isinstance(value, Entity):
        return []
    others = [value.title, value.name, *value.facts.get("aliases", ())]
    if value.kind == "country":
        others.append(value.facts["demonym"])
    return [one for one in dict.fromkeys(others) if one != said(value)]


def _candidates(supporting: Sequence[str], world: World) -> Iterator[str]:
    """The gold paragraphs, then those of the same names, then others of the same kinds."""
    gold = [world[one] for one in supporting]
    others = [
        *(one for one in world.values() for mine in gold if set(one.names) & set(mine.names)),
        *(one for one in world.values() for mine in gold if one.kind == mine.kind),
    ]
    yield from list(dict.fromkeys([*supporting, *(one.id for one in others)]))[:CANDIDATES]
