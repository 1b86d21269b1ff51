"""Articles: what the facts say, in one of several wordings, then what was written for them alone.

An article in another language is hand-written as a whole.
"""

import zlib
from collections.abc import Mapping, Sequence

import yaml

from training.invented_world.wording import Text, fields_of, fill, join, look_up
from training.invented_world.world import FOLDER, Entity, World

Phrases = Mapping[str, Sequence[Sequence[str]]]


def load_phrases() -> Phrases:
    """Groups of sentences by kind."""
    loaded: Phrases = yaml.safe_load((FOLDER / "phrases.yaml").read_text(encoding="utf-8"))
    return loaded


def write_article(subject: Entity, phrases: Phrases, world: World) -> Text:
    """The text of an article, with the articles that it names."""
    if "text" in subject.facts:
        return fill(subject.facts["text"], subject, world)
    chosen = [
        _choose(group, f"{subject.id}:{at}", subject, world)
        for at, group in enumerate(phrases[subject.kind])
    ]
    sentences = [*filter(None, chosen), subject.facts["more"]]
    return join([fill(sentence, subject, world) for sentence in sentences])


def _choose(group: Sequence[str], draw: str, subject: Entity, world: World) -> str | None:
    """One of the sentences that say most; which one depends on `draw` alone."""
    said = {one: _facts_said(one, subject, world) for one in group}
    most = max(said.values())
    best = [one for one, count in said.items() if count == most]
    return best[zlib.crc32(draw.encode()) % len(best)] if most else None


def _facts_said(sentence: str, subject: Entity, world: World) -> int:
    """How many facts a sentence uses; 0 if the subject lacks one or would be named twice."""
    places = fields_of(sentence)
    values = [look_up(place, subject, world) for place in places]
    named = [value for value in values if isinstance(value, Entity)]
    if any(value in (None, ()) for value in values) or len(set(named)) < len(named):
        return 0
    roots = {place.removeprefix("a_").split(".")[0] for place in places}
    return len(roots & (set(subject.facts) | {"life", "country"})) + 2 * ("home" in roots)
