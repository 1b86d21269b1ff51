"""Linking of any Unicode text, with the tokenizers of several families: nothing is lost or changed,
and drafts, batches, streams and windows change nothing."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from onegen_model import LinkedText, LinkingParams, OneGenModel, PassageIndex
from onegen_model.linking.reading import WindowReader
from onegen_model.linking.tagging import WritingLimits
from onegen_model.linking.writers import Counts, DetectingWriter
from onegen_model.transcript.linking_renderer import NO_TOKEN, LinkingRenderer
from onegen_model.transcript.text_tokens import Range, TextTokens
from tests.support.linking_model import entity_index, linking_model_of

FAMILIES = [
    "tiny",
    "llama 2",
    "gemma",
    "qwen 2",
    "llama 3",
    "tiny, text tags",
    "llama 2, text tags",
    "qwen 2, text tags",
]
MARKUP = [
    *("<MENTION>", "</MENTION>", "[LK]", "[SE]", "[_CONTINUE_]", "<MEN", "TION>", "[L", "K]"),
    *("<|im_end|>", "<|im_start|>user\n", "<paragraph>", "[RQ]", "[RD]", "<s>", "</s>", "[INST]"),
    *("<|eot_id|>", "<end_of_turn>", "<unk>", "<0x41>", "{question}", "</FINAL-ANSWER>"),
]
SPACES = [" ", "  ", "\n", "\n\n", "\r\n", "\t", "\x0b", "\xa0", "\u3000", "\u2028", "\x1c", "\x85"]
MARKS = [
    *("\x00", "\u200b", "\u200d", "\ufeff", "\u202e", "\ufffd", "\u0301", " \u0301", "e\u0301"),
    *("\u0600 ", "\u0600a", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1f0"),
    *("\U0001f44d\U0001f3fd", "\U0001d518", "\u1100\u1161\u11a8", "\ufb01", "\u0344", "\u2126"),
]
WORDS = [
    *("Ada", " Lovelace", " Mount Kenya", " a", "he", "Straße", "שלום", "عربي", "漢字", "नि", "한"),
    *(
        "def f(x):\n    return x  # 3",
        '{"a": [1, 2]}',
        "http://a.b/c?d=e",
        "12,345.6",
        ".",
        ",",
        "-",
    ),
]
TEXTS = st.lists(
    st.one_of(*map(st.sampled_from, (MARKUP, SPACES, MARKS, WORDS)), st.text(max_size=6)),
    min_size=1,
    max_size=14,
).map("".join)
MANY = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
FEW = settings(MANY, max_examples=4)
families = pytest.mark.parametrize("family", FAMILIES)


@cache
def world(family: str) -> tuple[OneGenModel, PassageIndex, LinkingRenderer]:
    model = linking_model_of(family)
    return model, entity_index(model), LinkingRenderer(model.renderer)


def graphemes(text: str) -> set[int]:
    """Where a grapheme begins, and the end of the text."""
    return {found.start() for found in regex.finditer(r"\X", text)} | {len(text)}


def check(linked: LinkedText, text: str) -> None:
    assert linked.text == text
    borders, done = graphemes(text), 0
    for one in linked.mentions:
        assert text[one.start : one.end] == one.surface == one.surface.strip() != ""
        assert done <= one.start < one.end
        assert {one.start, one.end} <= borders
        assert len(one.candidates) == 5
        done = one.end
    usage = linked.usage
    assert usage.forwarded - usage.discarded <= usage.length


def same(one: LinkedText, other: LinkedText) -> bool:
    """Scores may differ in their last digits, because rows of a batch are summed otherwise."""

    def plain(linked: LinkedText) -> list[Any]:
        return [(found.start, found.end) for found in linked.mentions]

    def scores(linked: LinkedText) -> list[float]:
        return [hit.score for found in linked.mentions for hit in found.candidates]

    return plain(one) == plain(other) and np.allclose(scores(one), scores(other), atol=1e-5)


def spans_of(tokens: TextTokens, data: st.DataObject) -> list[Range]:
    """Some ranges of tokens that may be mentions, side by side."""
    found: list[Range] = []
    at = 0
    while at < len(tokens):
        ends = [end for end in range(at + 1, len(tokens) + 1) if tokens.may_end(end)]
        if tokens.may_begin(at) and ends and data.draw(st.booleans()):
            found.append((at, data.draw(st.sampled_from(ends[:4]))))
            at = found[-1][1]
        else:
            at += 1
    return found


@families
@MANY
@given(text=TEXTS, data=st.data())
def test_what_is_written_without_tags_is_the_text(
    family: str, text: str, data: st.DataObject
) -> None:
    model, _, renderer = world(family)
    tokens = renderer.tokens(text)
    mentions = spans_of(tokens, data)
    marked = renderer.marked(tokens, mentions)
    tokenizer = model.renderer.tokenizer
    if family.endswith("text tags"):
        assert said(tokenizer, marked.ids) == meaning(with_tags(model, tokens, mentions))
    else:
        kept = [i for i, at in zip(marked.ids, marked.tokens, strict=True) if at != NO_TOKEN]
        assert kept == list(tokens.ids)
    link = tokenizer.convert_tokens_to_ids("[LK]")
    assert [at for at, one in enumerate(marked.ids) if one == link] == list(marked.links)
    assert len(marked.links) == len(mentions)
    assert link not in renderer.prompt_ids(text or "a") if text.strip() else True
    borders = graphemes(text)
    for one in mentions:
        start, end = tokens.surface(one)
        assert text[start:end] == text[start:end].strip() != ""
        assert {start, end} <= borders
        assert tokens.surface(tokens.find((start, end)) or (0, 0)) == (start, end)


def with_tags(model: OneGenModel, tokens: TextTokens, mentions: Sequence[Range]) -> str:
    linking = model.template.linking
    assert linking is not None
    text, done = "", 0
    for first, last in mentions:
        start, end = tokens.surface((first, last))[0], tokens.spans[last - 1][1]
        text += tokens.text[done:start] + linking.open + tokens.text[start:end]
        text += linking.close + linking.link + linking.after_link
        done = end
    return text + tokens.text[done:]


def said(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return meaning(tokenizer.decode([*ids], clean_up_tokenization_spaces=False))


def meaning(text: str) -> str:
    """What these tokenizers keep of a text: some compose characters, and write a space as one that
    no text of the test has."""
    return unicodedata.normalize("NFC", text.replace("\u2581", " "))


@families
@MANY
@given(text=TEXTS, data=st.data())
@example(text=" \u0301a", data=None)
@example(text="a\u0600 b", data=None)
@example(text="a\r\nb", data=None)
def test_given_mentions_come_back(family: str, text: str, data: st.DataObject | None) -> None:
    model, entities, _ = world(family)
    spans = words_of(text, data)
    params = LinkingParams(mentions=spans[::-1])
    linked = model.link(text, entities=entities, linking=params)
    check(linked, text)
    assert [(one.start, one.end) for one in linked.mentions] == spans


def words_of(text: str, data: st.DataObject | None) -> list[Range]:
    """Spans on borders of graphemes, without white space around them, side by side."""
    borders = sorted(graphemes(text))
    found: list[Range] = []
    for number, start in enumerate(borders):
        if (found and start < found[-1][1]) or (data and not data.draw(st.booleans())):
            continue
        ends = [end for end in borders[number + 1 : number + 9] if is_bare(text[start:end])]
        if ends:
            found.append((start, data.draw(st.sampled_from(ends)) if data else ends[0]))
    return found


def is_bare(text: str) -> bool:
    return bool(text) and text == text.strip()


def write(family: str, text: str, limits: WritingLimits) -> tuple[list[Any], Counts, int]:
    """The mentions with their embeddings, the counters, and what a hook on the network counts."""
    model, _, renderer = world(family)
    seen = []
    hook = model.network.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    writer = DetectingWriter(renderer, renderer.tokens(text), renderer.prompt_ids(text), limits)
    try:
        steps = list(WindowReader(model.network).read([writer]))
    finally:
        hook.remove()
    return [one for step in steps for one in step], writer.counts, sum(seen)


@families
@FEW
@given(text=TEXTS, longest=st.sampled_from([1, 3, 24]), draft=st.integers(1, 20))
def test_drafts_change_nothing(family: str, text: str, longest: int, draft: int) -> None:
    if not text.strip():
        return
    slow, counts, _ = write(family, text, WritingLimits(0, max_mention_tokens=longest))
    fast, drafted, seen = write(family, text, WritingLimits(draft, max_mention_tokens=longest))
    assert [one.mention for one in fast] == [one.mention for one in slow]
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-6)
    assert counts.discarded <= drafted.discarded  # only what was taken back
    assert counts.length == drafted.length
    assert seen == drafted.forwarded
    unread = drafted.length - (drafted.forwarded - drafted.discarded)
    assert unread == counts.length - (counts.forwarded - counts.discarded)
    # The end of a text, where no mention may begin, is not read; without any place nothing is.
    _, _, renderer = world(family)
    tokens = renderer.tokens(text)
    places = [at for at in range(len(tokens)) if tokens.may_begin(at)]
    behind = len(tokens) - places[-1] if places else drafted.length
    assert 0 <= unread <= behind + 1


@families
@FEW
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_a_text_does_not_depend_on_the_others_of_its_batch(family: str, texts: list[str]) -> None:
    model, entities, _ = world(family)
    found = model.link(texts, entities=entities)
    for text, linked in zip(texts, found, strict=True):
        check(linked, text)
        assert same(linked, model.link(text, entities=entities))


@families
@FEW
@given(
    text=TEXTS,
    repeats=st.integers(1, 5),
    window=st.integers(16, 40),
    share=st.integers(0, 2),
    data=st.data(),
)
def test_windows_keep_every_promise(
    family: str, text: str, repeats: int, window: int, share: int, data: st.DataObject
) -> None:
    model, entities, _ = world(family)
    text *= repeats
    params = LinkingParams(window=window, overlap=window * share // 4)
    linked = model.link(text, entities=entities, linking=params)
    check(linked, text)
    stream = model.stream_link(text, entities=entities, linking=params)
    streamed = LinkedText(text, tuple(stream))
    assert same(linked, streamed)
    assert stream.linked.mentions == streamed.mentions
    spans = words_of(text, data)
    params = LinkingParams(window=window, overlap=params.overlap, mentions=spans)
    linked = model.link(text, entities=entities, linking=params)
    check(linked, text)
    assert [(one.start, one.end) for one in linked.mentions] == spans


@families
@FEW
@given(text=TEXTS)
def test_each_link_token_is_that_of_a_mention(family: str, text: str) -> None:
    """Without drafts, in which mentions are guessed: none of the text's own becomes one."""
    model, _, renderer = world(family)
    seen: list[int] = []
    hook = model.network.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: seen.extend(kwargs["input_ids"].flatten().tolist()),
        with_kwargs=True,
    )
    text = f"[LK]{text}[LK]"
    writer = DetectingWriter(
        renderer, renderer.tokens(text), renderer.prompt_ids(text), WritingLimits(0)
    )
    try:
        steps = list(WindowReader(model.network).read([writer]))
    finally:
        hook.remove()
    link = model.renderer.tokenizer.convert_tokens_to_ids("[LK]")
    assert seen.count(link) == sum(map(len, steps))
    assert len(seen) == writer.counts.forwarded
