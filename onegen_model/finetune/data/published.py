"""The files of the published OneGen data sets: train.jsonl and db.jsonl of all three tasks.

A conversation becomes a TrainingExample, so that training sees what our inference writes:

* the task's prompt around the question is taken off, and `</s>` from the end;
* `<paragraph>…</paragraph>` behind a query token is what was inserted there, as it stands in the
  file; without one, or with entity linking's `[_CONTINUE_]`, an empty frame is;
* `positive` and `negative` name documents (`uid`: its first fragment) or fragments (`uid-k`); a
  null positive trains the language model alone;
* other tokens of theirs, such as `[Relevant]` or `<MENTION>`, are text.

Fragment k of a document is embedded with all that stands before it, as theirs is. The original
ignores negatives that are written `uid-k` and takes others; here they count. The instruction that
its entity linking puts in front of a document is not known, and stays where it is.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from onegen_model.checkpoint.presets import DOCUMENT_PROMPT, PRESETS
from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.finetune.data.examples import (
    PassageRef,
    RetrievalTarget,
    TrainingExample,
    TrainingSegment,
    inline_passage,
)
from onegen_model.jsonl import JsonLines, Numbered, Problem

_QUERY = re.compile(r"\[Question Representation\]|\[LK\]")
_DOCUMENT_TOKENS = ("[Document Fragment Representation]", "[SE]")
_FRAME = re.compile(r"<paragraph>(.*?)</paragraph>", re.DOTALL)
_LINKED = "[_CONTINUE_]"
_END = "</s>"
_TITLED = re.compile(r"wiki title: (.*?)\ncontent: (.*)", re.DOTALL)
# What stands before and behind a question, of every published format.
_PROMPTS = tuple(preset.prompt.split("{question}") for preset in PRESETS.values())


class Documents(Mapping[str, Passage]):
    """db.jsonl: passages by `uid` (first fragment) and `uid-k`, read from disk when asked for."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self.path = lines.path
        # uid -> (line, number of fragments)
        self._found: dict[str, tuple[int, int]] = {}
        for number, plain in enumerate(lines):
            if problem := next(document_problems(plain), None):
                raise InvalidInputError(f"{lines.where(number)}: {problem}; mend the line")
            self._found[str(plain["uid"])] = (number, len(plain["messages"]) // 2)

    def canonical(self, ref: str) -> str | None:
        """The one name of a fragment: `uid` for the first, else `uid-k`; None without one."""
        if ref in self._found:
            return ref
        uid, _, fragment = ref.rpartition("-")
        if uid not in self._found or not fragment.isdecimal():
            return None
        number = int(fragment)
        if number >= self._found[uid][1]:
            return None
        return f"{uid}-{number}" if number else uid

    def __getitem__(self, name: str) -> Passage:
        found = self.canonical(name)
        if found is None:
            raise KeyError(name)
        uid, fragment = (found, 0)
        if found not in self._found:
            uid, _, number = found.rpartition("-")
            fragment = int(number)
        messages = self._lines[self._found[uid][0]]["messages"]
        read = "".join(message["content"] for message in messages[: 2 * fragment + 1 : 2])
        title, text = _split_title(read.removeprefix(DOCUMENT_PROMPT))
        return Passage(found, text, title)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.canonical(name) is not None

    def __iter__(self) -> Iterator[str]:
        for uid, (_, count) in self._found.items():
            yield from (f"{uid}-{k}" if k else uid for k in range(count))

    def __len__(self) -> int:
        return sum(count for _, count in self._found.values())


def _split_title(text: str) -> tuple[str, str]:
    """Title (empty: none is marked) and text; rendered again they read title, newline, text."""
    found = _TITLED.fullmatch(text)
    return (found[1], found[2]) if found else ("", text)


def document_problems(plain: Mapping[str, Any]) -> Iterator[Problem]:
    """What keeps a record of db.jsonl from being a document."""
    if not isinstance(plain.get("uid"), str | int):
        yield Problem("uid", "expected a text or a number")
    yield from _message_problems(plain.get("messages"), "user and assistant in turn")
    for number, message in _messages_of(plain, "assistant"):
        if message["content"] not in _DOCUMENT_TOKENS:
            where = f"messages[{number}].content"
            yield Problem(where, f"expected one of {' '.join(_DOCUMENT_TOKENS)} and no more")


def _message_problems(messages: Any, expected: str) -> Iterator[Problem]:
    if not isinstance(messages, list) or not messages or len(messages) % 2:
        yield Problem("messages", f"expected {expected}")
        return
    for number, message in enumerate(messages):
        role = ("user", "assistant")[number % 2]
        if not isinstance(message, dict) or message.get("role") != role:
            yield Problem(f"messages[{number}].role", f"expected {role}")
        elif not isinstance(message.get("content"), str):
            yield Problem(f"messages[{number}].content", "expected a text")


def _messages_of(plain: Mapping[str, Any], role: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    messages = plain.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else []):
        if (
            isinstance(message, dict)
            and message.get("role") == role
            and isinstance(message.get("content"), str)
        ):
            yield number, message


class Conversations:
    """train.jsonl, whose positives and negatives are found in `documents`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        expected = "one message of the user and one of the assistant"
        yield from _message_problems(plain.get("messages"), expected)
        messages = plain.get("messages")
        if isinstance(messages, list) and len(messages) > 2:
            yield Problem("messages", f"expected {expected}")
        for number, message in _messages_of(plain, "assistant"):
            yield from self._target_problems(message, f"messages[{number}]")

    def _target_problems(self, message: Mapping[str, Any], where: str) -> Iterator[Problem]:
        pieces = _QUERY.split(message["content"])
        count = len(pieces) - 1
        for name in ("positive", "negative"):
            values = message.get(name)
            if not isinstance(values, list) or len(values) != count:
                yield Problem(f"{where}.{name}", f"expected one entry for each of {count} queries")
                continue
            for number, refs in enumerate(values):
                for ref in _refs(refs):
                    if self._documents.canonical(ref) is None:
                        at = f"{where}.{name}[{number}]"
                        yield Problem(at, f"no {ref!r} in {self._documents.path}; expected an id")
        rests = [pieces[0], *(_split_frames(piece)[1] for piece in pieces[1:])]
        if any("<paragraph>" in rest or "</paragraph>" in rest for rest in rests):
            yield Problem(f"{where}.content", "a <paragraph> that is not right behind a query")

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        return [[number] for number, _ in sound]

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> TrainingExample:
        asked, reply = plain[0]["messages"]
        pieces = _QUERY.split(reply["content"].removesuffix(_END))
        text, segments = pieces[0], []
        refs = zip(pieces[1:], reply["positive"], reply["negative"], strict=True)
        for piece, positive, negative in refs:
            inserted, rest = _split_frames(piece)
            target = RetrievalTarget(self._ids(positive), self._ids(negative), inserted)
            segments.append(TrainingSegment(text, target))
            text = rest
        return TrainingExample(
            name, _question(asked["content"]), (*segments, TrainingSegment(text))
        )

    def _ids(self, refs: Any) -> tuple[PassageRef, ...]:
        found = (self._documents.canonical(ref) for ref in _refs(refs))
        return tuple(dict.fromkeys(name for name in found if name is not None))


def _refs(plain: Any) -> list[str]:
    """A scalar, a list with nulls in it, or null."""
    values = plain if isinstance(plain, list) else [plain]
    return [str(value) for value in values if value is not None]


def _split_frames(text: str) -> tuple[tuple[PassageRef, ...], str]:
    """What stands in frames at the start of a text, and the rest."""
    inserted: list[PassageRef] = []
    text = text.removeprefix(_LINKED)
    while found := _FRAME.match(text):
        if found[1].strip():
            inserted.append(inline_passage(*_split_title(found[1])))
        text = text[found.end() :]
    return tuple(inserted), text


def _question(content: str) -> str:
    """The content without the prompt of its task."""
    for before, behind in _PROMPTS:
        if content.startswith(before) and content.endswith(behind):
            return content[len(before) : len(content) - len(behind)]
    return content
