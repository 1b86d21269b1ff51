"""What a caller may choose per request. Frozen; checked at birth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from onegen_model.errors import InvalidInputError
from onegen_model.grammar import Grammar

RetrievalMode = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen; `temperature=0` is greedy, `top_k=0` and `top_p=1` are off.

    Under a `grammar` the model retrieves nothing, and ends as soon as the grammar is complete.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "temperature": (self.temperature >= 0, "0 (greedy) or more"),
            "top_p": (0 < self.top_p <= 1, "in (0, 1]"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "stop": (
                not isinstance(self.stop, str) and all(self.stop),
                "a tuple of non-empty strings",
            ),
        }
        _require(self, checks)


@dataclass(frozen=True, slots=True)
class RetrievalParams:
    """When to retrieve and how much; `top_k` is passages per retrieval.

    "auto": the model decides. "always": a query token is forced right after the prompt, then the
    model decides. "never": the query token is masked.
    """

    mode: RetrievalMode = "auto"
    top_k: int = 2
    max_retrievals: int = 6
    filter: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        checks = {
            "mode": (self.mode in get_args(RetrievalMode), '"auto", "always" or "never"'),
            "top_k": (self.top_k >= 1, "at least 1"),
            "max_retrievals": (self.max_retrievals >= 0, "0 or more"),
        }
        _require(self, checks)


def _require(params: object, checks: Mapping[str, tuple[bool, str]]) -> None:
    for name, (fine, expected) in checks.items():
        if not fine:
            raise InvalidInputError(
                f"{name}={getattr(params, name)!r}; expected {expected}; change {name}"
            )
