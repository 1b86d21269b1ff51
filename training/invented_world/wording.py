"""Hand-written text with facts put in, and where each article's name came to be written.

`{field}` is a fact of the subject, `{a.b}` a fact of that fact, `{@id}` another article,
`{@id.field}` one of its facts. `{…|text}` writes other words for the same article, `{…|^}` begins
with a capital letter. `{a_field}` puts "a" or "an" in front. `{?|text}` names what has no article.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from training.invented_world.world import ContradictionError, Entity, World, follow

_PLACE = re.compile(r"\{([^{}|]+)(?:\|([^{}]*))?\}")
_GENDERED = {
    "He": ("He", "She"),
    "he": ("he", "she"),
    "His": ("His", "Her"),
    "his": ("his", "her"),
    "him": ("him", "her"),
    "son": ("son", "daughter"),
    "sister": ("brother", "sister"),
    "wife": ("wife", "husband"),
}


@dataclass(frozen=True, slots=True)
class Mention:
    """`surface` at [start, end) names the article `entity`; None if there is none."""

    start: int
    end: int
    surface: str
    entity: str | None


@dataclass(frozen=True, slots=True)
class Text:
    """Text with the names of articles in it."""

    text: str
    mentions: tuple[Mention, ...] = ()


class _Writer:
    def __init__(self) -> None:
        self.text = ""
        self.mentions: list[Mention] = []

    def write(self, value: Any, surface: str | None, world: World) -> None:
        start = len(self.text)
        if isinstance(value, Entity):
            self.text += surface if surface and surface != "^" else value.name
            self.mentions.append(
                Mention(start, len(self.text), self.text[start:], value.id),
            )
        elif isinstance(value, tuple):
            self._write_list(value, world)
        elif isinstance(value, str) and "{" in value:
            self.add(fill(value, None, world))
        else:
            self.text += str(value)
        if surface == "^":
            self.text = self.text[:start] + self.text[start:][:1].upper() + self.text[start + 1 :]

    def write_unknown(self, surface: str) -> None:
        start = len(self.text)
        self.text += surface
        self.mentions.append(Mention(start, len(self.text), surface, None))

    def _write_list(self, values: tuple[Any, ...], world: World) -> None:
        for at, value in enumerate(values):
            if at:
                self.text += " and " if at == len(values) - 1 else ", "
            if not isinstance(value, tuple):
                self.write(value, None, world)
                continue
            year, person, *works = value
            self.write(person, None, world)
            self.text += f" in {year}" if not works else f" ({year}, for "
            for work in works:
                self.write(work, None, world)
                self.text += ")"

    def add(self, other: Text) -> None:
        at = len(self.text)
        self.text += other.text
        self.mentions += [
            Mention(one.start + at, one.end + at, one.surface, one.entity) for one in other.mentions
        ]


def fields_of(sentence: str) -> list[str]:
    """What stands between the braces of a sentence."""
    return [found.group(1) for found in _PLACE.finditer(sentence)]


def literal(sentence: str) -> str:
    """A sentence without what is put in."""
    return _PLACE.sub("\0", sentence)


def look_up(place: str, subject: Entity | None, world: World) -> Any:
    """The value of a place; None where the facts have none."""
    if place.startswith("@"):
        name, _, path = place[1:].partition(".")
        if name not in world:
            raise ContradictionError(f"{{{place}}}: there is no article {name!r}")
        return follow(world[name], path)
    if subject is None:
        raise ContradictionError(f"{{{place}}}: there is no subject here")
    if place in _GENDERED:
        return _GENDERED[place][subject.facts["sex"] == "f"]
    if place in _SPECIAL:
        return _SPECIAL[place](subject)
    if place.startswith("a_"):
        value = look_up(place[2:], subject, world)
        return None if value is None else f"{_article(str(value))} {value}"
    return follow(subject, place)


def _life(person: Entity) -> str:
    born, died = person.facts["born"], person.facts.get("died")
    return f"{born} \N{EN DASH} {died}" if died else f"born {born}"


def _home(person: Entity) -> Entity | None:
    """The place of birth, if it is that of death as well."""
    home: Entity | None = person.facts.get("birthplace")
    return home if home is person.facts.get("deathplace") else None


_SPECIAL: Mapping[str, Callable[[Entity], Any]] = {
    "was": lambda one: "was" if "died" in one.facts else "is",
    "were": lambda one: "were" if "ended" in one.facts else "are",
    "The": lambda one: "" if "bare" in one.facts else "The ",
    "life": _life,
    "home": _home,
}


def _article(following: str) -> str:
    vowel = following[0].lower() in "aeio" or following.startswith(("11", "18", "8"))
    return "an" if vowel else "a"


def fill(sentence: str, subject: Entity | None, world: World) -> Text:
    """A sentence with everything put in; raises ContradictionError for a missing fact."""
    writer = _Writer()
    at = 0
    for found in _PLACE.finditer(sentence):
        writer.text += sentence[at : found.start()]
        place, surface = found.groups()
        if place == "?":
            writer.write_unknown(surface)
            at = found.end()
            continue
        if place.endswith(".title"):
            place = place.removesuffix(".title")
            surface = look_up(found.group(1), subject, world)
        value = look_up(place, subject, world)
        if value is None:
            raise ContradictionError(f"{sentence!r}: there is no fact {found.group(1)!r}")
        writer.write(value, surface, world)
        at = found.end()
    writer.text += sentence[at:]
    return Text(writer.text, tuple(writer.mentions))


def join(texts: list[Text], separator: str = " ") -> Text:
    """Texts one after the other."""
    writer = _Writer()
    for at, text in enumerate(texts):
        writer.text += separator if at else ""
        writer.add(text)
    return Text(writer.text, tuple(writer.mentions))
