"""Entity linking in ids: the prompt of a text, its tokens, the text with its mentions marked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from onegen_model.errors import CheckpointError
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.text_checks import require_text
from onegen_model.transcript.text_tokens import Range, TextTokens
from onegen_model.transcript.tokens import token_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_TOKEN = -1


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text with its mentions marked, as it is written behind the prompt.

    `tokens[i]` numbers the token of the text that id `i` stands for, NO_TOKEN where it is part of a
    tag; `links` are the positions of the link tokens.
    """

    ids: tuple[int, ...]
    tokens: tuple[int, ...]
    links: tuple[int, ...]


class LinkingRenderer:
    """Bound to a renderer whose template links entities; raises CheckpointError for any other."""

    def __init__(self, renderer: Renderer) -> None:
        linking = renderer.template.linking
        if linking is None:
            raise CheckpointError(
                "This checkpoint was not trained to link entities; expected one that was; load "
                'OneGenModel.from_pretrained("entity-linking"), or train one (see training/)'
            )
        template = replace(renderer.template, system=linking.system, prompt=linking.prompt)
        self._renderer = Renderer(template, renderer.tokenizer, renderer.max_passage_tokens)
        self._tokenizer: PreTrainedTokenizerBase = renderer.tokenizer
        self.end_id = self._renderer.end_id
        self._format = linking
        self._opening = self._tag_ids(linking.open)
        closing, link = self._tag_ids(linking.close), token_id(self._tokenizer, linking.link)
        after = [token_id(self._tokenizer, linking.after_link)] if linking.after_link else []
        self.closing = (*closing, link, *after)
        """What is written behind a mention."""
        self.link_place = len(closing)
        """The place of the link token in `closing`."""

    def _tag_ids(self, tag: str) -> list[int]:
        if self._format.tags == "tokens":
            return [token_id(self._tokenizer, tag)]
        return self._renderer.guard.encode(tag, continues=True)

    def tokens(self, text: str) -> TextTokens:
        """The tokens of a text; raises InvalidInputError for one that cannot be written."""
        text = require_text(text, "The text")
        return TextTokens.of(text, self._renderer.guard, self._format.lead)

    def cut(self, tokens: TextTokens, mentions: Sequence[Range]) -> TextTokens:
        """The tokens of a text in which the characters of each of `mentions` can be marked."""
        if all(tokens.find(mention) for mention in mentions):
            return tokens
        places = [place for mention in mentions for place in mention]
        return tokens.cut(places, self._renderer.guard)

    def prompt_ids(self, text: str) -> list[int]:
        """The prompt of a text; raises InvalidInputError for a blank one."""
        return self._renderer.prompt_ids(text)

    def opening(self, tokens: TextTokens, at: int) -> tuple[tuple[int, ...], int]:
        """What is written in place of token `at` where a mention begins with it, and how many ids
        of that are the tag.

        A tag that is a token stands in front of the token; one that is text stands behind the white
        space that the token begins with, as in the published data.
        """
        if self._format.tags == "tokens":
            return (*self._opening, tokens.ids[at]), len(self._opening)
        piece = tokens.written(at)
        bare = piece.lstrip()
        # A token that ends inside of a character stays as it is.
        if bare == piece or not tokens.is_border(at + 1):
            return (*self._opening, tokens.ids[at]), len(self._opening)
        guard = self._renderer.guard
        space = piece[: len(piece) - len(bare)]
        tag = guard.encode(space + self._format.open, continues=at > 0)
        return (*tag, *guard.encode(bare, continues=True)), len(tag)

    def marked(self, tokens: TextTokens, mentions: Sequence[Range]) -> MarkedText:
        """The whole text with `mentions` marked: ranges of tokens in order, none overlapping."""
        ids: list[int] = []
        owners: list[int] = []
        links: list[int] = []
        done = 0
        for first, last in mentions:
            before = range(done, first)
            opening, tag = self.opening(tokens, first)
            inside = range(first + 1, last)
            ids += [*(tokens.ids[at] for at in before), *opening]
            ids += [tokens.ids[at] for at in inside]
            owners += [*before, *[NO_TOKEN] * tag, *[first] * (len(opening) - tag), *inside]
            links.append(len(ids) + self.link_place)
            ids += self.closing
            owners += [NO_TOKEN] * len(self.closing)
            done = last
        rest = range(done, len(tokens))
        ids += [tokens.ids[at] for at in rest]
        return MarkedText(tuple(ids), (*owners, *rest), tuple(links))
