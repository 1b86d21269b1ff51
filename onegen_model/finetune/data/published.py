"""The files of the published OneGen data sets: db.jsonl of all three tasks, train.jsonl of two.

For train.jsonl of entity linking see `published_linking`. A conversation becomes a TrainingExample,
so that training reads the same ids as inference:

* the task's prompt around the question and the `</s>` at the end are removed;
* `<paragraph>…</paragraph>` after a query token is the inserted passage, with the text of the file;
  without one the frame is empty;
* `positive` and `negative` name documents (`uid`: its first fragment) or fragments (`uid-k`); a
  null positive trains the language model alone;
* other tokens of the format, such as `[Relevant]`, are text.

Fragment k of a document is embedded with all fragments before it, as in the original. The original
ignores negatives of the form `uid-k` and draws others; here they count. The instruction that its
entity linking puts before an entity is not known, and is kept as part of the text.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, Strict

from onegen_model.checkpoint.presets import (
    DOCUMENT_PROMPT,
    ENTITY_LINKING,
    ENTITY_TOKEN,
    LINK_TOKEN,
    PRESETS,
    Preset,
)
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

_QUERY = re.compile(r"\[Question Representation\]")
_DOCUMENT_TOKENS = ("[Document Fragment Representation]", ENTITY_TOKEN)
_FRAME = re.compile(r"<paragraph>(.*?)</paragraph>", re.DOTALL)
END = "</s>"
_TITLED = re.compile(r"wiki title: (.*?)\ncontent: (.*)", re.DOTALL)


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
        if found := list(conversation_problems(plain)):
            yield from found
            return
        reply, where = plain["messages"][1], "messages[1].content"
        if links_entities(plain):
            expected = "expected a question and its answer; use `format: entity_linking`"
            yield Problem(where, f"a text whose mentions are linked; {expected}")
            return
        pieces = _QUERY.split(reply["content"])
        yield from target_problems(reply, len(pieces) - 1, self._documents)
        rests = [pieces[0], *(_split_frames(piece)[1] for piece in pieces[1:])]
        if any("<paragraph>" in rest or "</paragraph>" in rest for rest in rests):
            yield Problem(
                where, "a <paragraph> that does not follow a query token; expected it there"
            )

    def groups(self, sound: Iterable[Numbered]) -> Sequence[Sequence[int]]:
        return [[number] for number, _ in sound]

    def parse(self, plain: Sequence[Mapping[str, Any]], name: str) -> TrainingExample:
        asked, reply = plain[0]["messages"]
        pieces = _QUERY.split(reply["content"].removesuffix(END))
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
        found = (self._documents.canonical(ref) for ref in named_refs(refs))
        return tuple(dict.fromkeys(name for name in found if name is not None))


def conversation_problems(plain: Mapping[str, Any]) -> Iterator[Problem]:
    """The problems of the shape of a line of train.jsonl, of any task."""
    return _CONVERSATION.problems(plain)


def links_entities(plain: Mapping[str, Any]) -> bool:
    """Whether a sound line of train.jsonl is one of entity linking."""
    asked, reply = plain["messages"]
    is_prompt = without_prompt(asked["content"], ENTITY_LINKING) is not None
    return is_prompt or LINK_TOKEN in reply["content"]


def target_problems(
    reply: Mapping[str, Any], count: int, passages: Mapping[str, Passage]
) -> Iterator[Problem]:
    """The problems of the positives and negatives of `count` query tokens."""
    for name in ("positive", "negative"):
        values = reply.get(name)
        where = f"messages[1].{name}"
        if not isinstance(values, list) or len(values) != count:
            yield Problem(where, f"expected one entry for each of {count} queries")
            continue
        for number, refs in enumerate(values):
            for ref in named_refs(refs):
                if ref not in passages:
                    what = f"no {ref!r} in the corpus; expected an id of it"
                    yield Problem(f"{where}[{number}]", what)


def named_refs(plain: Any) -> list[str]:
    """The ids of a scalar, of a list with nulls in it, or of null."""
    values = plain if isinstance(plain, list) else [plain]
    return [str(value) for value in values if value is not None]


def _split_frames(text: str) -> tuple[tuple[PassageRef, ...], str]:
    """The passages in the frames at the start of a text, and the rest of it."""
    inserted: list[PassageRef] = []
    while found := _FRAME.match(text):
        if found[1].strip():
            inserted.append(inline_passage(*_split_title(found[1])))
        text = text[found.end() :]
    return tuple(inserted), text


def without_prompt(content: str, preset: Preset) -> str | None:
    """The content without the prompt of a task; None where it has another."""
    before, behind = preset.prompt.split("{question}")
    if not (content.startswith(before) and content.endswith(behind)):
        return None
    return content[len(before) : len(content) - len(behind)]


def _question(content: str) -> str:
    """The content without the prompt of its task."""
    found = (without_prompt(content, preset) for preset in PRESETS.values())
    return next((one for one in found if one is not None), content)
