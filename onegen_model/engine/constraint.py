"""Tokens that a grammar lets a request write next."""

import json
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor

from onegen_model.errors import InvalidInputError
from onegen_model.inputs import ControlIds
from onegen_model.transcript.grammar import Grammar, import_llguidance
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.text_guard import TextGuard

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class TokenConstraint(Protocol):
    """The state of one request in its grammar; only `accept` changes it."""

    def allowed(self) -> Tensor:
        """bool (tokens,): what may be written next. Complete: the end tokens; stuck: nothing."""
        ...

    def accept(self, token_id: int) -> None:
        """`token_id`, one of those allowed, was written."""
        ...


# How an engine gets a constraint; raises InvalidInputError for a grammar that allows nothing.
Constrain: TypeAlias = Callable[[Grammar], TokenConstraint]


class GrammarCompiler:
    """A `Constrain` by llguidance. Not thread-safe: one per engine.

    `hidden` are more ids that are not text, beside the control ids. The strings of `markup` are
    written only where a grammar allows nothing else: a model that writes one inside a string of
    JSON tries to end its answer. The tokenizer's table is made for the first grammar; the last 32
    grammars stay compiled.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        control: ControlIds,
        *,
        hidden: frozenset[int] = frozenset(),
        markup: Sequence[str] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._hidden = hidden | control.masked | control.end | {control.query}
        self._end = sorted(control.end)
        self._markup_strings = markup
        self._table: Any = None
        self._markup: _Markup | None = None
        self._compiled = lru_cache(maxsize=32)(self._compile)

    @classmethod
    def of(cls, renderer: Renderer) -> "GrammarCompiler":
        """Compiler for the tokenizer and the template of a renderer."""
        roles = renderer.roles
        control = ControlIds(roles.query, roles.end, roles.masked)
        return cls(
            renderer.tokenizer,
            control,
            hidden=roles.hidden,
            markup=renderer.template.control_strings,
        )

    def __call__(self, grammar: Grammar) -> TokenConstraint:
        matcher = self._compiled(grammar).deep_copy()
        assert self._markup is not None  # made with the first grammar
        return _Path(matcher, self._markup)

    def _compile(self, grammar: Grammar) -> Any:
        llguidance = import_llguidance()
        if self._table is None:
            vocabulary = _Vocabulary(self._tokenizer, self._hidden, self._end)
            self._markup = _Markup(vocabulary.tokens, self._markup_strings)
            self._table = llguidance.LLTokenizer(
                llguidance.TokenizerWrapper(vocabulary), eos_token=self._end
            )
        matcher = llguidance.LLMatcher(self._table, grammar.text, log_level=0)
        if not _Path(matcher, _Markup([], ())).allowed().any() or matcher.is_stopped():
            raise InvalidInputError(
                f"The grammar allows no text ({matcher.get_error() or matcher.stop_reason()}); "
                "expected one that a text can satisfy; correct its schema"
            )
        return matcher


class _Path:
    """Implements `TokenConstraint`."""

    def __init__(self, matcher: Any, markup: "_Markup") -> None:
        self._matcher = matcher
        self._markup = markup
        self._tail = b""

    def allowed(self) -> Tensor:
        if not self._matcher.is_error():
            allowed = torch.frombuffer(
                bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8
            ).bool()
            # llguidance also stops at a dead end, where it would let the request end.
            if not self._matcher.is_stopped() or self._matcher.is_accepting():
                return self._markup.remove(allowed, self._tail)
        logger.error("a grammar is stuck: %s", self._matcher.get_error() or "a dead end")
        return torch.zeros(1, dtype=torch.bool)

    def accept(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)
        self._tail = self._markup.tail(self._tail, token_id)


class _Markup:
    """Tokens that would complete one of `strings` behind a text, by the bytes of both."""

    def __init__(self, tokens: Sequence[bytes], strings: Sequence[str]) -> None:
        self._tokens = tokens
        self._strings = [string.encode() for string in strings]
        self._longest = max(map(len, self._strings), default=0)
        self._completing = lru_cache(maxsize=None)(self._find)

    def tail(self, tail: bytes, token_id: int) -> bytes:
        """The last bytes of a text that matter, once a token is put behind them."""
        known = self._tokens[token_id] if token_id < len(self._tokens) else b""
        return (tail + known)[-self._longest :] if self._longest else b""

    def remove(self, allowed: Tensor, tail: bytes) -> Tensor:
        """`allowed` without the tokens that complete a string, unless none is left."""
        rest = [
            string[begun:]
            for string in self._strings
            for begun in range(len(string))
            if tail.endswith(string[:begun])
        ]
        ids = [at for one in rest for at in self._completing(one, one in self._strings)]
        if not ids:
            return allowed
        left = allowed.clone()
        left[ids] = False
        return left if left.any() else allowed

    def _find(self, rest: bytes, is_whole: bool) -> tuple[int, ...]:
        return tuple(
            at
            for at, token in enumerate(self._tokens)
            if token.startswith(rest) or (is_whole and rest in token)
        )


class _Vocabulary:
    """A tokenizer in the form that llguidance reads: bytes of every token, ids of forced text.

    Control tokens are not text here, so that the string of one in a grammar is plain text.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", hidden: frozenset[int], end: Sequence[int]
    ) -> None:
        plain = json.loads(tokenizer.backend_tokenizer.to_str())
        plain |= {"padding": None, "truncation": None}
        for token in plain["added_tokens"]:
            token["special"] = token["id"] in hidden
        self._plain = import_llguidance().LLTokenizer(json.dumps(plain))
        self._guard = TextGuard(tokenizer, hidden)
        self.tokens = [self._plain.decode_bytes([at]) for at in range(self._plain.vocab_size)]
        self.special_token_ids = sorted(hidden)
        self.eos_token_id = min(end)
        self.bos_token_id = None

    def __call__(self, text: str) -> list[int]:
        # Forced text has no space in front that some tokenizers put there.
        ids = self._guard.encode(text, continues=True)
        if b"".join(self.tokens[at] for at in ids) == text.encode():
            return ids
        # A normaliser changed the text, which llguidance compares by its bytes.
        exact: list[int] = self._plain.greedy_tokenize(text)
        return exact
