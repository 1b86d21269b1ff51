"""What single tokens stand for: their bytes, and their text."""

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from onegen_model.transcript.renderer import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Bytes that byte-level tokenizers show as themselves; the others have characters from 256 on.
_SHOWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = (at for at in range(256) if at not in _SHOWN)
_BYTES = {chr(at): at for at in _SHOWN} | {chr(256 + n): at for n, at in enumerate(_HIDDEN)}

# How SentencePiece writes a byte that no other piece has.
_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")


class TokenTexts:
    """The bytes of the tokens of a fast tokenizer, as they read behind other text."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._decoder = tokenizer.backend_tokenizer.decoder
        self._is_byte_level = self._behind_text("\u0120") == " "
        self._has_byte_pieces = self._behind_text("<0x41>") == "A"

    def __getitem__(self, token_id: int) -> bytes:
        known = 0 <= token_id < len(self._tokenizer)
        piece: Any = self._tokenizer.convert_ids_to_tokens(token_id) if known else None
        if piece is None:
            return b""
        if self._is_byte_level and all(char in _BYTES for char in piece):
            return bytes(_BYTES[char] for char in piece)
        if self._has_byte_pieces and (byte := _BYTE_PIECE.fullmatch(piece)):
            return bytes.fromhex(byte[1])
        return self._behind_text(piece).encode()

    def _behind_text(self, piece: str) -> str:
        # Behind a letter, because decoders strip the space in front of a text.
        if self._decoder is None:
            return f" {piece}"
        return str(self._decoder.decode(["a", piece])).removeprefix("a")


class TokenisesText:
    """A mixin for a model with a renderer: text to tokens, and tokens to text."""

    renderer: Renderer

    @cached_property
    def _token_texts(self) -> TokenTexts:
        return TokenTexts(self.renderer.tokenizer)

    def token_ids(self, text: str) -> list[int]:
        """Ids of plain text; none of them is a control token."""
        return self.renderer.text_ids(text)

    def count_tokens(self, text: str) -> int:
        """Tokens of plain text, as `max_passage_tokens` counts them."""
        return len(self.renderer.text_ids(text))

    def token_bytes(self, token_id: int) -> bytes:
        """The UTF-8 bytes that a token stands for, which may be a part of a character.

        They are those behind other text: with the space in front that some tokenizers leave out at
        the beginning of a text. A control token has its name; an id without a token has b"".
        """
        return self._token_texts[token_id]

    def token_text(self, token_id: int) -> str:
        """The text of `token_bytes`, with U+FFFD in place of a part of a character."""
        return self.token_bytes(token_id).decode(errors="replace")
