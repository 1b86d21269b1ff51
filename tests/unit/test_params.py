"""Options of a caller are checked when they are created."""

import math
from typing import Any

import pytest
import torch

from onegen_model.engine.sampling import BatchSampler, Choice, TokenSampler
from onegen_model.errors import InvalidInputError
from onegen_model.params import RetrievalParams, SamplingParams


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_new_tokens", (0, 1.5, True, "9", None, math.inf)),
        ("temperature", (-1, 1e-46, 1e39, math.nan, math.inf, False, "hot", None)),
        ("top_p", (0, -0.1, 1.1, 1e-46, math.nan, True, None)),
        ("top_k", (-1, 2.5, True, "2", None)),
        ("repetition_penalty", (0, -1, 1e-46, 1e39, math.nan, math.inf, True, None)),
        ("seed", (2**64, -(2**63) - 1, 1.0, True, "x")),
        ("stop", ("a", ("",), (1,), None)),
        ("grammar", ('start: "yes"', {})),
        ("logprobs", (-1, 21, 1.0, True, "3")),
    ],
)
def test_sampling_params_that_no_engine_could_use(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(InvalidInputError, match=f"{name}=.*; expected .*; change {name}"):
            SamplingParams(**{name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mode", ("sometimes", None, ["auto"])),
        ("top_k", (0, 2.5, True, "2", None)),
        ("max_retrievals", (-1, 1.0, False, None)),
        ("filter", ("year", 5, [("year", 5)])),
        ("min_score", (math.nan, math.inf, -math.inf, True, "0.5", [0.5])),
        ("not_found", ("", "  ", 5, b"none", "\ud800", ["none"])),
        ("window", (-1, 1.0, True, None, "1")),
        ("passage_tokens", (0, 2.5, True, "9")),
    ],
)
def test_retrieval_params_that_no_request_could_use(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(InvalidInputError, match=f"{name}=.*; expected .*; change {name}"):
            RetrievalParams(**{name: value})


@pytest.mark.parametrize("temperature", [0, 1e-30, 1, 1e30])
@pytest.mark.parametrize("top_p", [1e-30, 1])
@pytest.mark.parametrize("penalty", [1e-30, 1, 1e30])
def test_every_value_within_the_bounds_can_be_used(
    temperature: float, top_p: float, penalty: float
) -> None:
    logits = torch.tensor([[3.0, -100.0, 100.0, 2.0, -torch.inf]])
    for seed in (-(2**63), 2**64 - 1):
        params = SamplingParams(
            temperature=temperature, top_p=top_p, top_k=2, repetition_penalty=penalty, seed=seed
        )
        choice = Choice(TokenSampler(params), (0, 1), frozenset({2}))
        (chosen,) = BatchSampler()(logits, [choice])
        assert chosen in (0, 1, 3)
