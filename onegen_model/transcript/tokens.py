"""Control tokens: their strings, their ids, their first embedding rows, and the guard that keeps
data from ever producing one.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from onegen_model.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """Strings of the four tokens a OneGen checkpoint adds (paper section 3.1: RET and CTX)."""

    query: str = "[RQ]"
    passage: str = "[RD]"
    passage_start: str = "<paragraph>"
    passage_end: str = "</paragraph>"

    def __iter__(self) -> Iterator[str]:
        return iter((self.query, self.passage, self.passage_start, self.passage_end))

    def to_dict(self) -> dict[str, str]:
        """The JSON form kept in a checkpoint."""
        return dict(zip(("query", "passage", "passage_start", "passage_end"), self, strict=True))


# A new row starts as the mean of the rows of these words (the original does the same).
DESCRIPTIONS = ControlTokens(
    query=" search for the answer to this question",
    passage=" the content of this document",
    passage_start=" start of a document",
    passage_end=" end of the document",
)


def add_control_tokens(tokenizer: "PreTrainedTokenizerBase", tokens: ControlTokens) -> int:
    """Add what is missing to the tokenizer; returns how many were new."""
    return tokenizer.add_special_tokens(
        {"extra_special_tokens": list(tokens)}, replace_extra_special_tokens=False
    )


def initialise_rows(
    network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", tokens: ControlTokens
) -> None:
    """Grow the embeddings where needed and give each control token its first rows."""
    embeddings = network.get_input_embeddings()
    if len(tokenizer) > embeddings.weight.shape[0]:  # type: ignore[index]
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    modules = {network.get_input_embeddings(), network.get_output_embeddings()} - {None}
    for token, description in zip(tokens, DESCRIPTIONS, strict=True):
        row = tokenizer.convert_tokens_to_ids(token)
        words = tokenizer(description, add_special_tokens=False).input_ids
        for module in modules:
            module.weight.data[row] = module.weight.data[words].mean(dim=0)


class TextGuard:
    """Turns text into ids that never contain a token with a meaning in the control flow.

    Works on what comes out, not on what goes in: `split_special_tokens` does not cover added
    tokens that are not special, and normalisers can build a control string from harmless text.
    `control_ids` are all added tokens unless others are given.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", control_ids: frozenset[int] | None = None
    ) -> None:
        if not tokenizer.is_fast:
            raise CheckpointError(
                f"{type(tokenizer).__name__} has no offsets; expected a fast tokenizer; load the "
                "checkpoint with a tokenizer.json"
            )
        self._tokenizer = tokenizer
        added = frozenset(tokenizer.added_tokens_decoder)
        self.control_ids = added if control_ids is None else control_ids

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as plain text, without BOS or EOS."""
        ids: list[int] = []
        pieces = [text]
        while pieces:
            piece = pieces.pop()
            plain, cuts = self._try(piece)
            if cuts:
                # Cut the text inside the offending tokens and let each piece be plain text.
                edges = pairwise([0, *cuts, len(piece)])
                pieces += reversed([piece[start:end] for start, end in edges])
            else:
                ids += plain
        return ids

    def _try(self, text: str) -> tuple[list[int], list[int]]:
        """Ids of `text` without control tokens, and where it has to be cut for them to be all."""
        encoded = encode(
            self._tokenizer, text, return_offsets_mapping=True, split_special_tokens=True
        )
        ids, cuts = [], set()
        spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        for token_id, (start, end) in spans:
            if token_id not in self.control_ids or token_id == self._tokenizer.unk_token_id != (
                self._tokenizer.eos_token_id
            ):
                ids.append(token_id)
            elif end - start > 1:
                cuts.add(start + 1)
        return ids, sorted(cuts)


_encoding = threading.Lock()


def encode(tokenizer: "PreTrainedTokenizerBase", text: str, **options: bool) -> Mapping[str, Any]:
    """What `tokenizer` makes of `text`, without BOS and EOS; safe to call from many threads."""
    # Options are switches of the tokenizer: another thread's would hold for this text too.
    with _encoding:
        encoded: Mapping[str, Any] = tokenizer(text, add_special_tokens=False, **options)
    return encoded


def token_id(tokenizer: "PreTrainedTokenizerBase", token: str) -> int:
    """The one id of `token`; raises CheckpointError when the tokenizer does not have it."""
    ids: Sequence[int] = tokenizer(token, add_special_tokens=False).input_ids
    if len(ids) != 1 or ids[0] not in tokenizer.added_tokens_decoder:
        raise CheckpointError(
            f"The tokenizer has no token {token!r}; expected a OneGen checkpoint; fine-tune the "
            "model first (see training/), or name the checkpoint's own tokens"
        )
    return ids[0]
