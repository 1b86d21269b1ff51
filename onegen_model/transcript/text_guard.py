"""Text to ids, such that no data ever becomes a control token and no character is lost."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.locks import ProcessLock

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A character that no tokenizer joins with another: text after it is tokenised as a continuation.
_JOIN = "\x02"

_encoding = ProcessLock()

# An id with the start and end of its characters.
Span = tuple[int, int, int]


def encode(tokenizer: "PreTrainedTokenizerBase", text: str, **options: bool) -> Mapping[str, Any]:
    """The encoding of `text`, without BOS and EOS; safe to call from many threads."""
    # Options are switches of the tokenizer: those of another thread would apply to this text too.
    with _encoding:
        encoded: Mapping[str, Any] = tokenizer(text, add_special_tokens=False, **options)
    return encoded


class TextGuard:
    """Turns text into ids that contain none of `control_ids`.

    The ids are checked, not the text: `split_special_tokens` does not cover added tokens that are
    not special, and normalisers can build a control string from harmless text. Raises
    CheckpointError for a tokenizer that can write some character as a control token only.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", control_ids: frozenset[int]) -> None:
        if not tokenizer.is_fast:
            raise CheckpointError(
                f"{type(tokenizer).__name__} has no offsets; expected a fast tokenizer; load the "
                "checkpoint with a tokenizer.json"
            )
        self.control_ids = control_ids
        self._tokenizer = tokenizer
        self._unknown = tokenizer.unk_token_id
        self._spells: dict[int, str] = {
            at: token.content for at, token in tokenizer.added_tokens_decoder.items()
        }
        self._adds_space = self._spans("a") != self._spans("a", _JOIN)
        self._plain = self._plain_tokens() if self._adds_space else {}
        self._require_guarded()

    def _plain_tokens(self) -> dict[str, int]:
        """Added tokens that are text: behind each of them some tokenizers add a space."""
        return {content: at for at, content in self._spells.items() if at not in self.control_ids}

    def _require_guarded(self) -> None:
        for at in self.control_ids & self._spells.keys():
            # A longer one is written in pieces.
            if len(self._spells[at]) == 1:
                try:
                    self.encode(self._spells[at])
                except InvalidInputError as error:
                    raise CheckpointError(
                        f"The control token {self._spells[at]!r} of the tokenizer is a character "
                        "that it cannot write otherwise; expected control tokens that no text "
                        "needs; rename the token in tokenizer.json"
                    ) from error

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """Ids of `text` as plain text, without BOS or EOS.

        `continues`: the text comes after other text, so that a tokenizer which puts a space in
        front of a text puts none here.
        """
        return [at for at, _, _ in self.spans(text, continues=continues)]

    def spans(self, text: str, *, continues: bool = False) -> list[Span]:
        """The ids of `encode`, each with the start and end of its characters in `text`."""
        found: list[Span] = []
        start = 0
        for piece, token in self._split_plain(text):
            found += self._encode_piece(piece, continues or bool(found), start)
            start += len(piece)
            if token is not None:
                end = start + len(self._spells[token])
                found.append((token, start, end))
                start = end
        return found

    def _split_plain(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Pieces of `text` and the added token behind each, which is text; None at the end."""
        if not self._plain:
            yield text, None
            return
        longest_first = sorted(map(re.escape, self._plain), key=len, reverse=True)
        pieces = re.split(f"({'|'.join(longest_first)})", text)
        for piece, token in zip(pieces[::2], [*pieces[1::2], None], strict=True):
            yield piece, None if token is None else self._plain[token]

    def _encode_piece(self, text: str, continues: bool, offset: int = 0) -> list[Span]:
        """The ids of `text`, which starts at `offset`."""
        found: list[Span] = []
        pieces = [(text, continues, offset)]
        while pieces:
            piece, is_later, at = pieces.pop()
            plain, cuts = self._try(piece, is_later)
            if cuts:
                # Cut the text inside the control tokens and tokenise each piece by itself.
                edges = pairwise([0, *cuts, len(piece)])
                pieces += reversed(
                    [(piece[start:end], is_later or start > 0, at + start) for start, end in edges]
                )
            else:
                found += [(one, start + at, end + at) for one, start, end in plain]
        return found

    def _try(self, text: str, continues: bool) -> tuple[list[Span], list[int]]:
        """Ids of `text`, and where it has to be cut if control tokens are among them."""
        found: list[Span] = []
        cuts = set()
        for token_id, start, end in self._spans(text, _JOIN * (continues and self._adds_space)):
            if not self._controls(token_id, text[start:end]):
                found.append((token_id, start, end))
            elif end - start > 1:
                cuts.add(start + 1)
            else:
                spelled = self._spell(text[start:end], token_id)
                found += [(one, start, end) for one in spelled]
        return found, sorted(cuts)

    def _controls(self, token_id: int, text: str) -> bool:
        """Whether an id is a control token, and not that of an unknown character."""
        if token_id == self._unknown != self._tokenizer.eos_token_id:
            return token_id in self.control_ids and text == self._spells.get(token_id)
        return token_id in self.control_ids

    def _spans(self, text: str, before: str = "") -> list[Span]:
        """Ids of `text` where it comes after `before`, each with its start and end in `text`."""
        options = {"return_offsets_mapping": True, "split_special_tokens": True}
        encoded = encode(self._tokenizer, before + text, **options)
        found, skip = [], len(before)
        for at, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if start < skip < end:  # One token holds both.
                return self._spans(text)
            if end > skip or not skip:
                found.append((at, start - skip, end - skip))
        return found

    def _spell(self, char: str, control_id: int) -> list[int]:
        """Ids of one character that the tokenizer takes for a control token."""
        normalizer = self._tokenizer.backend_tokenizer.normalizer
        normal = normalizer.normalize_str(char) if normalizer is not None else char
        if len(normal) > 1 and char not in normal:
            return [one for letter in normal for one, _, _ in self._encode_piece(letter, True)]
        names = [f"<0x{byte:02X}>" for byte in char.encode()]
        vocabulary = self._tokenizer.get_vocab()
        if all(name in vocabulary for name in names):
            return [vocabulary[name] for name in names]
        raise InvalidInputError(
            f"The text contains {char!r}, which the tokenizer can write only as the control token "
            f"{self._spells.get(control_id)!r}; expected text without it; remove the character"
        )
