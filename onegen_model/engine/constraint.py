"""What a grammar lets a request write next."""

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor

from onegen_model.errors import InvalidInputError
from onegen_model.inputs import ControlIds
from onegen_model.transcript.grammar import Grammar, import_llguidance
from onegen_model.transcript.tokens import TextGuard

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class TokenConstraint(Protocol):
    """One request's way through a grammar. It moves by `accept` only."""

    def allowed(self) -> Tensor:
        """bool (tokens,): what may be written next. Complete: the end tokens; stuck: nothing."""
        ...

    def accept(self, token_id: int) -> None:
        """`token_id`, one of those allowed, was written."""
        ...


# How an engine gets a constraint; raises InvalidInputError for a grammar that allows nothing.
Constrain: TypeAlias = Callable[[Grammar], TokenConstraint]


class GrammarCompiler:
    """A `Constrain` by llguidance. Not thread-safe: it is its engine's.

    The tokenizer's table is made for the first grammar; the last 32 grammars stay compiled.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", control: ControlIds) -> None:
        self._tokenizer = tokenizer
        self._control = control
        self._table: Any = None
        self._compiled = lru_cache(maxsize=32)(self._compile)

    def __call__(self, grammar: Grammar) -> TokenConstraint:
        return _Path(self._compiled(grammar).deep_copy())

    def _compile(self, grammar: Grammar) -> Any:
        llguidance = import_llguidance()
        if self._table is None:
            vocabulary = _Vocabulary(self._tokenizer, self._control)
            self._table = llguidance.LLTokenizer(
                llguidance.TokenizerWrapper(vocabulary), eos_token=sorted(self._control.end)
            )
        matcher = llguidance.LLMatcher(self._table, grammar.text, log_level=0)
        if not _Path(matcher).allowed().any() or matcher.is_stopped():
            raise InvalidInputError(
                f"The grammar allows no text ({matcher.get_error() or matcher.stop_reason()}); "
                "expected one that a text can satisfy; correct its schema"
            )
        return matcher


class _Path:
    """Implements `TokenConstraint`."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self) -> Tensor:
        if not self._matcher.is_error():
            allowed = torch.frombuffer(
                bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8
            ).bool()
            # llguidance also stops at a dead end, where it would let the request end.
            if not self._matcher.is_stopped() or self._matcher.is_accepting():
                return allowed
        logger.error("a grammar is stuck: %s", self._matcher.get_error() or "a dead end")
        return torch.zeros(1, dtype=torch.bool)

    def accept(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)


class _Vocabulary:
    """A tokenizer as llguidance wants it: every token's bytes, and ids for what is forced.

    Control tokens are no text here, so that the string of one in a grammar is plain text.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", control: ControlIds) -> None:
        hidden = control.masked | control.end | {control.query}
        backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
        backend.no_padding()
        backend.no_truncation()
        self._plain = import_llguidance().LLTokenizer(backend.to_str())
        self._guard = TextGuard(tokenizer, hidden)
        self.tokens = [self._plain.decode_bytes([at]) for at in range(self._plain.vocab_size)]
        self.special_token_ids = sorted(hidden)
        self.eos_token_id = min(control.end)
        self.bos_token_id = None

    def __call__(self, text: str) -> list[int]:
        ids = self._guard.encode(text)
        if b"".join(self.tokens[at] for at in ids) == text.encode():
            return ids
        # Some tokenizers put a space in front; llguidance knows how to do without.
        plain: list[int] = self._plain.tokenize_str(text)
        return plain
