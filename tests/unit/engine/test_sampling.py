"""Choosing tokens, against brute force and against transformers' own processors."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from onegen_model.engine.sampling import (
    BatchSampler,
    Choice,
    Sampled,
    TokenSampler,
    draw,
    keep_top_k,
    keep_top_p,
    mask_ids,
    penalise_repetition,
    to_probabilities,
    with_logprobs,
)
from onegen_model.params import SamplingParams

CPU = torch.device("cpu")


def random_logits(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("penalty", [0.7, 1.3])
def test_penalty_is_that_of_transformers(seed: int, penalty: float) -> None:
    logits, seen = random_logits(seed, 40), torch.tensor([3, 7, 39])
    with_repeats = torch.tensor([[3, 7, 3, 39, 7]])
    expected = RepetitionPenaltyLogitsProcessor(penalty)(with_repeats, logits[None].clone())[0]
    assert torch.equal(penalise_repetition(logits, seen, penalty), expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 5, 40, 100])
def test_top_k_is_that_of_transformers(seed: int, count: int) -> None:
    logits = random_logits(seed, 40)
    expected = TopKLogitsWarper(count)(torch.empty(1, 0), logits[None])[0]
    assert torch.equal(keep_top_k(logits, count), expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mass", [0.05, 0.5, 0.9, 0.999])
def test_top_p_is_that_of_transformers(seed: int, mass: float) -> None:
    logits = random_logits(seed, 40)
    expected = TopPLogitsWarper(mass)(torch.empty(1, 0), logits[None])[0]
    assert torch.equal(keep_top_p(logits, mass), expected)


def test_top_p_keeps_at_least_one() -> None:
    assert keep_top_p(torch.tensor([0.0, 5.0, 1.0]), 1e-9).isfinite().tolist() == [
        False,
        True,
        False,
    ]


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 1e-12]), min_size=1, max_size=8),
    st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=100)
def test_only_possible_tokens_are_drawn(weights: list[float], uniform: float) -> None:
    if not sum(weights):
        return
    probabilities = torch.tensor(weights) / sum(weights)
    assert probabilities[draw(probabilities, uniform)] > 0


def test_draws_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3])
    grid = [int(draw(probabilities, (at + 0.5) / 1000)) for at in range(1000)]
    assert [grid.count(token) for token in range(4)] == [100, 0, 600, 300]


def test_the_largest_uniform_draws_something_possible() -> None:
    probabilities = torch.tensor([0.3, 0.7, 0.0, 0.0])
    assert int(draw(probabilities, 1 - 2**-53)) == 1


@pytest.mark.parametrize("temperature", [1e-30, 1e-6, 0.5, 50.0])
def test_any_temperature_gives_a_distribution(temperature: float) -> None:
    logits = mask_ids(random_logits(0, 40), torch.tensor([1, 2]))
    probabilities = to_probabilities(logits, SamplingParams(temperature=temperature))
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[[1, 2]].tolist() == [0, 0]
    if temperature < 1e-3:
        assert probabilities[logits.argmax()] == pytest.approx(1)


def test_temperature_comes_before_top_p() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0])
    params = SamplingParams(temperature=0.1, top_p=0.95)
    assert to_probabilities(logits, params).tolist() == [1, 0, 0]


def choice(masked: set[int] = frozenset(), ids: tuple[int, ...] = (), **params: float) -> Choice:
    return Choice(TokenSampler(SamplingParams(**params)), ids, frozenset(masked))


def test_masks_differ_per_row() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]] * 3)
    chooser = BatchSampler()
    assert chooser(logits, [choice(), choice({2}), choice({1, 2})]) == [2, 1, 0]
    assert chooser(logits, [choice({2})] * 3) == [1, 1, 1]
    assert logits[0].tolist() == [0, 1, 2], "the caller's logits stay"


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_masked_ids_are_never_chosen(temperature: float, penalty: float) -> None:
    logits = random_logits(1, 1, 6)
    chooser = BatchSampler()
    one = choice({0, 2, 5}, (0, 2, 3), temperature=temperature, repetition_penalty=penalty)
    assert {chooser(logits, [one])[0] for _ in range(200)} <= {1, 3, 4}


def test_rows_that_are_not_finite_are_reported() -> None:
    logits = torch.tensor([[0.0, 1.0], [torch.nan, 1.0], [torch.inf, 1.0], [1.0, 0.0]])
    assert BatchSampler()(logits, [choice()] * 4) == [1, None, None, 0]
    sampled = [choice(temperature=1.0)] * 4
    assert BatchSampler()(logits, sampled)[1:3] == [None, None]


def test_nothing_left_is_reported() -> None:
    assert BatchSampler()(torch.zeros(1, 2), [choice({0, 1})]) == [None]


def test_log_probabilities_for_the_rows_that_ask() -> None:
    logits = torch.tensor(
        [[0.0, 2.0, 1.0], [0.0, 1.0, 2.0], [torch.nan, 0.0, 0.0], [9.0, 8.0, 7.0]]
    )
    one, other, failed, plain = with_logprobs(logits, [0, 2, None, 1], [2, 20, 3, None])
    assert failed is None
    assert plain == Sampled(1)
    assert one is not None
    assert [at for at, _ in one.top_logprobs] == [1, 2]
    total = math.log(sum(map(math.exp, (0, 1, 2))))
    assert one.logprob == pytest.approx(-total)
    assert other is not None
    assert [at for at, _ in other.top_logprobs] == [2, 1, 0], "as many as there are"
    assert other.top_logprobs[0] == (2, other.logprob)


def test_log_probabilities_of_half_precision_are_exact() -> None:
    logits = torch.tensor([[20.0, 19.5, *[0.0] * 40_000]], dtype=torch.float16)
    (one,) = with_logprobs(logits, [1], [0])
    assert one == Sampled(1, pytest.approx(float(logits.double().log_softmax(-1)[0, 1]), abs=1e-5))


def test_each_seed_has_its_own_stream() -> None:
    logits = random_logits(2, 1, 50)
    chooser = BatchSampler()

    def stream(mates: int) -> list[int | None]:
        own = choice(temperature=1.0, seed=11)
        others = [choice(temperature=1.0, seed=mate) for mate in range(mates)]
        rows = logits.expand(1 + mates, -1)
        return [write(rows, [*others, own]) for _ in range(20)]

    def write(rows: torch.Tensor, choices: list[Choice]) -> int | None:
        chosen = chooser(rows, choices)
        for one, token_id in zip(choices, chosen, strict=True):
            assert token_id is not None
            one.sampler.accept(token_id)
        return chosen[-1]

    assert stream(0) == stream(3)
    assert len(set(stream(0))) > 3


def test_a_choice_that_is_made_again_is_the_same() -> None:
    logits, sampler = random_logits(2, 1, 50)[0], choice(temperature=1.0, seed=11).sampler
    assert len({int(sampler.choose(logits)) for _ in range(9)}) == 1


def test_without_a_seed_streams_differ() -> None:
    logits = torch.zeros(1000)
    assert (
        len({int(TokenSampler(SamplingParams(temperature=1.0)).choose(logits)) for _ in range(9)})
        > 1
    )
