"""The facts of the world: read from facts/*.yaml, typed, and each reference resolved."""

import calendar
import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from training.invented_world.kinds import COMMON, FOLLOWS, KINDS

FOLDER = Path(__file__).parent
_MONTHS = tuple(calendar.month_name[1:])


class ContradictionError(ValueError):
    """Facts or texts that do not agree with each other."""


@dataclass(frozen=True, slots=True, order=True)
class Day:
    """A date, written "4 May 1921"."""

    date: datetime.date

    @property
    def year(self) -> int:
        return self.date.year

    @classmethod
    def parse(cls, text: str) -> "Day":
        day, month, year = text.split()
        return cls(datetime.date(int(year), _MONTHS.index(month) + 1, int(day)))

    def __str__(self) -> str:
        return f"{self.date.day} {_MONTHS[self.date.month - 1]} {self.date.year}"


@dataclass(frozen=True, slots=True, order=True)
class Number:
    """A count or a measure, written "1,210,000"."""

    value: int

    def __str__(self) -> str:
        return f"{self.value:,}"


@dataclass(eq=False, slots=True)
class Entity:
    """The subject of an article. `facts` hold entities, `Day`, `Number`, years and words."""

    id: str
    kind: str
    facts: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return str(self.facts["name"])

    @property
    def title(self) -> str:
        qualified = f"{self.name} ({self.facts['qual']})" if "qual" in self.facts else self.name
        return str(self.facts.get("title", qualified))

    @property
    def names(self) -> tuple[str, ...]:
        """What the entity may be called, without its qualifier."""
        last = [self.name.split()[-1]] if self.kind == "person" and " of " not in self.name else []
        named = [self.name, self.facts.get("title", ""), *self.facts.get("aliases", ()), *last]
        return tuple(dict.fromkeys(filter(None, named)))

    def get(self, name: str) -> Any:
        """A fact, given or following from another; None where there is none."""
        if name in self.facts:
            return self.facts[name]
        if path := FOLLOWS.get(self.kind, {}).get(name):
            return follow(self, path)
        return None


World = Mapping[str, Entity]


def follow(start: Entity, path: str) -> Any:
    """The fact at the end of a path such as `director.father.born`; None where there is none."""
    value: Any = start
    for name in filter(None, path.split(".")):
        if isinstance(value, Entity):
            value = getattr(value, name) if name in ("name", "title") else value.get(name)
        elif isinstance(value, Day) and name == "year":
            value = value.year
        else:
            return None
    return value


def slug(title: str) -> str:
    """A title as an id; the order of its words is kept."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower().replace("'", "")).strip("-")


def load_world(folder: Path = FOLDER / "facts") -> World:
    """All entities by id, in the order of the files; raises ContradictionError."""
    raw: dict[str, tuple[str, dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.yaml")):
        for kind, entries in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            for name, facts in entries.items():
                if name in raw:
                    raise ContradictionError(f"{file.name}: {name} occurs twice")
                raw[name] = (kind, facts)
    world = {name: Entity(name, kind) for name, (kind, _) in raw.items()}
    for name, (kind, facts) in raw.items():
        allowed = COMMON | KINDS[kind]
        for key, value in facts.items():
            if key not in allowed:
                raise ContradictionError(f"{name}: {kind} has no field {key!r}")
            world[name].facts[key] = _typed(value, allowed[key], world, f"{name}.{key}")
    for entity in list(world.values()):
        if spouse := entity.facts.get("spouse"):
            spouse.facts.setdefault("spouse", entity)
    return world


def _typed(value: Any, kind: str, world: World, where: str) -> Any:
    if kind == "winners":
        return tuple(
            (year, *(_named(one, {"person", "film", "work"}, world, where) for one in rest))
            for year, *rest in value
        )
    if kind.startswith("["):
        return tuple(_typed(one, kind[1:-1], world, where) for one in value)
    if kind == "date":
        return Day.parse(value)
    if kind == "year":
        return int(value)
    if kind == "number":
        return Number(value)
    kinds = set(kind.split("|"))
    if "words" in kinds and value not in world:
        return str(value)
    return _named(value, kinds, world, where)


def _named(value: str, kinds: set[str], world: World, where: str) -> Entity:
    if value not in world:
        raise ContradictionError(f"{where}: there is no article {value!r}")
    if world[value].kind not in kinds:
        raise ContradictionError(
            f"{where}: {value} is a {world[value].kind}; expected {sorted(kinds)}"
        )
    return world[value]


def references(entity: Entity) -> Iterator[tuple[str, Entity]]:
    """Every other entity that the facts name, with its field."""
    for name, value in entity.facts.items():
        for one in value if isinstance(value, tuple) else (value,):
            for item in one if isinstance(one, tuple) else (one,):
                if isinstance(item, Entity):
                    yield name, item
