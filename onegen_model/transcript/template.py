"""The strings of the transcript, and how written text is parsed.

    {prompt by the tokenizer's chat template}
    {sub-question}[RQ]<paragraph>title\\ntext</paragraph>…{short answer}\\n     one line per hop
    <FINAL-ANSWER>{answer}</FINAL-ANSWER>{end}

A `Template` holds every string; `renderer` turns text into ids with it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from onegen_model.events import Passage
from onegen_model.transcript.tokens import ControlTokens

if TYPE_CHECKING:
    pass

# Fields that came later stand in the JSON form only where they say something else than this, so
# that the fingerprints from before stay what they were.
_LATER: Mapping[str, object] = {
    "prompt": "",
    "titled": "{title}\n{text}",
    "embedded": "{passage}",
    "before_query": "",
    "reflection": (),
}


@dataclass(frozen=True, slots=True)
class Template:
    """Every string of the transcript. Published formats are other instances of this class.

    `prompt` stands around the question (`{question}`) in place of the tokenizer's chat template;
    then a conversation has one question, and `system` is not used. `titled` is a passage with a
    title, `embedded` what stands around any passage (`{passage}`) when it is embedded. Control
    tokens in `prompt` and `embedded` are control tokens. `reflection` are more tokens that the
    model may write, which are no text; `before_query` is the one before a forced query token.
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

    def to_dict(self) -> dict[str, Any]:
        """The JSON form kept in a checkpoint."""
        plain = {**asdict(self), "tokens": self.tokens.to_dict()}
        return {name: value for name, value in plain.items() if _LATER.get(name) != value}

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
        return cls(**{**plain, "tokens": tokens, "reflection": reflection})

    def parse(self, spans: Sequence[str]) -> tuple[tuple[str, ...], str]:
        """(steps, answer) of the written spans, which are cut where passages were inserted.

        The first answer frame holds the answer; without one it is what was written after the last
        insertion.
        """
        frame = re.escape(self.answer_start) + r"(.*?)(?:" + re.escape(self.answer_end) + r"|\Z)"
        others = list(spans) or [""]
        for at, span in enumerate(others):
            if found := re.search(frame, span, re.DOTALL):
                answer = found.group(1)
                others[at] = f"{span[: found.start()]}\n{span[found.end() :]}"
                break
        else:
            answer = others.pop()
        lines = [line.strip() for span in others for line in span.splitlines()]
        return tuple(line for line in lines if line), answer.strip()


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of transcript: written text, then (if `retrieves`) a query token and passages.

    `ids` are the very tokens of the text where they are known; see `Renderer.own_ids`.
    """

    text: str
    retrieves: bool = False
    passages: tuple[Passage, ...] = ()
    ids: tuple[int, ...] | None = None
