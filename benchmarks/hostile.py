"""Hostile data: control strings in questions and in passages."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle

from benchmarks.recording import Record
from onegen_model import OneGenModel, Passage, PassageIndex, PassagesInserted, Query, ScoredPassage
from onegen_model.errors import PassageTooLongError

PLAIN_QUESTION = "Who?"


def control_strings(model: OneGenModel) -> str:
    """The control tokens, the answer frame and the end token, as text."""
    template, tokenizer = model.template, model.renderer.tokenizer
    frame = (template.answer_start, template.answer_end)
    return " ".join((*template.tokens, *frame, str(tokenizer.eos_token)))


def poison_all(model: OneGenModel, questions: Sequence[str]) -> list[str]:
    """Each question with all control strings behind it and one added token in front of it."""
    added = cycle(map(str, model.renderer.tokenizer.added_tokens_decoder.values()))
    own = control_strings(model)
    return [f"{one} {question} {own}" for one, question in zip(added, questions, strict=False)]


class Poisoned:
    """A retriever whose passages have control strings at both ends; counts them in `count`."""

    def __init__(self, index: PassageIndex, model: OneGenModel) -> None:
        self._index = index
        self._model = model
        self._poison = control_strings(model)
        self.count = 0

    def retrieve(self, queries: Sequence[Query]) -> list[list[ScoredPassage]]:
        found = self._index.retrieve(queries)
        self.count += sum(map(len, found))
        return [[replace(hit, passage=self._spoil(hit.passage)) for hit in hits] for hits in found]

    def _spoil(self, passage: Passage) -> Passage:
        """The passage with control strings around as much of its text as fits."""
        text = passage.text
        while True:
            query = self._model.template.tokens.query
            spoilt = replace(passage, text=f"{self._poison} {text} {query}")
            try:
                self._model.renderer.embed_ids(spoilt)
            except PassageTooLongError:
                if not text:
                    raise
                text = text[: len(text) * 3 // 4]
            else:
                return spoilt


def check_hostile(model: OneGenModel, record: Record) -> Iterator[str]:
    """Every effect of a control token from data on a request."""
    renderer = model.renderer
    control = renderer.control_ids
    plain = [i for i in renderer.question_ids(PLAIN_QUESTION) if i in control]
    if [i for i in record.ids[: record.prompt] if i in control] != plain:
        yield "the prompt holds control tokens that the template did not put there"
    frame = list(renderer.empty_frame)
    for at, event in record.positions():
        if isinstance(event, PassagesInserted):
            ids = record.ids[at : at + event.num_tokens]
            if [i for i in ids if i in control] != frame * max(1, len(event.passages)):
                yield f"hop {event.hop} holds control tokens beside its frames"
    written = [token.token_id for token in record.tokens]
    # A query token that ends the budget is never read.
    asked = written[: len(written) - (record.reason == "length")].count(renderer.query_id)
    if len(record.requested) != asked:
        yield f"{len(record.requested)} retrievals for {asked} written query tokens"
    if record.ids.count(renderer.query_id) != written.count(renderer.query_id):
        yield "a query token that the model did not write"
