"""From logits to tokens. Pure functions, and one random stream per request."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onegen_model.engine.constraint import TokenConstraint
from onegen_model.params import SamplingParams


def mask_ids(logits: Tensor, ids: Tensor) -> Tensor:
    """`ids` may not be chosen, in any row of `logits` (…, vocabulary)."""
    return logits.index_fill(-1, ids, -torch.inf)


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """`logits` (vocabulary,) with every id in `seen` made less likely (CTRL, section 4.1)."""
    scores = logits[seen]
    return logits.index_copy(0, seen, torch.where(scores < 0, scores * penalty, scores / penalty))


def keep_top_k(logits: Tensor, count: int) -> Tensor:
    """All but the `count` best of `logits` (vocabulary,) become impossible; ties stay."""
    worst_kept = logits.topk(min(count, logits.shape[0])).values[-1]
    return logits.masked_fill(logits < worst_kept, -torch.inf)


def keep_top_p(logits: Tensor, mass: float) -> Tensor:
    """Keep the fewest best ids whose probabilities reach `mass`; at least one."""
    ordered, order = logits.sort(descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    before[0] = 0
    return logits.index_fill(0, order[before >= mass], -torch.inf)


def to_probabilities(logits: Tensor, params: SamplingParams) -> Tensor:
    """The distribution (vocabulary,) that a token is drawn from; the temperature is not 0."""
    # Subtracting the maximum first keeps a tiny temperature from overflowing.
    logits = (logits.float() - logits.max()) / params.temperature
    if params.top_k:
        logits = keep_top_k(logits, params.top_k)
    if params.top_p < 1:
        logits = keep_top_p(logits, params.top_p)
    return logits.softmax(-1)


def draw(probabilities: Tensor, uniform: float) -> Tensor:
    """The id at `uniform` in [0, 1) of the cumulated probabilities; never an impossible one."""
    cumulated = probabilities.double().cumsum(-1)
    total = cumulated[-1:]
    chosen = torch.searchsorted(cumulated, total * uniform, right=True)
    # Rounding may put the target at the very end: fall back to the last possible id.
    return chosen.minimum(torch.searchsorted(cumulated, total))[0]


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token that was chosen, with its log-probabilities where they are asked for: see `Token`."""

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


def with_logprobs(
    logits: Tensor, tokens: Sequence[int | None], counts: Sequence[int | None]
) -> list[Sampled | None]:
    """The tokens that the `BatchSampler` chose of raw `logits` (rows, vocabulary); None stays None.

    `counts` are the `SamplingParams.logprobs` of the rows; for None nothing is computed.
    """
    sampled = [None if token is None else Sampled(token) for token in tokens]
    asked = {
        row: (token, count)
        for row, (token, count) in enumerate(zip(tokens, counts, strict=True))
        if token is not None and count is not None
    }
    if not asked:
        return sampled
    logprobs = logits[[*asked]].float().log_softmax(-1)
    chosen = torch.tensor([[token] for token, _ in asked.values()], device=logits.device)
    best = logprobs.topk(min(max(count for _, count in asked.values()), logits.shape[-1]))
    values: list[list[float]] = torch.cat([logprobs.gather(-1, chosen), best.values], -1).tolist()
    ids: list[list[int]] = best.indices.tolist()
    for (row, (token, count)), (own, *top), at in zip(asked.items(), values, ids, strict=True):
        sampled[row] = Sampled(token, own, tuple(zip(at[:count], top[:count], strict=True)))
    return sampled


class TokenSampler:
    """How one request chooses. The same seed draws the same numbers on every device."""

    def __init__(self, params: SamplingParams, constraint: TokenConstraint | None = None) -> None:
        self.constraint = constraint
        self._params = params
        self._uniform: float | None = None
        self._random = torch.Generator()
        if params.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(params.seed)

    @property
    def is_plain(self) -> bool:
        """Whether the highest logit wins."""
        return self._params.temperature == 0 and self._params.repetition_penalty == 1

    def prepare(self, logits: Tensor, ids: Sequence[int]) -> Tensor:
        """Masked logits (vocabulary,) after what depends on the ids so far."""
        if self._params.repetition_penalty == 1:
            return logits
        seen = torch.tensor(sorted(set(ids)), device=logits.device)
        return penalise_repetition(logits.float(), seen, self._params.repetition_penalty)

    def choose(self, logits: Tensor) -> Tensor:
        """One id of masked `logits` (vocabulary,)."""
        if self._params.temperature == 0:
            return logits.argmax()
        if self._uniform is None:
            self._uniform = torch.rand((), generator=self._random, dtype=torch.float64).item()
        return draw(to_probabilities(logits, self._params), self._uniform)

    def accept(self, token_id: int) -> None:
        """`token_id` was written. Until then, a choice that is made again is the same."""
        self._uniform = None
        if self.constraint is not None:
            self.constraint.accept(token_id)


@dataclass(frozen=True, slots=True)
class Choice:
    """One row's question to the `BatchSampler`: a sampler, all ids so far, and what is masked."""

    sampler: TokenSampler
    ids: Sequence[int]
    masked: frozenset[int]


class BatchSampler:
    """Chooses for a whole batch with one transfer from the device."""

    def __init__(self) -> None:
        self._masks: dict[frozenset[int], Tensor] = {}

    def __call__(self, logits: Tensor, choices: Sequence[Choice]) -> list[int | None]:
        """One id per row of `logits` (rows, vocabulary); None where the logits are not finite."""
        logits = self._mask(logits, choices)
        best, ids = logits.max(dim=-1)
        for row, choice in enumerate(choices):
            if not choice.sampler.is_plain:
                prepared = choice.sampler.prepare(logits[row], choice.ids)
                ids[row] = choice.sampler.choose(prepared)
        chosen: list[list[int]] = torch.stack([ids, best.isfinite()]).tolist()
        return [token if fine else None for token, fine in zip(*chosen, strict=True)]

    def _mask(self, logits: Tensor, choices: Sequence[Choice]) -> Tensor:
        logits = self._mask_kinds(logits, choices)
        for row, choice in enumerate(choices):
            if choice.sampler.constraint is not None:
                # Columns beyond the tokenizer's tokens have no meaning.
                possible = torch.zeros(logits.shape[-1], dtype=torch.bool)
                allowed = choice.sampler.constraint.allowed()
                possible[: len(allowed)] = allowed
                logits[row, ~possible.to(logits.device)] = -torch.inf
        return logits

    def _mask_kinds(self, logits: Tensor, choices: Sequence[Choice]) -> Tensor:
        """A copy of `logits` without what each row may not write."""
        kinds = {choice.masked for choice in choices}
        if len(kinds) == 1:
            return mask_ids(logits, self._ids(next(iter(kinds)), logits.device))
        logits = logits.clone()
        for kind in kinds:
            rows = [row for row, choice in enumerate(choices) if choice.masked == kind]
            at = torch.tensor(rows, device=logits.device)
            logits[at[:, None], self._ids(kind, logits.device)] = -torch.inf
        return logits

    def _ids(self, masked: frozenset[int], device: torch.device) -> Tensor:
        ids = self._masks.get(masked)
        if ids is None or ids.device != device:
            if len(self._masks) >= 64:
                self._masks.clear()
            ids = torch.tensor(sorted(masked), dtype=torch.long, device=device)
            self._masks[masked] = ids
        return ids
