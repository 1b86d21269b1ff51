"""Call patterns: one pass, the original's re-encoding, and a usual pipeline of two models.

Each pattern replays a recorded transcript on the bare network with a transformers cache, without
our engine. In the two-model pipeline MiniLM retrieves, and every hop puts passages in front of what
the language model has read, so that no cache survives a hop.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from benchmarks.recording import Record
from onegen_model import (
    Answer,
    OneGenModel,
    PassagesInserted,
    RetrievalParams,
    RetrievalRequested,
    Retriever,
)
from onegen_model.evaluation.ask.sentence_encoder import SentenceEncoder as MiniLM


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop; `written` ends with the query token, `text` is the query of a text retriever."""

    written: list[int]
    inserted: list[int]
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """A recorded request; `tail` follows the last insertion, `answer` is its answer frame."""

    question: str
    prompt: list[int]
    hops: list[Hop]
    tail: list[int]
    answer: list[int]


def record(
    model: OneGenModel, question: str, retriever: Retriever, retrieval: RetrievalParams
) -> tuple[Transcript, Answer, float]:
    """The transcript and answer of our model, and its seconds."""
    start = time.perf_counter()
    stream = model.stream(question, retriever=retriever, retrieval=retrieval)
    events = tuple(stream)
    seconds = time.perf_counter() - start
    ids, first = list(stream.answer.ids), stream.answer.usage.prompt
    prompt, hops, text = ids[:first], [], ""
    recorded = Record(question, first, stream.answer.ids, events, stream.answer)
    for at, event in recorded.positions():
        if isinstance(event, RetrievalRequested):
            text = event.text
        elif isinstance(event, PassagesInserted):
            end = at + event.num_tokens
            hops.append(Hop(ids[first:at], ids[at:end], text))
            first = end
    template, renderer = model.template, model.renderer
    framed = f"{template.answer_start}{stream.answer.text}{template.answer_end}"
    answer = [*renderer.text_ids(framed), renderer.end_id]
    return Transcript(question, prompt, hops, ids[first:], answer), stream.answer, seconds


class Reader:
    """Reads one sequence, greedily, on the bare network with a transformers cache.

    `predicted` and `embeddings` are what a run that is not a replay would have used.
    """

    def __init__(self, model: OneGenModel, max_retrievals: int) -> None:
        self._network = model.network
        self._max_retrievals = max_retrievals
        query, end = model.renderer.query_id, model.renderer.end_id
        self._masked = sorted(model.renderer.control_ids - {query, end})
        self._query = query
        self.predicted: list[int] = []
        self.embeddings: list[Tensor] = []
        self.restart()

    def restart(self) -> None:
        """Empty the cache."""
        self._cache = DynamicCache(config=self._network.config)

    def read(self, ids: Sequence[int]) -> Tensor:
        """The last hidden state after everything read so far."""
        return self._decode(ids, past_key_values=self._cache, use_cache=True)

    def read_clean(self, ids: Sequence[int]) -> Tensor:
        """The last hidden state of `ids` alone, without a cache."""
        return self._decode(ids, use_cache=False)

    def _decode(self, ids: Sequence[int], **inputs: Any) -> Tensor:
        rows = torch.tensor([ids], device=self._network.device)
        hidden: Tensor = self._network.get_decoder()(input_ids=rows, **inputs).last_hidden_state
        return hidden[0, -1]

    def predict(self, hidden: Tensor) -> int:
        """The next token, by the masks of a request with a retriever."""
        logits = self._network.get_output_embeddings()(hidden)
        logits[self._masked] = -torch.inf
        if len(self.embeddings) >= self._max_retrievals:
            logits[self._query] = -torch.inf
        return int(logits.argmax())

    def write(self, unread: Sequence[int], tokens: Sequence[int]) -> None:
        """Read what is unread and write `tokens`; the last of them stays unread."""
        for token in tokens:
            self.predicted.append(self.predict(self.read(unread)))
            unread = [token]

    def embed(self, hidden: Tensor) -> None:
        """Make a query embedding of a hidden state."""
        self.embeddings.append(torch.nn.functional.normalize(hidden, dim=-1))
        self.embeddings[-1].tolist()


def one_pass(reader: Reader, transcript: Transcript) -> None:
    """Everything is read once; the state at the query token is the query embedding."""
    unread = transcript.prompt
    for hop in transcript.hops:
        reader.write(unread, hop.written)
        hidden = reader.read(hop.written[-1:])
        reader.predict(hidden)  # discarded, as in our engine
        reader.embed(hidden)
        unread = hop.inserted
    reader.write(unread, transcript.tail)


def re_encode(reader: Reader, transcript: Transcript, *, keep_cache: bool) -> None:
    """Each query embedding reads the whole transcript again."""
    unread = context = transcript.prompt
    for hop in transcript.hops:
        reader.write(unread, hop.written)
        reader.embed(reader.read_clean([*context, *hop.written]))
        context = [*context, *hop.written, *hop.inserted]
        if keep_cache:
            unread = [hop.written[-1], *hop.inserted]
        else:
            reader.restart()
            unread = context
    reader.write(unread, transcript.tail)


def every_hop(reader: Reader, transcript: Transcript, encoder: MiniLM) -> None:
    """Passages, question and written text so far are read anew after each retrieval."""
    front: list[int] = []
    written: list[int] = []
    for hop in transcript.hops:
        reader.restart()
        reader.write([*front, *transcript.prompt, *written], hop.written)
        encoder.embed([hop.text])
        front += hop.inserted
        written += hop.written
    reader.restart()
    reader.write([*front, *transcript.prompt, *written], transcript.tail)


def one_shot(reader: Reader, transcript: Transcript, encoder: MiniLM) -> None:
    """One retrieval with the question, passages of our first hop, then the answer alone."""
    encoder.embed([transcript.question])
    front = chain.from_iterable(hop.inserted for hop in transcript.hops[:1])
    reader.restart()
    reader.write([*front, *transcript.prompt], transcript.answer)
