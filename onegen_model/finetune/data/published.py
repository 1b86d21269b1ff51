"""The files of the published OneGen data sets: train.jsonl and db.jsonl of all three tasks.

A conversation becomes a TrainingExample, so that training reads the same ids as inference:

* the task's prompt around the question and the `</s>` at the end are removed;
* `<paragraph>…</paragraph>` after a query token is the inserted passage, with the text of the file;
  without one, or with `[_CONTINUE_]` of entity linking, the frame is empty;
* `positive` and `negative` name documents (`uid`: its first fragment) or fragments (`uid-k`); a
  null positive trains the language model alone;
* other tokens of the format, such as `[Relevant]` or `<MENTION>`, are text.

Fragment k of a document is embedded with all fragments before it, as in the original. The original
ignores negatives of the form `uid-k` and draws others; here they count. The instruction that its
entity linking puts before a document is not known, and is kept as part of the text.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, Strict

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
from onegen_model.finetune.data.records import (
    ABSENT,
    Expected,
    Format,
    Name,
    Record,
    Shape,
    Text,
    problem_at,
)
from onegen_model.jsonl import JsonLines, Numbered, Problem

_QUERY = re.compile(r"\[Question Representation\]|\[LK\]")
_DOCUMENT_TOKENS = ("[Document Fragment Representation]", "[SE]")
_FRAME = re.compile(r"<paragraph>(.*?)</paragraph>", re.DOTALL)
_LINKED = "[_CONTINUE_]"
_END = "</s>"
_TITLED = re.compile(r"wiki title: (.*?)\ncontent: (.*)", re.DOTALL)
# The text before and after a question, for every published format.
_PROMPTS = tuple(preset.prompt.split("{question}") for preset in PRESETS.values())


class Message(Record):
    """A message; `positive` and `negative` belong to the query tokens of a reply."""

    role: Annotated[str, Strict(), Expected("user or assistant")] = ABSENT
    content: Text = ABSENT
    positive: Any = None
    negative: Any = None


def _in_turn(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Messages of user and assistant in turn."""
    if not messages or len(messages) % 2:
        raise ValueError
    for number, message in enumerate(messages):
        if message.role != (role := ("user", "assistant")[number % 2]):
            raise problem_at(f"[{number}].role", f"expected {role}")
    return messages


def _of_tokens(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Messages in which each reply is one token of a document."""
    for number, message in enumerate(messages):
        if number % 2 and message.content not in _DOCUMENT_TOKENS:
            expected = f"expected one of {' '.join(_DOCUMENT_TOKENS)} and no more"
            raise problem_at(f"[{number}].content", expected)
    return messages


class DocumentRecord(Record):
    """A line of db.jsonl; the messages of its user are the fragments."""

    uid: Name = ABSENT
    messages: Annotated[
        tuple[Message, ...],
        AfterValidator(_in_turn),
        Expected("user and assistant in turn"),
        AfterValidator(_of_tokens),
    ] = ABSENT


class ConversationRecord(Record):
    """A line of train.jsonl."""

    messages: Annotated[
        tuple[Message, ...],
        Field(max_length=2),
        AfterValidator(_in_turn),
        Expected("one message of the user and one of the assistant"),
    ] = ABSENT


_DOCUMENT = Shape[DocumentRecord](DocumentRecord)
_CONVERSATION = Shape[ConversationRecord](ConversationRecord)


class Documents(Mapping[str, Passage]):
    """db.jsonl: passages by `uid` (first fragment) and `uid-k`, read from disk on access."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self.path = lines.path
        # uid -> (line, number of fragments)
        self._found: dict[str, tuple[int, int]] = {}
        for number, plain in enumerate(lines):
            if problem := next(_DOCUMENT.problems(plain), None):
                raise InvalidInputError(f"{lines.where(number)}: {problem}; correct the line")
            self._found[str(plain["uid"])] = (number, len(plain["messages"]) // 2)

    def canonical(self, ref: str) -> str | None:
        """The canonical name of a fragment: `uid` for the first, else `uid-k`; None if unknown."""
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
    """Title and text; the title is empty if the text marks none."""
    found = _TITLED.fullmatch(text)
    return (found[1], found[2]) if found else ("", text)


class Conversations:
    """train.jsonl, whose positives and negatives name `documents`."""

    form: Format = "published"

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        if found := list(_CONVERSATION.problems(plain)):
            yield from found
        else:
            yield from self._target_problems(plain["messages"][1], "messages[1]")

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
            yield Problem(
                f"{where}.content",
                "a <paragraph> that does not follow a query token; expected it there",
            )

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
    """The passages in the frames at the start of a text, and the rest of it."""
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
