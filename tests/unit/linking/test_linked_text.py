"""Linked texts that are put together."""

import json
import pickle

import pytest

from onegen_model import LinkedText, LinkingUsage, Mention, Passage, ScoredPassage
from onegen_model.events import FragmentHit


def test_linked_texts_add_up() -> None:
    first = LinkedText("Ada met ", (Mention(0, 3, "Ada", None, None),), LinkingUsage(forwarded=2))
    second = LinkedText("Alan.", (Mention(0, 4, "Alan", None, 0.5),), LinkingUsage(forwarded=3))
    both = first + second
    assert both == LinkedText(
        "Ada met Alan.", (first.mentions[0], Mention(8, 12, "Alan", None, 0.5))
    )
    assert both.usage.forwarded == 5
    assert all(both.text[one.start : one.end] == one.surface for one in both.mentions)
    assert LinkedText("", ()) + first == first
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = first + "text"  # type: ignore[operator]


@pytest.mark.parametrize("hit", [ScoredPassage, lambda *fields: FragmentHit(*fields, 2)])
def test_linked_texts_come_back_from_json_and_from_pickles(hit: type[ScoredPassage]) -> None:
    candidates = (hit(Passage("Q1", "text", "Ada", {"kind": "person"}), 0.5),)
    mentions = (
        Mention(0, 3, "Ada", candidates[0], 0.5, candidates),
        Mention(8, 12, "Alan", None, 0.5, candidates),
        Mention(13, 14, "x", None, None),
    )
    linked = LinkedText("Ada met Alan x", mentions, LinkingUsage(3, 2, 1, 1, 1))
    for back in (
        LinkedText.from_dict(json.loads(json.dumps(linked.to_dict()))),
        pickle.loads(pickle.dumps(linked)),
    ):
        assert back == linked
        assert back.usage == linked.usage
