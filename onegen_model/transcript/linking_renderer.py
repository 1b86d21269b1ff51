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
# Pieces of text whose ids behind a tag that is text are remembered.
_PIECES = 4096


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text with its mentions marked, as it is written behind the prompt.

    `tokens[i]` numbers the token of the text that id `i` stands for, NO_TOKEN where it is part of a
    tag; `links` are the positions of the link tokens.
    """

    ids: tuple[int, ...]
    tokens: tuple[int, ...]
    links: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """`ids` are written in place of `width` tokens of a text; the first `tag` of them are the tag.

    The width is 1 unless several tokens stand for one character.
    """

    ids: tuple[int, ...]
    tag: int
    width: int


class LinkingRenderer:
    """Bound to a renderer whose template links entities; raises CheckpointError for any other."""

    def __init__(self, renderer: Renderer) -> None:
        linking = renderer.template.linking
        if linking is None:
            raise CheckpointError(
                "This checkpoint was not trained to link entities; expected one that was; use "
                "--model entity-linking, load "
                'OneGenModel.from_pretrained("entity-linking"), or train one (see training/)'
            )
        template = replace(renderer.template, system=linking.system, prompt=linking.prompt)
        self._renderer = Renderer(template, renderer.tokenizer, renderer.max_passage_tokens)
        self._tokenizer: PreTrainedTokenizerBase = renderer.tokenizer
        self.end_id = self._renderer.end_id
        self._format = linking
        self._opening = self._tag_ids(linking.open)
        self._opened: dict[tuple[str, bool], tuple[tuple[int, ...], int]] = {}
        closing, link = self._tag_ids(linking.close), token_id(self._tokenizer, linking.link)
        after = [token_id(self._tokenizer, linking.after_link)] if linking.after_link else []
        self.closing = (*closing, link, *after)
        """What is written behind a mention."""
        self.link_place = len(closing)
        """The place of the link token in `closing`."""
        self.tag_length = len(self._opening) + len(self.closing)
        """How many ids the tags of a mention have, about as many where they are text."""

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

    def opening(self, tokens: TextTokens, at: int) -> Opening:
        """What is written where a mention begins with token `at`.

        A tag that is a token stands in front of the token; one that is text stands behind the white
        space that the token begins with, as in the published data.
        """
        last = tokens.next_border(at)
        piece = tokens.written(at, last)
        # Some tokenizers put a space in front of a text, which belongs in front of the tag.
        if self._format.tags == "tokens" or (at and not piece[:1].isspace()):
            return Opening((*self._opening, tokens.ids[at]), len(self._opening), 1)
        key = piece, at > 0
        if (found := self._opened.get(key)) is None:
            if len(self._opened) >= _PIECES:
                self._opened.clear()
            found = self._opened[key] = self._open_as_text(*key)
        ids, tag = found
        return Opening(ids, tag, last - at)

    def _open_as_text(self, piece: str, continues: bool) -> tuple[tuple[int, ...], int]:
        """A tag that is text inside of a piece of text, and how many ids of that are the tag."""
        bare, guard = piece.lstrip(), self._renderer.guard
        tag = guard.encode(piece[: len(piece) - len(bare)] + self._format.open, continues=continues)
        return (*tag, *guard.encode(bare, continues=True)), len(tag)

    def marked(self, tokens: TextTokens, mentions: Sequence[Range]) -> MarkedText:
        """The whole text with `mentions` marked: ranges of tokens in order, none overlapping."""
        ids: list[int] = []
        owners: list[int] = []
        links: list[int] = []
        done = 0
        for first, last in mentions:
            before = range(done, first)
            opening = self.opening(tokens, first)
            inside = range(first + opening.width, last)
            ids += [*(tokens.ids[at] for at in before), *opening.ids]
            ids += [tokens.ids[at] for at in inside]
            shown = len(opening.ids) - opening.tag
            owners += [*before, *[NO_TOKEN] * opening.tag, *[first] * shown, *inside]
            links.append(len(ids) + self.link_place)
            ids += self.closing
            owners += [NO_TOKEN] * len(self.closing)
            done = last
        rest = range(done, len(tokens))
        ids += [tokens.ids[at] for at in rest]
        return MarkedText(tuple(ids), (*owners, *rest), tuple(links))
