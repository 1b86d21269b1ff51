"""The call patterns of the cost benchmark: equal tokens and queries, and their positions."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks import cost
from benchmarks.cost import ANEW, EVERY_HOP, KEPT, ONE_PASS, ONE_SHOT, SAME_CONTEXT, SHIPPED
from benchmarks.two_models import MiniLM, Reader, Transcript, record
from onegen_model import OneGenModel, Passage, PassageIndex, RetrievalParams
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint

QUESTION = "What is the capital of the country in which the architect grew up?"
RETRIEVAL = RetrievalParams(max_retrievals=3)


class CountingEncoder(MiniLM):
    """Counts words; needs no weights."""

    def __init__(self) -> None:
        self.positions = 0
        self.seconds = 0.0

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        self.positions += sum(len(text.split()) for text in texts)
        return np.zeros((len(texts), 3), np.float32)


@pytest.fixture(scope="module")
def model(tiny_network: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    return OneGenModel(Checkpoint(tiny_network, tiny_tokenizer, config, "0" * 64))


@pytest.fixture(scope="module")
def index(model: OneGenModel) -> PassageIndex:
    texts = [f"the river and the mill of page {n}" for n in range(10)]
    passages = [Passage(str(n), text, f"P{n}") for n, text in enumerate(texts)]
    return PassageIndex.build(model, passages)


@pytest.fixture(scope="module")
def transcript(model: OneGenModel, index: PassageIndex) -> Transcript:
    found, answer, _ = record(model, QUESTION, index, RETRIEVAL)
    assert len(found.hops) == 3
    assert ids_of(found) == list(answer.ids)
    return found


@pytest.fixture
def meter(model: OneGenModel) -> cost.Meter:
    return cost.Meter(model, CountingEncoder(), RETRIEVAL.max_retrievals)


def ids_of(transcript: Transcript) -> list[int]:
    hops = [i for hop in transcript.hops for i in [*hop.written, *hop.inserted]]
    return [*transcript.prompt, *hops, *transcript.tail]


def written(transcript: Transcript) -> list[int]:
    return [i for hop in transcript.hops for i in hop.written] + transcript.tail


def query_lengths(transcript: Transcript) -> list[int]:
    """L_h: the ids up to and with the query token of each hop."""
    lengths, at = [], len(transcript.prompt)
    for hop in transcript.hops:
        lengths.append(at + len(hop.written))
        at = lengths[-1] + len(hop.inserted)
    return lengths


@pytest.mark.parametrize("name", SAME_CONTEXT)
def test_patterns_with_the_same_context_write_the_same_tokens(
    name: str, meter: cost.Meter, transcript: Transcript
) -> None:
    reader = meter.replay(name, transcript)
    assert reader.predicted == written(transcript)
    assert meter.costs[name].agreed == meter.costs[name].tokens == len(written(transcript))


def test_patterns_with_the_same_context_have_the_same_query_embeddings(
    meter: cost.Meter, model: OneGenModel, index: PassageIndex, transcript: Transcript
) -> None:
    found = [torch.stack(meter.replay(name, transcript).embeddings) for name in SAME_CONTEXT]
    assert found[0].dtype == torch.float64
    for other in found[1:]:
        assert (found[0] - other).abs().max() < 1e-10
    events = model.stream(QUESTION, retriever=index, retrieval=RETRIEVAL)
    shipped = [list(e.query_embedding) for e in events if hasattr(e, "query_embedding")]
    assert (found[0] - torch.tensor(shipped)).abs().max() < 1e-6


def test_positions_follow_their_closed_forms(meter: cost.Meter, transcript: Transcript) -> None:
    lengths, total = query_lengths(transcript), len(ids_of(transcript))
    for name in meter.patterns:
        meter.replay(name, transcript)
    positions = {name: cost_of.positions for name, cost_of in meter.costs.items()}
    assert positions[ONE_PASS] == total - 1
    assert positions[KEPT] == total - 1 + sum(lengths)
    assert positions[ANEW] == total - 1 + sum(lengths) + sum(length - 1 for length in lengths)
    # Each hop of a pipeline reads everything before its query token anew.
    assert positions[EVERY_HOP] == total - 1 + sum(length - 1 for length in lengths)
    front = len(transcript.hops[0].inserted)
    assert positions[ONE_SHOT] == front + len(transcript.prompt) + len(transcript.answer) - 1
    assert meter.costs[ONE_SHOT].encoder_positions == len(QUESTION.split())
    texts = [hop.text for hop in transcript.hops]
    assert meter.costs[EVERY_HOP].encoder_positions == sum(len(t.split()) for t in texts)


def test_a_pipeline_writes_after_passages_prompt_and_what_was_written(
    meter: cost.Meter, transcript: Transcript, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    monkeypatch.setattr(Reader, "write", lambda _, unread, tokens: seen.append([*unread, *tokens]))
    meter.replay(EVERY_HOP, transcript)
    passages = [i for hop in transcript.hops for i in hop.inserted]
    assert len(seen) == 4
    assert seen[-1] == [*passages, *transcript.prompt, *written(transcript)]
    assert sorted(seen[-1]) == sorted(ids_of(transcript))


def test_our_own_run_is_counted_by_the_hook(
    meter: cost.Meter, index: PassageIndex, transcript: Transcript
) -> None:
    again = meter.ask("Who wrote the novel?", index, RETRIEVAL)
    assert 0 < meter.costs[SHIPPED].positions < len(ids_of(again))  # the system prompt is reused


@pytest.mark.parametrize("batch", [1, 3])
def test_both_decoders_write_the_same_text_and_never_end(model: OneGenModel, batch: int) -> None:
    with cost.plain_text_only(model):
        found = cost.measure_decoding(model, batch, (8, 12, 2))
    assert found["same_rows"] == 1
    assert found["ours_tokens_per_s"] > 0
    logits = model.network(torch.tensor([[1, 2, 3]])).logits
    assert torch.isfinite(logits).all()  # the mask ends with its block
