"""The bytes and the text of single tokens."""

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from onegen_model.engine.constraint import _Vocabulary
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from onegen_model.transcript.text_guard import TextGuard
from onegen_model.transcript.token_texts import TokenisesText, TokenTexts
from tests.conftest import make_tokenizer
from tests.support import tokenizers

FAMILIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "tiny": make_tokenizer,
    "llama 2": tokenizers.llama_2,
    "mistral": tokenizers.mistral,
    "gemma": tokenizers.gemma,
    "qwen 2": tokenizers.qwen_2,
    "llama 3": tokenizers.llama_3,
}
TEXT = "he said  a heath.\n\nJ\u00f8rn \u6771\u4eac \U0001f642 <0x41> \u0120a ab"


@pytest.fixture(params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return FAMILIES[request.param]()


def test_the_bytes_of_the_tokens_are_those_of_the_text(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    ids = TextGuard(tokenizer, frozenset()).encode(TEXT, continues=True)
    texts = TokenTexts(tokenizer)
    assert any(len(texts[at]) > 1 for at in ids)
    assert b"".join(texts[at] for at in ids) == TEXT.encode()


def test_every_token_has_the_bytes_that_a_grammar_sees(tokenizer: PreTrainedTokenizerFast) -> None:
    control = frozenset(tokenizer.get_added_vocab().values())
    seen = _Vocabulary(tokenizer, control, [tokenizer.eos_token_id]).tokens
    texts = TokenTexts(tokenizer)
    # llguidance keeps the byte 255, which no text has, for marks of its own.
    plain = [at for at in range(len(tokenizer)) if at not in control and texts[at] != b"\xff"]
    assert len(plain) > 250
    assert {at: texts[at] for at in plain} == {at: seen[at] for at in plain}


def test_a_control_token_has_its_name(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = TokenTexts(tokenizer)
    for name, at in tokenizer.get_added_vocab().items():
        assert texts[at] == name.encode()


def test_an_id_without_a_token_has_no_bytes(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = TokenTexts(tokenizer)
    assert texts[len(tokenizer)] == texts[-1] == b""


def test_word_pieces_read_as_behind_other_text() -> None:
    vocabulary = {"[UNK]": 0, "walk": 1, "##ing": 2}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    texts = TokenTexts(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert (texts[1], texts[2]) == (b" walk", b"ing")


def test_words_without_a_decoder_have_a_space_between_them() -> None:
    backend = Tokenizer(models.WordLevel({"walk": 0, "away": 1}, unk_token="walk"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    texts = TokenTexts(tokenizer)
    assert (texts[0] + texts[1]).decode().lstrip() == tokenizer.decode([0, 1])


def test_a_model_knows_its_tokens(renderer: Renderer) -> None:
    model = TokenisesText()
    model.renderer = renderer
    ids = model.token_ids("\u6771 mill")
    assert model.count_tokens("\u6771 mill") == len(ids)
    assert b"".join(map(model.token_bytes, ids)).decode() == "\u6771 mill"
    assert model.token_text(ids[0]) == "\ufffd" != model.token_bytes(ids[0])
    assert model.token_text(renderer.query_id) == Template().tokens.query
