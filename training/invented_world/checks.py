"""What cannot be true together: dates, ages, relations, and words that bypass the facts."""

import re
from collections import Counter
from collections.abc import Iterator

from training.invented_world.articles import Phrases
from training.invented_world.wording import literal
from training.invented_world.world import ContradictionError, Day, Entity, World, references

YOUNGEST_PARENT, YOUNGEST_AT_WORK, OLDEST = 15, 10, 105
# Fields by which a person does something in the year of the other entity.
WORK = {"director", "writer", "composer", "author", "illustrator", "founder", "architect"}
WORK |= {"climber", "leader", "giver_person", "stars"}
BEGINS = ("year", "founded", "launched", "built", "climbed")
ENDS = ("ended", "lost")
# Works of people who are dead may come out; ships and bridges are not made by the dead.
LATEST_AFTER_DEATH = 2


def check(world: World, phrases: Phrases) -> None:
    """Raise ContradictionError with every problem of facts and texts."""
    problems = [*_names(world), *_facts(world), *_texts(world, phrases)]
    if problems:
        raise ContradictionError("\n".join(problems))


def _names(world: World) -> Iterator[str]:
    for title, count in Counter(one.title for one in world.values()).items():
        if count > 1:
            yield f"{count} articles have the title {title!r}"
    for entity in world.values():
        if entity.kind != "foreign" and not re.fullmatch(r"[a-z0-9-]+", entity.id):
            yield f"{entity.id}: an id is made of lower-case letters, digits and hyphens"


def _facts(world: World) -> Iterator[str]:
    for entity in world.values():
        begin = next((entity.facts[one] for one in BEGINS if one in entity.facts), None)
        end = next((entity.facts[one] for one in ENDS if one in entity.facts), None)
        if begin and end and end < begin:
            yield f"{entity.id}: ends in {end}, before it began in {begin}"
        if entity.kind == "person":
            yield from _person(entity)
        for field, other in references(entity):
            if other is entity:
                yield f"{entity.id}: names itself as its {field}"
            if other.kind == "person" and field in WORK and begin:
                yield from _at_work(entity, field, other, begin)
        yield from _made_by(entity)
        yield from _winners(entity)


def _person(person: Entity) -> Iterator[str]:
    born: Day = person.facts["born"]
    died: Day | None = person.facts.get("died")
    if died is not None and not born.year <= died.year <= born.year + OLDEST:
        yield f"{person.id}: born {born}, died {died}"
    if died is None and person.facts.get("deathplace"):
        yield f"{person.id}: has a place of death and is alive"
    for parent, sex in (("father", "m"), ("mother", "f")):
        if other := person.facts.get(parent):
            yield from _parent(person, other, sex)
    if spouse := person.facts.get("spouse"):
        if "spouse" in spouse.facts and spouse.facts["spouse"] is not person:
            yield f"{person.id}: married to {spouse.id}, who is married to another"
        if "died" in spouse.facts and spouse.facts["died"] < born:
            yield f"{person.id}: married to {spouse.id}, who died before"
    if (school := person.facts.get("educated")) and school.facts["founded"] > born.year + 30:
        yield f"{person.id}: studied at {school.id} before it was founded"


def _parent(person: Entity, parent: Entity, sex: str) -> Iterator[str]:
    born = person.facts["born"]
    if parent.facts["sex"] != sex:
        yield f"{person.id}: the parent {parent.id} is of the other sex"
    if parent.facts["born"].year + YOUNGEST_PARENT > born.year:
        yield f"{person.id}: born {born}, the parent {parent.id} on {parent.facts['born']}"
    if "died" in parent.facts and parent.facts["died"].year + 1 < born.year:
        yield f"{person.id}: born {born} after the death of {parent.id}"


def _at_work(entity: Entity, field: str, person: Entity, year: int) -> Iterator[str]:
    if year < person.facts["born"].year + YOUNGEST_AT_WORK:
        yield f"{entity.id}: of {year}, and its {field} {person.id} was a child"
    died = person.facts.get("died")
    if died is not None and year > died.year + LATEST_AFTER_DEATH:
        yield f"{entity.id}: of {year}, and its {field} {person.id} died in {died.year}"


def _made_by(entity: Entity) -> Iterator[str]:
    for field, begin in (("builder", "launched"), ("company", "year"), ("seat", "founded")):
        maker = entity.facts.get(field)
        if maker is None or begin not in entity.facts or "founded" not in maker.facts:
            continue
        year = entity.facts[begin]
        if not maker.facts["founded"] <= year <= maker.facts.get("ended", year):
            yield f"{entity.id}: of {year}, while {maker.id} did not exist"
    if (source := entity.facts.get("based_on")) and source.facts["year"] > entity.facts["year"]:
        yield f"{entity.id}: is older than {source.id}, on which it is based"


def _winners(prize: Entity) -> Iterator[str]:
    for year, person, *works in prize.facts.get("winners", ()):
        yield from _at_work(prize, "winner", person, year)
        if year < prize.facts["founded"]:
            yield f"{prize.id}: was won in {year}, before it was founded"
        for work in works:
            makers = [other for field, other in references(work) if field in WORK]
            if person not in makers:
                yield f"{prize.id}: {person.id} had no part in {work.id}"
            if work.facts["year"] > year:
                yield f"{prize.id}: {work.id} came out after it had won in {year}"


def _texts(world: World, phrases: Phrases) -> Iterator[str]:
    """Figures and names come from the facts, so no sentence may hold them itself."""
    names = {name for one in world.values() for name in (one.name, one.title)}
    known = re.compile(rf"(?<!\w)({'|'.join(sorted(map(re.escape, names), key=len))})(?!\w)")
    texts = [
        (one.id, one.facts[field])
        for one in world.values()
        for field in ("more", "text", "source", "givers", "founder")
        if isinstance(one.facts.get(field), str)
    ]
    texts += [(kind, one) for kind, groups in phrases.items() for group in groups for one in group]
    for where, text in texts:
        plain = literal(text)
        if figure := re.search(r"\d", plain):
            yield f"{where}: the figure {figure.group()!r} in {text!r} is no fact of the world"
        if name := known.search(plain):
            yield f"{where}: {name.group(1)!r} in {text!r} should be written as a reference"
