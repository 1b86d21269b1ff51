"""The only place where text becomes ids: one `Template` bound to one tokenizer.

Training and inference use the same functions. Each piece is tokenised on its own, so that no token
spans the border between written and inserted text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onegen_model.errors import InvalidInputError, PassageTooLongError
from onegen_model.events import Passage
from onegen_model.transcript import chat_template
from onegen_model.transcript.template import Segment, Template
from onegen_model.transcript.tokens import TextGuard, token_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM, _USER, _REPLY, _NEXT = map(chat_template.sentinel, ("system", "q1", "a1", "q2"))


@dataclass(frozen=True, slots=True)
class Rendered:
    """Ids of a transcript; `written[i]` tells whether id `i` is the model's own."""

    ids: tuple[int, ...]
    written: tuple[bool, ...]
    query_positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Turns:
    """Template ids around the contents of a conversation, found by rendering sentinels."""

    opening: chat_template.Parts
    following: chat_template.Parts


class Renderer:
    """A `Template` bound to a tokenizer and to the longest passage of a checkpoint, in tokens."""

    def __init__(
        self, template: Template, tokenizer: "PreTrainedTokenizerBase", max_passage_tokens: int
    ) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.max_passage_tokens = max_passage_tokens
        tokens = template.tokens
        self.query_id = token_id(tokenizer, tokens.query)
        self.passage_id = token_id(tokenizer, tokens.passage)
        self._start_id = token_id(tokenizer, tokens.passage_start)
        self._end_id = token_id(tokenizer, tokens.passage_end)
        self.reflection_ids = frozenset(token_id(tokenizer, one) for one in template.reflection)
        before = template.before_query
        self.before_query = [token_id(tokenizer, before)] if before else []
        self._guard = TextGuard(tokenizer)
        self._turns = None if template.prompt else _render_turns(template, tokenizer)
        self.end_id = self._find_end_id()
        bos = tokenizer("", add_special_tokens=True).input_ids[:1]
        self._bos = [i for i in bos if i == tokenizer.bos_token_id]

    def _find_end_id(self) -> int:
        first = self._turns.following[0] if self._turns else None
        if isinstance(first, tuple) and first and first[0] in self.control_ids:
            return first[0]
        return int(self.tokenizer.eos_token_id)

    @property
    def control_ids(self) -> frozenset[int]:
        """All added tokens of the tokenizer: no text of a user or a passage becomes one."""
        return self._guard.control_ids

    def is_text(self, token_id: int) -> bool:
        """Whether a written token shows in the text."""
        return token_id not in self.control_ids and token_id != self.end_id

    @property
    def forced_query(self) -> tuple[int, ...]:
        """What retrieval "always" writes right after the prompt."""
        return (*self.before_query, self.query_id)

    @property
    def empty_frame(self) -> tuple[int, ...]:
        """What is inserted when nothing was found."""
        return (self._start_id, self._end_id)

    def text_ids(self, text: str) -> list[int]:
        """Ids of plain text."""
        return self._guard.encode(text)

    def question_ids(self, question: str) -> list[int]:
        """The prompt of a first turn."""
        if self._turns is None:
            require_question(question)
            return self._around(self.template.prompt, "{question}", question)
        return self._fill(self._turns.opening, question)

    def next_question_ids(self, question: str, previous: Sequence[int]) -> list[int]:
        """What follows the ids of an earlier answer when the user asks on."""
        ids = self._fill(self.require_turns().following, question)
        if ids[0] == self.end_id == previous[-1]:
            return ids[1:]
        return ids

    def require_turns(self) -> _Turns:
        """Raise InvalidInputError where the template has a place for one question and no more."""
        if self._turns is None:
            raise InvalidInputError(
                "The format of this checkpoint has a place for one question and no more; expected "
                "no history, no further message and no tools; ask the question alone"
            )
        return self._turns

    def _around(self, form: str, place: str, text: str) -> list[int]:
        """Ids of a form of the template with plain `text` in its place.

        What stands between two control tokens is tokenised as one text, as the original does.
        """
        added = {token.content: at for at, token in self.tokenizer.added_tokens_decoder.items()}
        longest_first = sorted(map(re.escape, added), key=len, reverse=True)
        ids: list[int] = []
        for piece in re.split(f"({'|'.join(longest_first)})", form):
            plain = piece.replace(place, text)
            ids += [added[piece]] if piece in added else self.text_ids(plain)
        return ids

    def _fill(self, parts: chat_template.Parts, question: str) -> list[int]:
        require_question(question)
        contents = {_SYSTEM: self.template.system, _USER: question, _NEXT: question}
        ids: list[int] = []
        for part in parts:
            ids += self.text_ids(contents[part]) if isinstance(part, str) else part
        return ids

    def own_ids(self, segment: Segment) -> list[int]:
        """Ids of what was written: those it carries while they say its text, else its text's.

        A text may have been written in other tokens than it is tokenised in; whoever hands it
        back may have changed it.
        """
        if segment.ids is not None and self.control_ids.isdisjoint(segment.ids):
            text = self.tokenizer.decode(list(segment.ids), clean_up_tokenization_spaces=False)
            if self.template.parse([str(text)]) == self.template.parse([segment.text]):
                return list(segment.ids)
        return self.text_ids(segment.text)

    def inserted_ids(self, segment: Segment) -> list[int]:
        """Ids of the frames behind a query token; an empty one where nothing was found."""
        frames = [i for passage in segment.passages for i in self.frame_ids(passage)]
        return frames or list(self.empty_frame)

    def _body_ids(self, passage: Passage) -> list[int]:
        ids = self.text_ids(self.template.passage_text(passage))
        if not passage.text.strip():
            raise InvalidInputError(
                f"Passage {passage.id!r} is empty; expected some text; leave it out"
            )
        if len(ids) > self.max_passage_tokens:
            raise PassageTooLongError(
                f"Passage {passage.id!r} has {len(ids)} tokens; expected at most "
                f"{self.max_passage_tokens}; split the document into shorter passages"
            )
        return ids

    def frame_ids(self, passage: Passage) -> tuple[int, ...]:
        """A passage as it stands in the context."""
        return (self._start_id, *self._body_ids(passage), self._end_id)

    def embed_ids(self, passage: Passage) -> list[int]:
        """A passage as it is embedded: the vector is read at the last id."""
        ids = self._body_ids(passage)
        if self.template.embedded != "{passage}":
            text = self.template.passage_text(passage)
            ids = self._around(self.template.embedded, "{passage}", text)
        return [*self._bos, *ids, self.passage_id]

    def query_ids(self, question: str) -> list[int]:
        """The prompt and a query token: hop 0 of retrieval "always"; read at the last id."""
        return [*self.question_ids(question), *self.forced_query]

    def transcript(
        self, question: str, segments: Sequence[Segment], prompt: Sequence[int] | None = None
    ) -> Rendered:
        """A whole, finished transcript, as training sees it and inference produces it.

        `prompt` stands for the question where more than it is asked, see `conversation_ids`.
        """
        ids = self.question_ids(question) if prompt is None else list(prompt)
        written = [False] * len(ids)
        queries = []
        for segment in segments:
            own = self.own_ids(segment)
            inserted: list[int] = []
            if segment.retrieves:
                own.append(self.query_id)
                queries.append(len(ids) + len(own) - 1)
                inserted = self.inserted_ids(segment)
            ids += own + inserted
            written += [True] * len(own) + [False] * len(inserted)
        return Rendered((*ids, self.end_id), (*written, True), tuple(queries))


def require_question(question: str) -> None:
    """Raise InvalidInputError where there is nothing to answer."""
    if not question.strip():
        raise InvalidInputError("The question is empty; expected some text; write one")


def _render_turns(template: Template, tokenizer: "PreTrainedTokenizerBase") -> _Turns:
    """Render a two-turn conversation of sentinels and cut it at the contents."""
    turns: list[chat_template.Turn] = [("user", _USER), ("assistant", _REPLY), ("user", _NEXT)]
    if template.system:
        turns.insert(0, ("system", _SYSTEM))
    head, tail = chat_template.render(tokenizer, turns).split(_REPLY)
    return _Turns(chat_template.cut(tokenizer, head), chat_template.cut(tokenizer, tail))
