"""Control tokens: their strings, the role of every id, and their first embedding rows."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from onegen_model.errors import CheckpointError, InvalidInputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """Strings of the four tokens a OneGen checkpoint adds (paper section 3.1: RET and CTX).

    A format that inserts no passages has no frame: both its strings are empty. Iteration leaves
    them out.
    """

    query: str = "[RQ]"
    passage: str = "[RD]"
    passage_start: str = "<paragraph>"
    passage_end: str = "</paragraph>"

    def __post_init__(self) -> None:
        """Raise InvalidInputError for half a frame."""
        if bool(self.passage_start) != bool(self.passage_end):
            raise InvalidInputError(
                f"passage_start is {self.passage_start!r} and passage_end {self.passage_end!r}; "
                "expected both, or neither; correct the template"
            )

    def __iter__(self) -> Iterator[str]:
        return filter(None, self.to_dict().values())

    @property
    def has_frame(self) -> bool:
        """Whether passages can be inserted."""
        return bool(self.passage_start)

    def to_dict(self) -> dict[str, str]:
        """The JSON form kept in a checkpoint."""
        return asdict(self)

    @property
    def described(self) -> dict[str, str]:
        """Each token, with the words whose mean its first row is; see `initialise_rows`."""
        words = DESCRIPTIONS.to_dict()
        return {token: words[name] for name, token in self.to_dict().items() if token}


# A new row starts as the mean of the rows of these words (the original does the same).
DESCRIPTIONS = ControlTokens(
    query=" search for the answer to this question",
    passage=" the content of this document",
    passage_start=" start of a document",
    passage_end=" end of the document",
)


def add_control_tokens(tokenizer: "PreTrainedTokenizerBase", tokens: Iterable[str]) -> int:
    """Add missing control tokens to the tokenizer; returns their number."""
    return tokenizer.add_special_tokens(
        {"extra_special_tokens": list(tokens)}, replace_extra_special_tokens=False
    )


def initialise_rows(
    network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", tokens: Mapping[str, str]
) -> None:
    """Grow the embeddings where needed and give each token its first row.

    `tokens` maps a token to words: the row starts as the mean of theirs.
    """
    embeddings = network.get_input_embeddings()
    if len(tokenizer) > embeddings.weight.shape[0]:  # type: ignore[index]
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    modules = {network.get_input_embeddings(), network.get_output_embeddings()} - {None}
    for token, description in tokens.items():
        row = tokenizer.convert_tokens_to_ids(token)
        words = tokenizer(description, add_special_tokens=False).input_ids
        for module in modules:
            module.weight.data[row] = module.weight.data[words].mean(dim=0)


def token_id(tokenizer: "PreTrainedTokenizerBase", token: str) -> int:
    """The one id of `token`; raises CheckpointError when the tokenizer does not have it."""
    ids: Sequence[int] = tokenizer(token, add_special_tokens=False).input_ids
    if len(ids) != 1 or ids[0] not in tokenizer.added_tokens_decoder:
        raise CheckpointError(
            f"The tokenizer has no token {token!r}; expected a OneGen checkpoint; fine-tune the "
            "model first (see training/), or name the checkpoint's own tokens"
        )
    return ids[0]


class Role(Enum):
    """The meaning of a token id in the control flow."""

    QUERY = "query"
    PASSAGE = "passage"
    FRAME_START = "frame start"
    FRAME_END = "frame end"
    END = "end"
    REFLECTION = "reflection"
    TEXT_TAG = "text tag"
    OTHER_CONTROL = "other control"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class TokenRoles:
    """Role of every token id, for one tokenizer and one template; an id without a role is text.

    `text_tags` are added tokens that are text when the model writes them (the tags of tool calls)
    and that no data may produce. A format that inserts no passages has no frame.
    """

    query: int
    passage: int
    frame_start: int | None
    frame_end: int | None
    end: frozenset[int]
    reflection: frozenset[int] = frozenset()
    text_tags: frozenset[int] = frozenset()
    other_control: frozenset[int] = frozenset()
    # End ids that are ordinary words of the vocabulary: data has to be able to produce them.
    shared_end: frozenset[int] = frozenset()
    control: frozenset[int] = field(init=False, repr=False)
    """Ids that no text of a user, a passage, a tool or a history may become."""
    masked: frozenset[int] = field(init=False, repr=False)
    """Ids that the model may never write."""
    hidden: frozenset[int] = field(init=False, repr=False)
    """Ids that are not shown in a text."""

    def __post_init__(self) -> None:
        frame = {self.passage, self.frame_start, self.frame_end} - {None}
        written = {self.query} | self.end | self.reflection
        every = frame | written | self.other_control
        object.__setattr__(self, "control", frozenset(every | self.text_tags) - self.shared_end)
        masked = frozenset(frame | self.other_control) - written - self.text_tags
        object.__setattr__(self, "masked", masked)
        object.__setattr__(self, "hidden", frozenset(every) - self.text_tags)

    @classmethod
    def of(
        cls,
        tokenizer: "PreTrainedTokenizerBase",
        tokens: ControlTokens,
        *,
        end: Collection[int],
        reflection: Sequence[str] = (),
        tags: Sequence[str] = (),
        emitted: str = "",
    ) -> "TokenRoles":
        """Roles of the tokens of `tokenizer`; raises CheckpointError where one is missing.

        `emitted` is all text that templates themselves may write; the added tokens in it are
        control tokens. `tags` are text tags where the tokenizer has them as added tokens.
        """
        added = tokenizer.added_tokens_decoder
        frame = (tokens.passage_start, tokens.passage_end)
        start, end_of_frame = (token_id(tokenizer, one) if one else None for one in frame)
        return cls(
            query=token_id(tokenizer, tokens.query),
            passage=token_id(tokenizer, tokens.passage),
            frame_start=start,
            frame_end=end_of_frame,
            end=frozenset(end),
            reflection=frozenset(token_id(tokenizer, token) for token in reflection),
            text_tags=frozenset(at for at, token in added.items() if token.content in tags),
            other_control=control_token_ids(tokenizer, emitted),
            shared_end=frozenset(end) - added.keys(),
        )

    def is_text(self, token_id: int) -> bool:
        """Whether a written token is part of the text."""
        return token_id not in self.hidden

    def role(self, token_id: int) -> Role:
        """Role of any id."""
        named = {
            self.query: Role.QUERY,
            self.passage: Role.PASSAGE,
            self.frame_start: Role.FRAME_START,
            self.frame_end: Role.FRAME_END,
        }
        if token_id in named:
            return named[token_id]
        groups = (
            (self.end, Role.END),
            (self.reflection, Role.REFLECTION),
            (self.text_tags, Role.TEXT_TAG),
            (self.other_control, Role.OTHER_CONTROL),
        )
        return next((role for ids, role in groups if token_id in ids), Role.TEXT)


def control_token_ids(tokenizer: "PreTrainedTokenizerBase", emitted: str) -> frozenset[int]:
    """Added tokens that are no text: special ones, and markup that a template emits.

    Tokenizers also add tokens that are plain text (line breaks and HTML tags in Gemma, words of a
    domain); these may come from data.
    """
    special = {*tokenizer.all_special_ids}
    return frozenset(
        at
        for at, token in tokenizer.added_tokens_decoder.items()
        if at in special
        or token.special
        # One that swallows the spaces around it would change a text.
        or token.lstrip
        or token.rstrip
        or (_is_markup(token.content) and token.content in emitted)
    )


def _is_markup(content: str) -> bool:
    """Whether an added token looks like markup: no word, no white space, no single character."""
    is_word = all(char.isalnum() or char.isspace() or char in "_\u2581" for char in content)
    return len(content) > 1 and not is_word
