"""Strings of the transcript, and the parser of written text.

    {prompt by the tokenizer's chat template}
    {sub-question}[RQ]<paragraph>title\\ntext</paragraph>…{short answer}\\n     one line per hop
    <FINAL-ANSWER>{answer}</FINAL-ANSWER>{end}

A `Template` holds every string; `renderer` turns text into ids with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from onegen_model.errors import InvalidInputError
from onegen_model.events import Passage
from onegen_model.transcript.answer_frame import FrameSplitter, split_frame
from onegen_model.transcript.linking_format import LinkingFormat
from onegen_model.transcript.tokens import ControlTokens

FrameState = Literal["none", "open", "closed"]

# Fields added later are in the JSON form only where they differ from these values, so that older
# fingerprints stay the same.
_LATER: Mapping[str, object] = {
    "prompt": "",
    "titled": "{title}\n{text}",
    "embedded": "{passage}",
    "before_query": "",
    "reflection": (),
    "linking": None,
}


@dataclass(frozen=True, slots=True)
class Template:
    """Every string of the transcript. Published formats are other instances of this class.

    `prompt` surrounds the question (`{question}`) in place of the tokenizer's chat template; a
    conversation then has one question, and `system` is not used. `titled` is a passage with a
    title, `embedded` surrounds any passage (`{passage}`) that is embedded. The strings of control
    tokens in `prompt` and `embedded` become control tokens. `reflection` are further tokens that
    the model may write and that are not text; `before_query` is the one before a forced query
    token. `linking` is set where the checkpoint links entities; one without frame tokens does
    nothing else, and its `prompt` is that of linking.
    """

    tokens: ControlTokens = field(default_factory=ControlTokens)
    system: str = "Search, then answer."
    answer_start: str = "<FINAL-ANSWER>"
    answer_end: str = "</FINAL-ANSWER>"
    prompt: str = ""
    titled: str = "{title}\n{text}"
    embedded: str = "{passage}"
    before_query: str = ""
    reflection: tuple[str, ...] = ()
    linking: LinkingFormat | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInputError for a form that would leave out its text."""
        prompt = self.prompt or "{question}"
        forms = {"{question}": prompt, "{text}": self.titled, "{passage}": self.embedded}
        for place, form in forms.items():
            if place not in form:
                raise InvalidInputError(
                    f"A form of the template is {form!r}; expected {place} in it; add it"
                )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form kept in a checkpoint."""
        linking = self.linking.to_dict() if self.linking else None
        plain = {**asdict(self), "tokens": self.tokens.to_dict(), "linking": linking}
        return {name: value for name, value in plain.items() if _LATER.get(name) != value}

    def with_linking(self) -> "Template":
        """The same template, with a format of entity linking where it has none."""
        return self if self.linking else replace(self, linking=LinkingFormat())

    def passage_text(self, passage: Passage) -> str:
        """A passage as it is read, without its frame."""
        if not passage.title:
            return passage.text
        return self.titled.format(title=passage.title, text=passage.text)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Template":
        """Inverse of `to_dict`."""
        reflection = tuple(plain.get("reflection", ()))
        tokens = ControlTokens(**plain["tokens"])
        linking = LinkingFormat(**plain["linking"]) if plain.get("linking") else None
        parts = {"tokens": tokens, "reflection": reflection, "linking": linking}
        return cls(**{**plain, **parts})

    @property
    def added_tokens(self) -> dict[str, str]:
        """The tokens that a checkpoint adds to its base; see `initialise_rows` for the words."""
        return self.tokens.described | (self.linking.added_tokens if self.linking else {})

    @property
    def emitted(self) -> str:
        """All text that the template itself puts around data."""
        forms = (self.prompt, self.embedded, self.before_query)
        return "\n".join((*forms, self.linking.emitted if self.linking else ""))

    @property
    def control_strings(self) -> tuple[str, ...]:
        """Strings that are markup wherever the model writes them."""
        frame = (self.answer_start, self.answer_end)
        return tuple(filter(None, (*frame, *self.tokens, *self.reflection)))

    def parse(self, spans: Sequence[str]) -> tuple[tuple[str, ...], str]:
        """(steps, answer) of the written spans, which are cut where passages were inserted.

        The first answer frame holds the answer; without one it is the text written after the last
        insertion. Neither holds markup: ends of frames, and the beginning of one at the end of a
        span, are removed.
        """
        outside, answer = split_frame(self.answer_start, self.answer_end, spans or [""])
        if answer is None:
            answer = outside.pop()
        lines = [line.strip() for span in outside for line in span.splitlines()]
        return tuple(line for line in lines if line), answer.strip()

    def framed(self, answer: str) -> str:
        """An answer in its frame."""
        return f"{self.answer_start}{answer}{self.answer_end}"

    def frame_state(self, span: str) -> FrameState:
        """Whether a written span has an answer frame, and whether that frame is closed."""
        splitter = FrameSplitter(self.answer_start, self.answer_end)
        splitter.feed(span)
        if splitter.is_open:
            return "open"
        return "closed" if splitter.has_frame else "none"

    def query_text(self, span: str) -> str:
        """Text of a query whose token comes right after `span`: its last line, without markup."""
        (outside,), answer = split_frame(self.answer_start, self.answer_end, [span])
        return last_line(outside) or last_line(answer or "")

    def unframed(self, span: str) -> str:
        """A written span without markup, its answer on a line of its own."""
        outside, answer = split_frame(self.answer_start, self.answer_end, [span])
        return "\n".join(filter(None, (outside[0].rstrip(), answer)))


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of transcript: written text, then (if `retrieves`) a query token and passages.

    `ids` are the tokens that the text was written in, where they are known; see
    `Renderer.own_ids`.
    """

    text: str
    retrieves: bool = False
    passages: tuple[Passage, ...] = ()
    ids: tuple[int, ...] | None = None


def last_line(text: str) -> str:
    """The last line that is not blank, without the white space around it; "" without one."""
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next((line for line in lines if line), "")
