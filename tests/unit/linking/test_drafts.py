"""Drafts that guess mentions, read by a scripted model: whether the guesses are right, wrong, or
right in part, what is written is what one decision after the other writes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from re import finditer
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onegen_model.linking.tagging import Choice, WritingLimits
from onegen_model.linking.writers import DetectingWriter, Plan
from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.text_tokens import Range
from tests.support.linking_model import family_of
from tests.unit.linking.test_any_text import FAMILIES, TEXTS

NAMES = st.lists(
    st.sampled_from(
        [
            *("Ada Lovelace", "Alan Turing", "Mount Kenya", "Earl of Kent", "May 2017", "Ada"),
            *("met", "the", "in", "old age", "when", "said.", "saw\n\n", "(", "),", "it's", "漢字"),
        ]
    ),
    min_size=1,
    max_size=24,
).map(" ".join)
# The logit of the tag minus that of the text.
Decide = Callable[[Choice, tuple[int, ...]], float]
SURE = 30.0


@cache
def renderer_of(family: str) -> LinkingRenderer:
    tokenizer, template = family_of(family)
    return LinkingRenderer(Renderer(template, tokenizer, 64))


@dataclass
class ScriptedModel:
    """Decides by all ids before a decision, so that one wrong id before it would show."""

    decide: Decide
    ids: list[int] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    found: list[list[tuple[Range, tuple[int, ...]]]] = field(default_factory=list)

    def write(self, writer: DetectingWriter) -> None:
        while not writer.is_finished:
            plan = writer.plan()
            assert plan.start <= len(self.ids)
            self.ids[plan.start :] = plan.ids
            seen = [self.before(plan, one.at) for one in plan.decisions]
            pairs = zip(plan.decisions, seen, strict=True)
            outcomes = [self.decide(one.choice, ids) for one, ids in pairs]
            links = [self.before(plan, at) for at in plan.links]
            self.plans.append(plan)
            self.found.append(list(zip(writer.accept(outcomes), links, strict=False)))

    def before(self, plan: Plan, at: int) -> tuple[int, ...]:
        return tuple(self.ids[: plan.start + at + 1])

    @property
    def mentions(self) -> list[tuple[Range, tuple[int, ...]]]:
        """Each mention with the ids up to its link token, of which its embedding is made."""
        return [one for step in self.found for one in step]


def write(
    family: str, text: str, decide: Decide, limits: WritingLimits
) -> tuple[ScriptedModel, DetectingWriter]:
    renderer, model = renderer_of(family), ScriptedModel(decide)
    tokens, prompt = renderer.tokens(text), renderer.prompt_ids(text)
    limits = replace(limits, room=len(prompt) + len(tokens) + limits.room)
    writer = DetectingWriter(renderer, tokens, prompt, limits)
    model.write(writer)
    return model, writer


def by_chance(choice: Choice, ids: tuple[int, ...], salt: int) -> float:
    """A number below 1 that all that was read decides."""
    return crc32(repr((choice, ids, salt)).encode()) / 2**32


def by_capitals(family: str, wrong: float = 0, salt: int = 0) -> Decide:
    """Marks words with capital letters; so large a part of all decisions is otherwise, and then
    none is sure."""
    renderer = renderer_of(family)
    tokenizer, _ = family_of(family)

    def decide(choice: Choice, ids: tuple[int, ...]) -> float:
        is_capital = tokenizer.decode([choice.text]).strip()[:1].isupper()
        is_tag = is_capital != (choice.tag == renderer.closing[0])
        is_tag = is_tag != (by_chance(choice, ids, salt) < wrong)
        size = 8 * by_chance(choice, ids, salt + 1) if wrong else SURE
        return size if is_tag else -size

    return decide


@pytest.mark.parametrize("family", FAMILIES)
@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    text=st.one_of(TEXTS, NAMES),
    wrong=st.sampled_from([0, 0.03, 0.15, 0.5, 0.85]),
    salt=st.integers(0, 99),
    limits=st.builds(
        WritingLimits,
        draft=st.integers(1, 24),
        longest_draft=st.integers(1, 48),
        max_mention_tokens=st.sampled_from([1, 3, 24]),
        threshold=st.sampled_from([0.2, 0.5, 0.9]),
        room=st.sampled_from([0, 9, 40, 10_000]),
    ),
)
def test_guesses_change_nothing_that_is_written(
    family: str, text: str, wrong: float, salt: int, limits: WritingLimits
) -> None:
    if not text.strip():
        return
    decide = by_capitals(family, wrong, salt)
    slow, one_by_one = write(family, text, decide, replace(limits, draft=0))
    fast, drafted = write(family, text, decide, limits)
    assert fast.mentions == slow.mentions
    assert drafted.counts.length == one_by_one.counts.length
    counts = drafted.counts
    assert counts.steps == len(fast.plans) <= one_by_one.counts.steps
    assert counts.forwarded == sum(len(plan.ids) for plan in fast.plans)
    # Each position is read once, and behind the last one that decides something none is.
    kept = counts.forwarded - counts.discarded
    assert kept == one_by_one.counts.forwarded - one_by_one.counts.discarded <= counts.length
    renderer, mentions = drafted.renderer, [mention for mention, _ in fast.mentions]
    written = (*drafted.prompt, *renderer.marked(drafted.tokens, mentions).ids)
    unmarked = len(drafted.prompt) + len(drafted.tokens)
    assert counts.length == len(written) <= max(drafted.limits.room, unmarked)
    assert tuple(fast.ids[:kept]) == tuple(slow.ids[:kept]) == written[:kept]


TEXT = "In spring Ada Lovelace met Alan Turing and saw Mount Kenya, but Ada Lovelace went on."


def marking(family: str, text: str, *surfaces: str) -> Decide:
    """Marks these surfaces alone, wherever they stand."""
    renderer = renderer_of(family)
    tokens = renderer.tokens(text)
    places = sorted(one.span() for surface in surfaces for one in finditer(surface, text))
    mentions = [found for place in places if (found := tokens.find(place)) is not None]
    ids = (*renderer.prompt_ids(text), *renderer.marked(tokens, mentions).ids)

    def decide(choice: Choice, read: tuple[int, ...]) -> float:
        is_tag = read == ids[: len(read)] and ids[len(read)] == choice.tag
        return SURE if is_tag else -SURE

    return decide


@pytest.mark.parametrize("family", FAMILIES)
def test_right_guesses_take_all_mentions_in_one_pass(family: str) -> None:
    decide = marking(family, TEXT, "Ada Lovelace", "Alan Turing", "Mount Kenya")
    model, writer = write(family, TEXT, decide, WritingLimits(200, room=1000))
    assert [len(step) for step in model.found] == [4]
    assert writer.counts.discarded == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_draft_is_kept_up_to_the_first_wrong_guess(family: str) -> None:
    decide = marking(family, TEXT, "Ada Lovelace", "Alan Turing")
    model, _ = write(family, TEXT, decide, WritingLimits(200, room=1000))
    first, second = model.plans[:2]
    assert (len(first.links), len(model.found[0])) == (4, 2)
    assert second.start < len(first.ids)
    renderer = renderer_of(family)
    tokens = renderer.tokens(TEXT)
    surfaces = [TEXT[slice(*tokens.surface(one))] for one, _ in model.mentions]
    assert surfaces == ["Ada Lovelace", "Alan Turing", "Ada Lovelace"]


def test_drafts_grow_while_they_are_right_and_start_again_when_not() -> None:
    text = "it is said that " * 20 + "Ada " + "it is said that " * 20
    grown, _ = write("llama 3", text, by_capitals("llama 3"), WritingLimits(8, 30, room=1000))
    widths = [len(plan.ids) for plan in grown.plans][1:]
    assert max(widths) > 24
    assert any(one > other for one, other in pairwise(widths[:-1]))
    level, _ = write("llama 3", text, by_capitals("llama 3"), WritingLimits(8, 8, room=1000))
    assert max(len(plan.ids) for plan in level.plans[1:]) < 8 + 6
