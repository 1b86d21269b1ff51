"""What a caller may choose per request. Frozen; checked at birth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Literal, get_args

from onegen_model.errors import InvalidInputError
from onegen_model.transcript.grammar import Grammar

RetrievalMode = Literal["auto", "always", "never"]

NOT_FOUND = "I found nothing about this in the documents."

MAX_LOGPROBS = 20

# Values beyond these limits become 0 or infinite in the computation of logits.
_LEAST, _MOST = 1e-30, 1e30


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen; `temperature=0` is greedy, `top_k=0` and `top_p=1` are off.

    Under a `grammar` the model retrieves nothing, and ends as soon as the grammar is complete.

    `logprobs`, from 0 to 20, gives each written token its log-probability and that many of the most
    probable ids, see `Token`; with None nothing is computed for it. It changes no choice.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": (_is_int(self.max_new_tokens, 1), "at least 1"),
            "temperature": (
                _is_number(self.temperature, 0, 0) or _is_number(self.temperature, _LEAST, _MOST),
                f"0 (greedy), or a number from {_LEAST} to {_MOST}",
            ),
            "top_p": (_is_number(self.top_p, _LEAST, 1), f"a number from {_LEAST} to 1"),
            "top_k": (_is_int(self.top_k, 0), "a whole number, 0 (off) or more"),
            "repetition_penalty": (
                _is_number(self.repetition_penalty, _LEAST, _MOST),
                f"a number from {_LEAST} to {_MOST}",
            ),
            "seed": (
                self.seed is None or _is_int(self.seed, -(2**63), 2**64 - 1),
                "a whole number from -2**63 to 2**64 - 1, or None",
            ),
            "stop": (_are_texts(self.stop), "a tuple of non-empty strings"),
            "grammar": (self.grammar is None or isinstance(self.grammar, Grammar), "a Grammar"),
            "logprobs": (
                self.logprobs is None or _is_int(self.logprobs, 0, MAX_LOGPROBS),
                f"a whole number from 0 to {MAX_LOGPROBS}, or None",
            ),
        }
        _require(self, checks)


@dataclass(frozen=True, slots=True)
class RetrievalParams:
    """When to retrieve and how much; `top_k` is passages per retrieval.

    A passage is inserted together with `window` neighbours on each side, as one passage of at most
    `passage_tokens` tokens (None: `2 * window + 1` times the longest passage of the checkpoint). A
    longer one has fewer neighbours; only a passage that is too long by itself is cut.

    "auto": the model decides. "always": a query token is forced right after the prompt, then the
    model decides. "never": the query token is masked.

    Hits with a score below `min_score` are not inserted; the scores of a foreign retriever are
    compared as they are. A search that finds nothing ends all searching of the answer, and
    `not_found` is written as the answer; with None the model writes on.
    """

    mode: RetrievalMode = "auto"
    top_k: int = 2
    max_retrievals: int = 6
    filter: Mapping[str, Any] | None = field(default=None, hash=False)
    min_score: float | None = None
    not_found: str | None = NOT_FOUND
    window: int = 0
    passage_tokens: int | None = None

    def __post_init__(self) -> None:
        checks = {
            "mode": (self.mode in get_args(RetrievalMode), '"auto", "always" or "never"'),
            "top_k": (_is_int(self.top_k, 1), "at least 1"),
            "max_retrievals": (_is_int(self.max_retrievals, 0), "a whole number, 0 or more"),
            "filter": (isinstance(self.filter, Mapping | None), "a mapping, or None"),
            "min_score": (
                self.min_score is None
                or (_is_number(self.min_score, -inf) and isfinite(self.min_score)),
                "a finite number, or None",
            ),
            "not_found": (
                self.not_found is None or _is_text(self.not_found),
                "text that is not empty, or None",
            ),
            "window": (_is_int(self.window, 0), "a whole number, 0 or more"),
            "passage_tokens": (
                self.passage_tokens is None or _is_int(self.passage_tokens, 1),
                "a whole number, 1 or more, or None",
            ),
        }
        _require(self, checks)


def _is_int(value: object, least: int, most: float = inf) -> bool:
    return isinstance(value, int) and _is_number(value, least, most)


def _is_number(value: object, least: float, most: float = inf) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least <= value <= most  # not so for NaN


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # Half a surrogate pair.
        return False
    return True


def _are_texts(values: object) -> bool:
    return isinstance(values, tuple | list) and all(
        isinstance(value, str) and value for value in values
    )


def _require(params: object, checks: Mapping[str, tuple[bool, str]]) -> None:
    for name, (fine, expected) in checks.items():
        if not fine:
            raise InvalidInputError(
                f"{name}={getattr(params, name)!r}; expected {expected}; change {name}"
            )
