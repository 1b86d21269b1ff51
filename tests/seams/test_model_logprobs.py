"""Log-probabilities of a whole model in float32: batches, retrievals, grammars, answers."""

import json
from copy import deepcopy
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from onegen_model import (
    Grammar,
    OneGenModel,
    Options,
    Passage,
    PassageIndex,
    RetrievalParams,
    SamplingParams,
    Token,
)
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.events import event_from_dict, event_to_dict
from onegen_model.generation.handle import RequestHandle
from tests.conftest import make_tokenizer
from tests.support.engines import check_logprobs

QUESTION = "Who wrote it?"
YES = Grammar('start: "yes, the mill" | "no, the house"')


@pytest.fixture
def model(tiny_network: PreTrainedModel) -> OneGenModel:
    config = CheckpointConfig(max_passage_tokens=64)
    network = deepcopy(tiny_network).float()
    return OneGenModel(Checkpoint(network, make_tokenizer(), config, "tiny"))


def submit(model: OneGenModel, sampling: SamplingParams, **options: Any) -> RequestHandle:
    return model.submit(QUESTION, sampling=sampling, **options)


def tokens_of(handle: RequestHandle) -> list[Token]:
    return [event for event in handle.stream.events if isinstance(event, Token)]


def test_a_batch_of_different_requests(model: OneGenModel) -> None:
    index = PassageIndex.build(model, [Passage("1", "the mill", "A"), Passage("2", "no", "B")])
    always = RetrievalParams("always", max_retrievals=3, not_found=None)
    search: Options = {"retriever": index, "retrieval": always}
    warm = {"temperature": 1.2, "max_new_tokens": 12}
    handles = [
        submit(model, SamplingParams(max_new_tokens=20, logprobs=5), **search),
        submit(model, SamplingParams(**warm, seed=1, top_k=7, logprobs=20)),
        submit(model, SamplingParams(**warm, seed=2)),
        submit(model, SamplingParams(grammar=YES, logprobs=2)),
        submit(model, SamplingParams(**warm, seed=3, logprobs=0), **search),
    ]
    for _ in model.driver.drive(*handles):
        pass
    for handle in handles:
        check_logprobs(model.network, handle.request, handle.stream.events)
    assert handles[0].request.usage.inserted
    assert handles[0].answer().tokens == tuple(tokens_of(handles[0]))
    assert handles[2].answer().tokens == ()
    # The grammar forbids what the model would write: raw logits do not know it.
    held = tokens_of(handles[3])
    assert any(token.token_id not in dict(token.top_logprobs) for token in held)
    assert handles[3].answer().text in ("yes, the mill", "no, the house")


def test_nothing_is_computed_unless_it_is_asked_for(
    model: OneGenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.generate(QUESTION, sampling=SamplingParams(max_new_tokens=4, logprobs=1))

    def refuse(*_: Any, **__: Any) -> torch.Tensor:
        raise AssertionError("log-probabilities were computed")

    monkeypatch.setattr(torch.Tensor, "log_softmax", refuse)
    model.generate(QUESTION, sampling=SamplingParams(max_new_tokens=4))
    with pytest.raises(AssertionError):
        model.generate(QUESTION, sampling=SamplingParams(max_new_tokens=4, logprobs=0))


def test_the_bytes_of_the_tokens_are_those_of_the_text(model: OneGenModel) -> None:
    """Of characters in several tokens each token has its own log-probability."""
    grammar = Grammar('start: "\u6771\u4eac \U0001f642 mill"')
    with model.stream(QUESTION, sampling=SamplingParams(grammar=grammar, logprobs=1)) as stream:
        events = list(stream)
    scored = [event for event in events if isinstance(event, Token)]
    roles = model.renderer.roles
    written = b"".join(model.token_bytes(t.token_id) for t in scored if roles.is_text(t.token_id))
    assert written.decode() == stream.answer.text == "".join(token.text for token in scored)
    assert all(token.logprob is not None and token.logprob < 0 for token in scored)
    assert any(not token.text for token in scored if roles.is_text(token.token_id))


def test_a_stop_string_ends_with_its_token(model: OneGenModel) -> None:
    grammar = Grammar('start: "the mill by the river"')
    sampling = SamplingParams(grammar=grammar, stop=("mill",), logprobs=0)
    answer = model.generate(QUESTION, sampling=sampling)
    assert (answer.finish_reason, answer.text.strip()) == ("stop", "the")
    assert b"mill" in b"".join(model.token_bytes(token.token_id) for token in answer.tokens)
    assert all(token.logprob is not None for token in answer.tokens)


def test_events_with_log_probabilities_survive_json(model: OneGenModel) -> None:
    answer = model.generate(QUESTION, sampling=SamplingParams(max_new_tokens=4, logprobs=3))
    for token in answer.tokens:
        assert len(token.top_logprobs) == 3
        assert event_from_dict(json.loads(json.dumps(event_to_dict(token)))) == token
