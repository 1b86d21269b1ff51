"""The guard: no text becomes a control token, and no character is lost."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from onegen_model.transcript.text_guard import TextGuard
from tests.conftest import make_tokenizer

# Tokens that are not special, and so are found in any text; some overlap.
ADDED = ("<tool_call>", "</tool_call>", "l><t", "ab", "ba")
PIECES = (*ADDED, "[RQ]", "<paragraph>", "<|im_end|>", "[R", "Q]", "<tool", *"abé 🙂")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(token, special=False) for token in ADDED])
    return tokenizer


@settings(deadline=None, max_examples=200)
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example(text="<tool_call><tool_call>")
@example(text="abababa")
def test_text_becomes_ids_that_say_it_and_control_nothing(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    guard = TextGuard(tokenizer, frozenset(tokenizer.added_tokens_decoder))
    ids = guard.encode(text)
    assert guard.control_ids.isdisjoint(ids)
    assert tokenizer.decode(ids) == text


def test_a_text_of_many_control_tokens_is_encoded_as_text(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    text = "<tool_call>" * 3000
    guard = TextGuard(tokenizer, frozenset(tokenizer.added_tokens_decoder))
    ids = guard.encode(text)
    assert guard.control_ids.isdisjoint(ids)
    assert tokenizer.decode(ids) == text
