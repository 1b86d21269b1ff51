"""Written ids to printable text, one token at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onegen_model.transcript.tokens import TokenRoles

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextStream:
    """Written ids in, printable text out: whole UTF-8 characters, no control token, and nothing
    of a stop string. One stream per written span, which ends with a query or an end token.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", roles: TokenRoles, stop: Sequence[str] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._hidden = roles.hidden
        self._last = roles.end | {roles.query}
        self._stop = stop
        self._ids: list[int] = []
        # `_ids[:_done]` are decoded; `_before` is the `_done` of one piece of text earlier.
        self._done = self._before = 0
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Text that became certain with this token."""
        if token_id in self._last:
            return self.flush()
        if self.stopped or token_id in self._hidden:
            return ""
        self._ids.append(token_id)
        return self._emit(self._decode_new())

    def flush(self) -> str:
        """Text that was held back, at the end of a span."""
        if self.stopped:
            return ""
        text, self._stop = self._held + self._decode_new(final=True), ()
        self._held = ""
        return self._emit(text)

    def _decode_new(self, *, final: bool = False) -> str:
        # Leading spaces depend on the text before, so both are decoded: with and without the new
        # ids. A window that starts inside a character would decode its bytes to something else.
        before = self._decode(self._ids[self._before : self._done])
        now = self._decode(self._ids[self._before :])
        if now.endswith("\ufffd") and not final:
            return ""
        self._before, self._done = self._done, len(self._ids)
        return now[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def _emit(self, new: str) -> str:
        text = self._held + new
        self._held = ""
        cut = min((at for at in map(text.find, self._stop) if at >= 0), default=-1)
        if cut >= 0:
            self.stopped, text = True, text[:cut]
        else:
            keep = max((overlap(text, stop) for stop in self._stop), default=0)
            if keep:
                text, self._held = text[:-keep], text[-keep:]
        self.text += text
        return text


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, and not all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
