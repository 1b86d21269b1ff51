"""Tokenizers with the characteristic setup of the families of base models, made in memory."""

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from onegen_model.transcript.template import Template
from onegen_model.transcript.tokens import add_control_tokens

CHATML = (
    "{% if tools %}<|im_start|>system\nWrite <tool_call>…</tool_call>.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
INSTRUCTIONS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} "
    "[/INST]{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
TURNS = (
    "<bos>{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] }}<end_of_turn>\n"
    "{% endfor %}<start_of_turn>model\n"
)
HEADERS = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>"
    "\n\n{{ m['content'] }}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)


def byte_fallback(*, prepends: bool, pieces: Sequence[str] = ()) -> Tokenizer:
    """Pieces as SentencePiece has them, other characters as their bytes; Llama 2 puts a space in
    front of every text.
    """
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz.", "▁a", "he", "▁he", *pieces]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {token: at for at, token in enumerate(tokens)}
    merges = [("▁", "a"), ("h", "e"), ("▁", "he")]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    space = [normalizers.Prepend("▁")] if prepends else []
    backend.normalizer = normalizers.Sequence([*space, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prepends else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return backend


def byte_level() -> Tokenizer:
    """GPT-2's bytes, with a few merges."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = [*sorted(alphabet), "he", "Ġa", "ab"]
    vocabulary = {token: at for at, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, [("h", "e"), ("Ġ", "a"), ("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def finish(
    backend: Tokenizer, chat_template: str, special: Sequence[str], plain: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """`special[:3]` are the BOS, EOS and unknown tokens; our control tokens are added, too."""
    bos, eos, unknown = special[:3]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, unk_token=unknown
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in special[3:]])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in plain])
    tokenizer.chat_template = chat_template
    add_control_tokens(tokenizer, Template().added_tokens)
    return tokenizer


def llama_2() -> PreTrainedTokenizerFast:
    return finish(byte_fallback(prepends=True), INSTRUCTIONS, ["<s>", "</s>", "<unk>"])


def mistral() -> PreTrainedTokenizerFast:
    control = ["<s>", "</s>", "<unk>", "[INST]", "[/INST]", "[TOOL_CALLS]"]
    return finish(byte_fallback(prepends=True), INSTRUCTIONS, control, ["[IMG]"])


def gemma() -> PreTrainedTokenizerFast:
    control = ["<bos>", "<eos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<unused0>"]
    backend = byte_fallback(prepends=False, pieces=["\n", "\n\n"])
    return finish(backend, TURNS, control, ["\n", "\n\n", "<h1>", "</em>"])


def qwen_2() -> PreTrainedTokenizerFast:
    backend = byte_level()
    backend.normalizer = normalizers.NFC()
    plain = ["<tool_call>", "</tool_call>", "<|fim_prefix|>"]
    special = ["<|endoftext|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>"]
    return finish(backend, CHATML, special, plain)


def llama_3() -> PreTrainedTokenizerFast:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    special += ["<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_0|>"]
    return finish(byte_level(), HEADERS, special)
