"""`model.link`: the text, its mentions, drafts, windows, batches, streams."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch

from onegen_model import OneGenModel, PassageIndex
from onegen_model.linking.job import Linker, LinkingTask
from onegen_model.linking.params import LinkingParams
from onegen_model.linking.reading import WindowReader
from onegen_model.linking.tagging import WritingLimits
from onegen_model.linking.writers import DetectingWriter
from onegen_model.network import normalise, read_hidden
from onegen_model.transcript.linking_renderer import LinkingRenderer
from tests.support.linking_model import TEXT, entity_index, linking_model


@pytest.fixture(scope="module")
def model() -> OneGenModel:
    return linking_model()


@pytest.fixture(scope="module")
def entities(model: OneGenModel) -> PassageIndex:
    return entity_index(model)


def write(model: OneGenModel, text: str, limits: WritingLimits) -> tuple[list, DetectingWriter]:
    renderer = LinkingRenderer(model.renderer)
    tokens, prompt = renderer.tokens(text), renderer.prompt_ids(text)
    writer = DetectingWriter(renderer, tokens, prompt, limits)
    reader = WindowReader(model.network)
    return [one for step in reader.read([writer]) for one in step], writer


@pytest.mark.parametrize("draft", [1, 3, 16])
@pytest.mark.parametrize("longest", [1, 4, 24])
def test_drafts_change_nothing_but_the_number_of_steps(
    model: OneGenModel, draft: int, longest: int
) -> None:
    one_by_one, slow = write(model, TEXT, WritingLimits(0, max_mention_tokens=longest))
    drafted, fast = write(model, TEXT, WritingLimits(draft, max_mention_tokens=longest))
    assert [one.mention for one in drafted] == [one.mention for one in one_by_one]
    assert len(drafted) > 3
    assert slow.counts.discarded <= fast.counts.discarded
    assert fast.counts.length == slow.counts.length
    for mine, other in zip(drafted, one_by_one, strict=True):
        np.testing.assert_allclose(mine.embedding, other.embedding, atol=1e-6)


class CleanWriter:
    """Mentions by the rule alone: one forward of everything that is written for each token."""

    def __init__(self, model: OneGenModel, text: str, limits: WritingLimits) -> None:
        self.network, self.limits = model.network, limits
        self.renderer = LinkingRenderer(model.renderer)
        self.tokens, self.ids = self.renderer.tokens(text), self.renderer.prompt_ids(text)
        self.discarded = 0  # positions of what has begun and was taken back

    def probability(self, ids: list[int], tag: int, at: int) -> float:
        """Of a tag against the token of the text there, or the end of the answer behind it."""
        logits = self.network(torch.tensor([ids])).logits[0, -1].double()
        text = [*self.tokens.ids, self.renderer.end_id][at]
        return float(torch.softmax(logits[[tag, text]], 0)[0])

    def end_of(self, at: int) -> int | None:
        """The end of a mention that begins at a token; None where there is none."""
        opening = self.renderer.opening(self.tokens, at)
        left = self.probability(self.ids, opening.ids[0], at)
        if left <= self.limits.threshold:
            return None
        for end in range(at + opening.width, len(self.tokens) + 1):
            if self.tokens.may_end(end):
                ids = [*self.ids, *opening.ids, *self.tokens.ids[at + opening.width : end]]
                tag = self.probability(ids, self.renderer.closing[0], end)
                if left * tag > self.limits.threshold:
                    return end
                left *= 1 - tag
                if left <= self.limits.threshold or end - at >= self.limits.max_mention_tokens:
                    break
        self.discarded += len(opening.ids) + end - (at + opening.width)
        return None

    def write(self) -> list[tuple[int, int]]:
        found, at = [], 0
        while at < len(self.tokens):
            end = self.end_of(at) if self.tokens.may_begin(at) else None
            if end is None:
                self.ids.append(self.tokens.ids[at])
                at += 1
            else:
                found.append((at, end))
                marked = self.renderer.marked(self.tokens, [(at, end)]).ids[at:]
                self.ids += marked[: len(marked) - (len(self.tokens) - end)]
                at = end
        return found


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("longest", [2, 24])
@torch.inference_mode()
def test_mentions_are_those_of_the_rule(model: OneGenModel, threshold: float, longest: int) -> None:
    limits = WritingLimits(max_mention_tokens=longest, threshold=threshold)
    closed, writer = write(model, TEXT, limits)
    clean = CleanWriter(model, TEXT, limits)
    expected = clean.write()
    assert [one.mention for one in closed] == expected
    _, slow = write(model, TEXT, replace(limits, draft=0))
    assert slow.counts.discarded == clean.discarded  # without drafts only what was taken back
    assert len(expected) > 1
    unread = writer.counts.length - (writer.counts.forwarded - writer.counts.discarded)
    assert 0 <= unread <= 2


def test_a_higher_threshold_finds_fewer_mentions(model: OneGenModel) -> None:
    found = [write(model, TEXT, WritingLimits(threshold=one))[0] for one in (0.2, 0.5, 0.9)]
    assert len(found[0]) > len(found[1]) > len(found[2])


def test_embeddings_are_those_of_a_clean_forward(model: OneGenModel) -> None:
    closed, writer = write(model, TEXT, WritingLimits())
    renderer = LinkingRenderer(model.renderer)
    mentions = [one.mention for one in closed]
    marked = renderer.marked(writer.tokens, mentions)
    ids = torch.tensor([[*writer.prompt, *marked.ids]])
    at = torch.tensor([len(writer.prompt) + link for link in marked.links])
    hidden = read_hidden(model.network, ids, torch.ones_like(ids), (torch.zeros_like(at), at))
    clean = normalise(hidden).detach().numpy()
    np.testing.assert_allclose([one.embedding for one in closed], clean, atol=1e-5)
    assert writer.counts.length == ids.shape[1]


def test_each_position_is_read_once_beside_the_discarded_drafts(model: OneGenModel) -> None:
    seen = []
    hook = model.network.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    try:
        _, writer = write(model, TEXT, WritingLimits())
    finally:
        hook.remove()
    counts = writer.counts
    assert sum(seen) == counts.forwarded
    assert len(seen) == counts.steps
    unread = counts.length - (counts.forwarded - counts.discarded)
    assert 0 <= unread <= 2
    assert counts.discarded > 0


def test_mentions_have_exact_offsets_and_candidates(
    model: OneGenModel, entities: PassageIndex
) -> None:
    linked = model.link(TEXT, entities=entities)
    assert linked.text == TEXT
    assert linked.mentions
    for one in linked.mentions:
        assert TEXT[one.start : one.end] == one.surface == one.surface.strip() != ""
        assert one.entity == one.candidates[0]
        assert one.score == one.candidates[0].score
        assert len(one.candidates) == 5
    starts = [one.start for one in linked.mentions]
    assert starts == sorted(starts)


def test_batches_streams_and_async_give_the_same(
    model: OneGenModel, entities: PassageIndex
) -> None:
    texts = [TEXT, "", TEXT[:40], " \n", TEXT * 3, "Alan Turing"]
    alone = [model.link(text, entities=entities) for text in texts]
    assert model.link(texts, entities=entities) == alone
    assert asyncio.run(model.alink(texts, entities=entities)) == alone
    for text, linked in zip(texts, alone, strict=True):
        stream = model.stream_link(text, entities=entities)
        assert tuple(stream) == linked.mentions
        assert stream.linked == linked

    async def streamed() -> None:
        stream = model.astream_link(TEXT, entities=entities)
        assert tuple([one async for one in stream]) == alone[0].mentions

    asyncio.run(streamed())


def test_windows_cover_a_long_text(model: OneGenModel, entities: PassageIndex) -> None:
    text = " ".join([TEXT] * 6)
    params = LinkingParams(window=64, overlap=16)
    linked = model.link(text, entities=entities, linking=params)
    assert linked.usage.windows > 5
    assert max(one.start for one in linked.mentions) > len(text) * 0.8
    ends = [one.end for one in linked.mentions]
    starts = [one.start for one in linked.mentions]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    stream = model.stream_link(text, entities=entities, linking=params)
    assert tuple(stream) == linked.mentions


def test_given_mentions_are_linked_among_their_candidates(
    model: OneGenModel, entities: PassageIndex
) -> None:
    spans = [(TEXT.index(name), TEXT.index(name) + len(name)) for name in ("Alan", "Ada", "enya")]
    among = [["Q3", "Q4"], ["Q1"], ["Q9"]]
    params = LinkingParams(mentions=spans, candidates=among)
    linked = model.link(TEXT, entities=entities, linking=params)
    assert [(one.start, one.end) for one in linked.mentions] == sorted(spans)
    found = {one.surface: [hit.passage.id for hit in one.candidates] for one in linked.mentions}
    assert sorted(found["Alan"]) == ["Q3", "Q4"]
    assert found["Ada"] == ["Q1"]
    assert found["enya"] == []


def test_the_linker_reads_windows_side_by_side(model: OneGenModel) -> None:
    linker = Linker(model.network, LinkingRenderer(model.renderer))
    tasks = [LinkingTask(TEXT, LinkingParams())] * 3
    search = next(one for one in linker.link(tasks) if one is not None)
    assert len(search.mentions) % 3 == 0
