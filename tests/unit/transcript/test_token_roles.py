"""Roles of token ids, and the guard, with the tokenizer of each family of base models."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from onegen_model import Conversation, Message, Passage
from onegen_model.checkpoint.default_base import prepare_base
from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.transcript.conversation import conversation_ids
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from onegen_model.transcript.text_guard import TextGuard
from onegen_model.transcript.tokens import Role, add_control_tokens
from tests.conftest import make_tokenizer
from tests.support import tokenizers as families


def smollm_2() -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(prepare_base(progress=False))
    add_control_tokens(tokenizer, Template().added_tokens)
    return tokenizer  # type: ignore[no-any-return]


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "SmolLM2": smollm_2,
    "Llama 2": families.llama_2,
    "Llama 3": families.llama_3,
    "Mistral": families.mistral,
    "Qwen2": families.qwen_2,
    "Gemma": families.gemma,
}
PIECES = [" ", "  ", "\n", "\n\n", "\t", "a", "he", ".", "é", "東京", "🙂", "\0", "<", "[INST"]


@pytest.fixture(scope="module", params=FAMILIES)
def bound(request: pytest.FixtureRequest) -> Renderer:
    return Renderer(Template(), FAMILIES[request.param](), max_passage_tokens=512)


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_text_keeps_every_character_and_controls_nothing(
    bound: Renderer, data: st.DataObject
) -> None:
    added = sorted(bound.tokenizer.get_added_vocab())
    pieces = st.one_of(st.sampled_from(PIECES), st.sampled_from(added))
    text = data.draw(st.lists(pieces, max_size=8).map("".join))
    ids = bound.text_ids(text)
    assert bound.roles.control.isdisjoint(ids)
    shown = bound.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert shown == unicodedata.normalize("NFC", text)


def test_line_breaks_that_are_added_tokens_are_text() -> None:
    gemma = Renderer(Template(), families.gemma(), max_passage_tokens=64)
    line_break = gemma.tokenizer.convert_tokens_to_ids("\n")
    assert gemma.text_ids("a\na").count(line_break) == 1
    assert gemma.roles.role(line_break) is Role.TEXT
    assert line_break not in gemma.roles.masked
    assert gemma.end_id == gemma.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    frame = gemma.frame_ids(Passage("1", "a\n\na", "he"))
    assert gemma.tokenizer.decode(frame) == "<paragraph>he\na\n\na</paragraph>"


def test_the_roles_of_a_tokenizer() -> None:
    renderer = Renderer(Template(), families.qwen_2(), 64, end_ids=[3])
    of, roles = renderer.tokenizer.convert_tokens_to_ids, renderer.roles
    expected = {
        "[RQ]": Role.QUERY,
        "[RD]": Role.PASSAGE,
        "<paragraph>": Role.FRAME_START,
        "</paragraph>": Role.FRAME_END,
        "<|im_end|>": Role.END,
        "<tool_call>": Role.TEXT_TAG,
        "<|im_start|>": Role.OTHER_CONTROL,
        "<|fim_prefix|>": Role.TEXT,
        "he": Role.TEXT,
    }
    assert {token: roles.role(of(token)) for token in expected} == expected
    assert roles.role(3) is Role.END
    assert {of("[RD]"), of("<paragraph>"), of("<|im_start|>")} <= roles.masked
    assert roles.masked.isdisjoint({of("[RQ]"), of("<|im_end|>"), of("<tool_call>"), of("he")})
    assert of("<tool_call>") in roles.control - roles.hidden
    # An end token that is an ordinary word of the vocabulary stays in the reach of data.
    assert 3 in roles.end & roles.hidden - roles.control
    assert not roles.is_text(3)


def test_reflection_tokens_are_written_and_not_shown() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["[Relevant]"])
    roles = Renderer(Template(reflection=("[Relevant]",)), tokenizer, 64).roles
    (relevant,) = roles.reflection
    assert roles.role(relevant) is Role.REFLECTION
    assert relevant in roles.control & roles.hidden - roles.masked


def test_a_control_token_that_text_needs_is_refused_at_construction() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("#", special=True)])
    with pytest.raises(CheckpointError, match="control token '#' of the tokenizer is a character"):
        Renderer(Template(), tokenizer, max_passage_tokens=64)


def test_a_character_that_becomes_a_control_token_is_spelled_or_refused_and_never_dropped() -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens([AddedToken("a.m.", normalized=True, rstrip=True), AddedToken("ß")])
    added = frozenset(tokenizer.added_tokens_decoder)
    without = added - {tokenizer.convert_tokens_to_ids("ß")}
    assert tokenizer.decode(TextGuard(tokenizer, without).encode("8 ㏂ a.m.")) == "8 a.m. a.m."
    with pytest.raises(CheckpointError, match="control token 'ß'"):
        TextGuard(tokenizer, added)


def test_text_behind_a_control_string_gets_no_space() -> None:
    renderer = Renderer(Template(), families.llama_2(), max_passage_tokens=64)
    assert renderer.tokenizer.decode(renderer.text_ids("he[RQ]he")) == "he[RQ]he"
    assert renderer.text_ids("he", continues=True) != renderer.text_ids("he")


@pytest.mark.parametrize("value", [None, 3, 0.5, float("nan"), b"he", ["he"]])
def test_anything_but_text_is_named(renderer: Renderer, value: object) -> None:
    expected = f"of type {type(value).__name__}; expected text"
    with pytest.raises(InvalidInputError, match=f"The text is .*{expected}"):
        renderer.text_ids(value)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=f"The question is .*{expected}"):
        renderer.question_ids(value)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=f"The text of passage 'p7' is .*{expected}"):
        renderer.embed_ids(Passage("p7", value))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=f"The title of passage 'p7' is .*{expected}"):
        renderer.frame_ids(Passage("p7", "he", value))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"The id of a passage is .*expected text"):
        renderer.frame_ids(Passage(value, "he"))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"A passage is of type .*expected a Passage"):
        renderer.frame_ids(value)  # type: ignore[arg-type]


def test_a_lone_surrogate_is_named(renderer: Renderer) -> None:
    problem = r"holds the lone surrogate '\\udce9' at character 2; expected text"
    with pytest.raises(InvalidInputError, match=f"The question {problem}"):
        renderer.question_ids("ca\udce9?")
    with pytest.raises(InvalidInputError, match=f"The text of passage 'p7' {problem}"):
        renderer.embed_ids(Passage("p7", "ca\udce9"))
    assert renderer.tokenizer.decode(renderer.text_ids("a\0b")) == "a\0b"


def test_a_tool_whose_text_a_normaliser_makes_a_control_token_stays_text() -> None:
    tokenizer = families.qwen_2()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens([AddedToken("<|tools|>", normalized=True)])
    tokenizer.chat_template = (
        "{% if tools %}<|tools|>{{ tools | tojson }}{% endif %}" + tokenizer.chat_template
    )
    renderer = Renderer(Template(), tokenizer, max_passage_tokens=64)
    wide = "\N{FULLWIDTH LESS-THAN SIGN}|tools|\N{FULLWIDTH GREATER-THAN SIGN}"
    tool = {"type": "function", "function": {"name": "look", "description": wide}}
    question = Conversation((Message("user", "Who?"),), (tool,))
    ids = conversation_ids(renderer, question)
    assert ids.count(tokenizer.convert_tokens_to_ids("<|tools|>")) == 1
