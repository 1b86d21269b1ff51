"""The published train.jsonl of entity linking: texts written again with their mentions linked.

    [INST] … TEST TEXT:\\nAdams wrote it. [/INST]
    <MENTION>Adams</MENTION>[LK][_CONTINUE_] wrote it.</s>

A conversation becomes a LinkingExample, so that training reads the same ids as inference:

* the text is that of the prompt, and the reply without its tags has to be the same text; white
  space around it may differ. Of a prompt in other words it has to be a part;
* white space at the ends of a mention is left outside of it;
* the replies mark every mention, so that the rest of a text is learnt as well;
* `positive` and `negative` name entities for each link token; of several positives one is drawn at
  a time, and a null positive trains the marking alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from onegen_model.checkpoint.presets import (
    CONTINUE_TOKEN,
    ENTITY_LINKING,
    LINK_TOKEN,
    MENTION_TAGS,
)
from onegen_model.events import Passage
from onegen_model.finetune.data.examples import RetrievalTarget
from onegen_model.finetune.data.linking import LinkingExample
from onegen_model.finetune.data.published import (
    END,
    conversation_problems,
    links_entities,
    named_refs,
    target_problems,
    without_prompt,
)
from onegen_model.finetune.data.records import Format
from onegen_model.jsonl import Numbered, Problem
from onegen_model.transcript.text_tokens import Range

_OPEN, _CLOSE, _LINK = (re.escape(one) for one in (*MENTION_TAGS, LINK_TOKEN))
_MENTION = re.compile(
    rf"{_OPEN}(?P<surface>.*?){_CLOSE}{_LINK}(?:{re.escape(CONTINUE_TOKEN)})?", re.DOTALL
)
_SHOWN = 30


@dataclass(frozen=True, slots=True)
class _Written:
    """A reply without its tags, and where its mentions are in it."""

    text: str
    mentions: tuple[Range, ...]

    @classmethod
    def read(cls, reply: str) -> "_Written":
        parts: list[str] = []
        mentions = []
        done = length = 0
        for found in _MENTION.finditer(reply):
            parts += [reply[done : found.start()], found["surface"]]
            length += found.start() - done
            bare = found["surface"].lstrip()
            start = length + len(found["surface"]) - len(bare)
            mentions.append((start, start + len(bare.rstrip())))
            length += len(found["surface"])
            done = found.end()
        return cls("".join([*parts, reply[done:]]), tuple(mentions))

    def inside(self, text: str) -> "_Written":
        """The mentions in `text`, which is the same but for the white space around it."""
        shift = _indent(text) - _indent(self.text)
        return _Written(text, tuple((start + shift, end + shift) for start, end in self.mentions))


class LinkedConversations:
    """The records of a train.jsonl whose positives and negatives name `entities`."""

    form: Format = "entity_linking"

    def __init__(self, entities: Mapping[str, Passage]) -> None:
        self._entities = entities

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        if found := list(conversation_problems(plain)):
            yield from found
            return
        asked, reply = plain["messages"]
        if not links_entities(plain):
            expected = f"expected mentions with {LINK_TOKEN}; questions are `format: published`"
            yield Problem("messages[1].content", f"no mentions; {expected}")
            return
        yield from _text_problems(asked["content"], reply["content"])
        yield from target_problems(reply, reply["content"].count(LINK_TOKEN), self._entities)

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        return [[number] for number, _ in sound]

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> LinkingExample:
        asked, reply = plain[0]["messages"]
        written = _Written.read(reply["content"].removesuffix(END))
        text = without_prompt(asked["content"], ENTITY_LINKING)
        if text is None:
            text = written.text.strip()
        found = written.inside(text)
        targets = zip(reply["positive"], reply["negative"], strict=True)
        return LinkingExample(
            name,
            text,
            found.mentions,
            tuple(
                RetrievalTarget(tuple(named_refs(positive)), tuple(named_refs(negative)))
                for positive, negative in targets
            ),
        )


def _text_problems(asked: str, reply: str) -> Iterator[Problem]:
    where = "messages[1].content"
    written = _Written.read(reply.removesuffix(END))
    for number, (start, end) in enumerate(written.mentions):
        if start == end:
            yield Problem(where, f"mention {number} is blank; expected the characters of a name")
    if len(written.mentions) != reply.count(LINK_TOKEN):
        yield Problem(
            where, f"a {LINK_TOKEN} that does not follow {MENTION_TAGS[1]}; expected it there"
        )
        return
    text = without_prompt(asked, ENTITY_LINKING)
    if not written.text.strip():
        yield Problem(where, "a text that is blank; expected some text")
    elif text is None:
        if written.text.strip() not in asked:
            what = "the text without its tags is not in the prompt; expected the same text"
            yield Problem(where, what)
    elif (at := _first_difference(text.strip(), written.text.strip())) is not None:
        one, other = (
            body.strip()[at : at + _SHOWN] or "nothing more" for body in (text, written.text)
        )
        at += _indent(text)
        yield Problem(
            where,
            f"without its tags it differs from the text of the prompt at character {at}: "
            f"{other!r}; expected {one!r}, as in the prompt",
        )


def _first_difference(one: str, other: str) -> int | None:
    """The first place where two texts differ; None where they are the same."""
    pairs = enumerate(zip_longest(one, other))
    return next((at for at, (left, right) in pairs if left != right), None)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())
