"""Written ids to text: whole characters, stop strings, and nothing lost."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from onegen_model.transcript.detokenizer import TextStream
from onegen_model.transcript.tokens import TokenRoles
from tests.conftest import make_tokenizer

HELLO = "Jørn Tolvær, 東京 and 🙂 in the house"


def roles(tokenizer: PreTrainedTokenizerFast, *reflection: str) -> TokenRoles:
    added = tokenizer.get_added_vocab()
    shown = frozenset(added[token] for token in reflection)
    return TokenRoles(
        query=added.get("[RQ]", -1),
        passage=-1,
        frame_start=-1,
        frame_end=-1,
        end=frozenset({tokenizer.eos_token_id} - {None}),
        reflection=shown,
        other_control=frozenset(added.values()) - shown,
    )


def stream(tokenizer: PreTrainedTokenizerFast, *stop: str) -> TextStream:
    return TextStream(tokenizer, roles(tokenizer), stop)


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
    return list(encoded.input_ids)


def pieces(texts: TextStream, ids: Sequence[int]) -> list[str]:
    return [*map(texts.push, ids), texts.flush()]


def test_characters_split_over_tokens_come_whole(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ids = ids_of(tiny_tokenizer, HELLO)
    assert len(ids) > len(HELLO) / 2
    texts = stream(tiny_tokenizer)
    parts = pieces(texts, ids)
    assert "".join(parts) == texts.text == HELLO
    assert not any("\ufffd" in part for part in parts)


def test_text_comes_as_soon_as_it_is_certain(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    texts = stream(tiny_tokenizer, "END")
    ids = ids_of(tiny_tokenizer, "the mill")
    assert [texts.push(token_id) for token_id in ids] == [tiny_tokenizer.decode(i) for i in ids]


def test_a_cut_character_is_shown_when_flushed(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    ids = ids_of(tiny_tokenizer, "a🙂")[:-1]
    texts = stream(tiny_tokenizer)
    assert "".join(pieces(texts, ids)) == tiny_tokenizer.decode(ids)
    assert texts.flush() == ""


@pytest.mark.parametrize("stop", [["and"], [", ", "and 🙂"], ["🙂"], ["J"], [" in the house"]])
def test_nothing_of_a_stop_string_is_shown(
    tiny_tokenizer: PreTrainedTokenizerFast, stop: list[str]
) -> None:
    texts = stream(tiny_tokenizer, *stop)
    parts = pieces(texts, ids_of(tiny_tokenizer, HELLO))
    assert texts.stopped
    assert "".join(parts) == HELLO[: min(HELLO.find(one) for one in stop if one in HELLO)]


def test_the_begin_of_a_stop_string_is_held_back_and_then_shown(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    texts = stream(tiny_tokenizer, "</FINAL-ANSWER>")
    ids = ids_of(tiny_tokenizer, "x </FINAL")
    shown = "".join(map(texts.push, ids))
    assert shown == "x "
    assert texts.push(ids_of(tiny_tokenizer, "!")[0]) == "</FINAL!"
    assert not texts.stopped


def test_the_flush_returns_held_text(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    texts = stream(tiny_tokenizer, "stop")
    assert "".join(pieces(texts, ids_of(tiny_tokenizer, "do not st"))) == "do not st"
    assert not texts.stopped


@pytest.mark.parametrize("before", ["[Relevant]the mi", "the [Relevant]mi", "the mi[Relevant]"])
def test_a_hidden_token_inside_a_span_does_not_switch_stop_strings_off(before: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["[Relevant]"], special_tokens=True)
    texts = TextStream(tokenizer, roles(tokenizer, "[Relevant]"), ("mill",))
    written = f"{before}ll and the river"
    parts = pieces(texts, tokenizer(written, add_special_tokens=False).input_ids)
    assert texts.stopped
    assert "".join(parts) == texts.text == "the "


def test_a_query_token_has_no_text_but_flushes(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    texts = stream(tiny_tokenizer, "stop")
    shown = "".join(map(texts.push, ids_of(tiny_tokenizer, "st")))
    query = tiny_tokenizer.convert_tokens_to_ids("[RQ]")
    assert shown + texts.push(query) == "st"
    assert texts.text == "st"


def test_nothing_comes_after_a_stop(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    texts = stream(tiny_tokenizer, "mill")
    assert "".join(pieces(texts, ids_of(tiny_tokenizer, "the mill and the river"))) == "the "


@pytest.fixture(scope="session")
def byte_fallback() -> PreTrainedTokenizerFast:
    """Like Llama 2: a character without a token of its own is written as its bytes."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a"]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    merges = [("▁", "a")]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


@settings(deadline=None, max_examples=150)
@given(text=st.text("ab é日本ภา🙂", max_size=12))
@example(text="a ภาษาไทย a")
@example(text="a 🙂🙂🙂 a")
def test_characters_written_as_bytes_come_whole(
    byte_fallback: PreTrainedTokenizerFast, text: str
) -> None:
    ids = ids_of(byte_fallback, text)
    parts = pieces(stream(byte_fallback), ids)
    assert "".join(parts) == byte_fallback.decode(ids)
    assert not any("\ufffd" in part for part in parts)


@pytest.fixture(scope="session")
def plain_ids(tiny_tokenizer: PreTrainedTokenizerFast) -> list[int]:
    return [i for i in range(len(tiny_tokenizer)) if i not in tiny_tokenizer.added_tokens_decoder]


@settings(deadline=None, max_examples=150)
@given(text=st.text(max_size=40), stop=st.lists(st.text(min_size=1, max_size=4), max_size=2))
@example(text="\ufffd\ufffd", stop=[])
@example(text="aab", stop=["ab"])
@example(text="a\ufffd", stop=["\ufffd"])
def test_a_stream_of_text_is_the_text_up_to_the_stop(
    tiny_tokenizer: PreTrainedTokenizerFast, text: str, stop: list[str]
) -> None:
    texts = stream(tiny_tokenizer, *stop)
    parts = pieces(texts, ids_of(tiny_tokenizer, text))
    whole = tiny_tokenizer.decode(ids_of(tiny_tokenizer, text))
    cut = min((whole.find(one) for one in stop if one in whole), default=len(whole))
    assert "".join(parts) == texts.text
    if not any("\ufffd" in one for one in stop):
        assert texts.text == whole[:cut]
        assert texts.stopped == any(one in whole for one in stop)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_stream_of_any_ids_is_their_decoding(
    tiny_tokenizer: PreTrainedTokenizerFast, plain_ids: list[int], data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.sampled_from(plain_ids), max_size=30))
    assert "".join(pieces(stream(tiny_tokenizer), ids)) == tiny_tokenizer.decode(ids)
