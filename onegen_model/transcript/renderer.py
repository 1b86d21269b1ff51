"""Text to ids: one `Template` bound to one tokenizer, the same for training and inference.

Each piece is tokenised by itself, so that no token spans the border between written and inserted
text.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onegen_model.errors import CheckpointError, InvalidInputError, PassageTooLongError
from onegen_model.events import Passage
from onegen_model.transcript import chat_template
from onegen_model.transcript.answer_frame import FrameSplitter
from onegen_model.transcript.template import Segment, Template
from onegen_model.transcript.text_checks import require_passage, require_question, require_text
from onegen_model.transcript.text_guard import TextGuard, encode
from onegen_model.transcript.tokens import TokenRoles, control_token_ids, token_id
from onegen_model.transcript.tool_calls import TAGS, split_calls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM, _USER, _REPLY, _NEXT = map(chat_template.sentinel, ("system", "q1", "a1", "q2"))


@dataclass(frozen=True, slots=True)
class Rendered:
    """Ids of a transcript; `written[i]` says whether the model writes id `i`."""

    ids: tuple[int, ...]
    written: tuple[bool, ...]
    query_positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Turns:
    """Template ids around the contents of a conversation, found by rendering sentinels."""

    opening: chat_template.Parts
    following: chat_template.Parts


class Renderer:
    """A `Template` bound to a tokenizer and to the longest passage of a checkpoint, in tokens.

    `end_ids` end an answer beside the template's own end token, for example those of the
    generation config. Raises CheckpointError for a tokenizer that lacks a token of the template,
    whose control tokens cannot be kept out of data, or whose chat template is broken.
    """

    def __init__(
        self,
        template: Template,
        tokenizer: "PreTrainedTokenizerBase",
        max_passage_tokens: int,
        end_ids: Collection[int] = (),
    ) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.max_passage_tokens = max_passage_tokens
        self._turns = None if template.prompt else _render_turns(template, tokenizer)
        emitted = "\n".join((chat_template.own_text(tokenizer), template.emitted))
        self.end_id = self._find_end_id(control_token_ids(tokenizer, emitted))
        self.roles = TokenRoles.of(
            tokenizer,
            template.tokens,
            end={self.end_id, *end_ids},
            reflection=template.reflection,
            tags=TAGS,
            emitted=emitted,
        )
        self.query_id, self.passage_id = self.roles.query, self.roles.passage
        before = template.before_query
        self.before_query = [token_id(tokenizer, before)] if before else []
        self.guard = TextGuard(tokenizer, self.roles.control)
        added = tokenizer.added_tokens_decoder
        self._control_strings = {added[at].content: at for at in self.roles.control & added.keys()}
        bos = tokenizer("", add_special_tokens=True).input_ids[:1]
        self._bos = [i for i in bos if i == tokenizer.bos_token_id]

    def _find_end_id(self, control: Collection[int]) -> int:
        first = self._turns.following[0] if self._turns else None
        if isinstance(first, tuple) and first and first[0] in control:
            return first[0]
        return int(self.tokenizer.eos_token_id)

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that no text of a user or a passage becomes; see `TokenRoles.control`."""
        return self.roles.control

    @property
    def forced_query(self) -> tuple[int, ...]:
        """Ids that retrieval "always" writes right after the prompt."""
        return (*self.before_query, self.query_id)

    @property
    def empty_frame(self) -> tuple[int, int]:
        """Ids that are inserted when nothing was found; raises CheckpointError, see
        `require_answers`."""
        start, end = self.roles.frame_start, self.roles.frame_end
        if start is None or end is None:
            raise CheckpointError(
                "This checkpoint links entities and answers no questions; expected one that "
                "does; load OneGenModel.from_pretrained(), or call `link`"
            )
        return (start, end)

    def require_answers(self) -> None:
        """Raise CheckpointError for a checkpoint that links entities and does nothing else."""
        _ = self.empty_frame

    def text_ids(self, text: str, *, continues: bool = False) -> list[int]:
        """Ids of plain text; raises InvalidInputError for anything else.

        `continues`: the text comes after other text, and gets no space in front that is not in it.
        """
        return self.guard.encode(require_text(text, "The text"), continues=continues)

    def has_control(self, text: str) -> bool:
        """Whether `text`, tokenised as the chat template's own text is, has a control token.

        A normaliser may build its string from other characters.
        """
        if any(content in text for content in self._control_strings):
            return True
        control = self.roles.control - {self.tokenizer.unk_token_id}
        return not control.isdisjoint(encode(self.tokenizer, text)["input_ids"])

    def question_ids(self, question: str) -> list[int]:
        """The prompt of a first turn; raises CheckpointError, see `require_answers`."""
        self.require_answers()
        return self.prompt_ids(question)

    def prompt_ids(self, text: str) -> list[int]:
        """The prompt of the template around a question, or around a text to link."""
        if self._turns is None:
            require_question(text)
            return self._around(self.template.prompt, "{question}", text)
        return self._fill(self._turns.opening, text)

    def next_question_ids(self, question: str, previous: Sequence[int]) -> list[int]:
        """Ids of a further question, to be put behind those of an earlier answer."""
        ids = self._fill(self.require_turns().following, question)
        if ids[0] == self.end_id == previous[-1]:
            return ids[1:]
        return ids

    def require_turns(self) -> _Turns:
        """The chat template's turns; raises InvalidInputError for a format of one question."""
        if self._turns is None:
            raise InvalidInputError(
                "The format of this checkpoint has a place for one question and no more; "
                "expected no history, no further message and no tools; ask the question alone"
            )
        return self._turns

    def _around(self, form: str, place: str, text: str) -> list[int]:
        """Ids of a form of the template with plain `text` in its place.

        Text between two control tokens is tokenised as one piece, as the original does.
        """
        control = self._control_strings
        longest_first = sorted(map(re.escape, control), key=len, reverse=True)
        ids: list[int] = []
        for piece in re.split(f"({'|'.join(longest_first)})", form):
            plain = piece.replace(place, text)
            ids += [control[piece]] if piece in control else self.text_ids(plain)
        return ids

    def _fill(self, parts: chat_template.Parts, question: str) -> list[int]:
        require_question(question)
        contents = {_SYSTEM: self.template.system, _USER: question, _NEXT: question}
        ids: list[int] = []
        for part in parts:
            ids += self.text_ids(contents[part]) if isinstance(part, str) else part
        return ids

    def own_ids(self, segment: Segment) -> list[int]:
        """Ids of written text: its own ids if they decode to the same text, else those of the text.

        The model may write a text in other tokens than the tokenizer; the caller may have changed
        it since.
        """
        ids = segment.ids
        if ids is not None and self._may_be_text(ids):
            written = self.tokenizer.decode([*ids], clean_up_tokenization_spaces=False)
            if self._meaning(str(written)) == self._meaning(require_text(segment.text, "The text")):
                return [*ids]
        return self.text_ids(segment.text)

    def _may_be_text(self, ids: Sequence[int]) -> bool:
        size = len(self.tokenizer)
        return all(
            isinstance(one, int) and 0 <= one < size and self.roles.is_text(one) for one in ids
        )

    def _meaning(self, text: str) -> object:
        """Equal for texts that differ only in the white space around their parts."""
        texts, calls = split_calls(text)
        plain = "\n".join(texts)
        frame = FrameSplitter(self.template.answer_start, self.template.answer_end)
        frame.feed(plain)
        return self.template.parse([plain]), frame.has_frame, frame.held, calls

    def inserted_ids(self, segment: Segment) -> list[int]:
        """Ids of the frames behind a query token; an empty one where nothing was found."""
        frames = [i for passage in segment.passages for i in self.frame_ids(passage)]
        return frames or list(self.empty_frame)

    def _body_ids(self, passage: Passage, *, is_short: bool = False) -> list[int]:
        """`is_short`: raise PassageTooLongError for more tokens than passages have in training."""
        ids = self.text_ids(self.template.passage_text(require_passage(passage)))
        if is_short and len(ids) > self.max_passage_tokens:
            raise PassageTooLongError(
                f"Passage {passage.id!r} has {len(ids)} tokens; expected at most "
                f"{self.max_passage_tokens}; split the document into shorter passages"
            )
        return ids

    def frame_ids(self, passage: Passage) -> tuple[int, ...]:
        """Ids of a passage, of any length, in its frame, as they are inserted."""
        start, end = self.empty_frame
        return (start, *self._body_ids(passage), end)

    def embed_ids(self, passage: Passage) -> list[int]:
        """Ids of a passage for its embedding, which is read at the last id."""
        ids = self._body_ids(passage, is_short=True)
        if self.template.embedded != "{passage}":
            text = self.template.passage_text(passage)
            ids = self._around(self.template.embedded, "{passage}", text)
        return [*self._bos, *ids, self.passage_id]

    def answer_ids(self, answer: str) -> tuple[int, ...]:
        """Ids of a whole answer: plain text in the answer frame, and the end token.

        Raises InvalidInputError for text that holds markup of the frame.
        """
        start, end, text = self.template.answer_start, self.template.answer_end, answer.strip()
        if found := [mark for mark in (start, end) if mark and mark in text]:
            raise InvalidInputError(
                f"An answer holds {found[0]!r}; expected text without markup; remove it"
            )
        return (*self.text_ids(f"{start} {text}{end}" if start else text), self.end_id)

    def query_ids(self, question: str) -> list[int]:
        """The prompt and a query token: hop 0 of retrieval "always"; read at the last id."""
        return [*self.question_ids(question), *self.forced_query]

    def transcript(
        self, question: str, segments: Sequence[Segment], prompt: Sequence[int] | None = None
    ) -> Rendered:
        """A whole, finished transcript, as training reads it; raises PassageTooLongError.

        `prompt` replaces the ids of the question where a conversation comes before the answer, see
        `conversation_ids`.
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
                for passage in segment.passages:
                    self._body_ids(passage, is_short=True)
                inserted = self.inserted_ids(segment)
            ids += own + inserted
            written += [True] * len(own) + [False] * len(inserted)
        return Rendered((*ids, self.end_id), (*written, True), tuple(queries))


def _render_turns(template: Template, tokenizer: "PreTrainedTokenizerBase") -> _Turns:
    """Render a two-turn conversation of sentinels and cut it at the contents."""
    turns: list[chat_template.Turn] = [("user", _USER), ("assistant", _REPLY), ("user", _NEXT)]
    if template.system:
        turns.insert(0, ("system", _SYSTEM))
    try:
        head, tail = chat_template.render(tokenizer, turns).split(_REPLY)
    except InvalidInputError as error:
        raise CheckpointError(
            "The chat template of the tokenizer cannot render a question, an answer and a second "
            "question; expected it to show each once, in order; correct it, or take that of the "
            "base model"
        ) from error
    return _Turns(chat_template.cut(tokenizer, head), chat_template.cut(tokenizer, tail))
