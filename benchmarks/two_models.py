"""Call patterns: one pass, the original's re-encoding, and a usual pipeline of two models.

Each replays a recorded transcript on the bare network with a cache of transformers; no engine of
ours takes part. In the two-model pipeline MiniLM searches, and what the language model reads
changes at its front with every hop, so that no cache survives a hop.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from onegen_model import (
    Answer,
    OneGenModel,
    PassagesInserted,
    RetrievalParams,
    RetrievalRequested,
    Retriever,
    Token,
)
from onegen_model.evaluation.ask.sentence_encoder import SentenceEncoder as MiniLM


@dataclass(frozen=True, slots=True)
class Hop:
    """`written` ends with the query token; `text` is what a text retriever would be asked."""

    written: list[int]
    inserted: list[int]
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """`tail` is written behind the last insertion; `answer` is the answer frame of it, and end."""

    question: str
    prompt: list[int]
    hops: list[Hop]
    tail: list[int]
    answer: list[int]


def record(
    model: OneGenModel, question: str, retriever: Retriever, retrieval: RetrievalParams
) -> tuple[Transcript, Answer, float]:
    """What our model makes of a question, and the seconds it took."""
    start = time.perf_counter()
    stream = model.stream(question, retriever=retriever, retrieval=retrieval)
    events = list(stream)
    seconds = time.perf_counter() - start
    ids, at = list(stream.answer.ids), stream.answer.usage.prompt
    prompt, hops, text, first = ids[:at], [], "", at
    for event in events:
        if isinstance(event, Token):
            at += 1
        elif isinstance(event, RetrievalRequested):
            text = event.text
        elif isinstance(event, PassagesInserted):
            end = at + event.num_tokens
            hops.append(Hop(ids[first:at], ids[at:end], text))
            first = at = end
    template, renderer = model.template, model.renderer
    framed = f"{template.answer_start}{stream.answer.text}{template.answer_end}"
    answer = [*renderer.text_ids(framed), renderer.end_id]
    return Transcript(question, prompt, hops, ids[first:], answer), stream.answer, seconds


class Reader:
    """The network behind a cache of transformers: one sequence, greedy, no engine of ours.

    `predicted` and `embeddings` tell what a run that is not replayed would have used.
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
        """Forget what was read."""
        self._cache = DynamicCache(config=self._network.config)

    def read(self, ids: Sequence[int]) -> Tensor:
        """The last hidden state behind what was read before."""
        return self._decode(ids, past_key_values=self._cache, use_cache=True)

    def read_clean(self, ids: Sequence[int]) -> Tensor:
        """The same without a cache."""
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
        reader.predict(hidden)  # Thrown away, as our engine does.
        reader.embed(hidden)
        unread = hop.inserted
    reader.write(unread, transcript.tail)


def re_encode(reader: Reader, transcript: Transcript, *, keep_cache: bool) -> None:
    """The query embedding is made by reading the whole transcript again."""
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
    """Passages so far, question, written so far: read anew after each retrieval."""
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
    """One search with the question, as many passages as our first hop; only the answer written."""
    encoder.embed([transcript.question])
    front = chain.from_iterable(hop.inserted for hop in transcript.hops[:1])
    reader.restart()
    reader.write([*front, *transcript.prompt], transcript.answer)
