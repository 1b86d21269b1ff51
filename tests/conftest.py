"""Small models made in memory: no file, no network, one thread."""

import importlib
import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", OMP_NUM_THREADS="1")
os.environ["ANONYMIZED_TELEMETRY"] = "False"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.template import Template
from onegen_model.transcript.tokens import add_control_tokens, initialise_rows

torch.set_num_threads(1)
logging.disable_progress_bar()

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TEXT = (
    "Who wrote the novel that the film of 1982 is based on? The author was born in a small town "
    "near the river, where her father kept a mill.",
    "What is the capital of the country in which the architect of the opera house grew up? "
    "Copenhagen is the capital of Denmark; Jørn Utzon designed the house in Sydney.",
    "Search, then answer. Search for the answer to this question. The content of this document. "
    "Start of a document, end of the document.",
    "The café on the corner of Straße 12 opened at 8:30 and closed at 23:15; it sold 1,204 cups.",
    "A language model writes a query, reads the passages that were found, and goes on writing.",
    "Mount Kenya, Lake Victoria, the Nile, the Danube and the Rhine; Ada Lovelace, Alan Turing.",
    "def add(a, b):\n    return a + b  # 3 + 4 == 7\n<FINAL-ANSWER>Paris</FINAL-ANSWER>\n",
    "Did the two directors come from the same country? yes no yes no\nWhich band was formed first?",
)

# family -> (model class, config class, config values that differ from `SHAPE`)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {}),
    "mistral": ("Mistral", {"sliding_window": 7}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma2", {"sliding_window": 7, "query_pre_attn_scalar": 16}),
    "gemma3_text": (
        "Gemma3",
        {
            "sliding_window": 7,
            "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "phi": ("Phi", {}),
    "gpt2": ("GPT2", {}),
}

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
GPT2_SHAPE = {"n_embd": 64, "n_inner": 96, "n_layer": 2, "n_head": 4, "n_positions": 512}


class MakeNetwork(Protocol):
    """`make_network("llama", tied=True, **config values)`: random, fp64, in eval mode."""

    def __call__(self, family: str, *, tied: bool = ..., **overrides: Any) -> PreTrainedModel: ...


def make_tokenizer(*, control: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE of about 400 tokens with ChatML, and the control tokens if asked for."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    if control:
        add_control_tokens(tokenizer, Template().added_tokens)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="session")
def renderer(tiny_tokenizer: PreTrainedTokenizerFast) -> Renderer:
    return Renderer(Template(), tiny_tokenizer, max_passage_tokens=64)


@pytest.fixture(scope="session")
def make_network(tiny_tokenizer: PreTrainedTokenizerFast) -> MakeNetwork:
    def make(family: str, *, tied: bool = False, **overrides: Any) -> PreTrainedModel:
        name, values = FAMILIES[family]
        shape = GPT2_SHAPE if family == "gpt2" else SHAPE
        config_name = "Gemma3TextConfig" if family == "gemma3_text" else f"{name}Config"
        suffix = "LMHeadModel" if family == "gpt2" else "ForCausalLM"
        config = getattr(transformers, config_name)(
            **{
                **shape,
                **values,
                "vocab_size": len(tiny_tokenizer),
                "tie_word_embeddings": tied,
                "bos_token_id": tiny_tokenizer.bos_token_id,
                "eos_token_id": tiny_tokenizer.eos_token_id,
                "pad_token_id": None,
                **overrides,
            }
        )
        torch.manual_seed(0)
        network = getattr(transformers, name + suffix)(config).to(torch.float64).eval()
        initialise_rows(network, tiny_tokenizer, Template().added_tokens)
        liven(network, tiny_tokenizer)
        return network

    return make


def liven(network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Make greedy decoding wander, and [RQ] and the end token come up by themselves.

    Matrices get the scale at which signals keep their size; a row of the output head that is
    longer than the others wins more often.
    """
    generator = torch.Generator().manual_seed(7)
    for name, weight in network.named_parameters():
        if weight.dim() == 2 and "wpe" not in name:
            noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.data.copy_(noise * 1.5 * weight.shape[1] ** -0.5)
    if "gemma" in network.config.model_type and network.config.tie_word_embeddings:
        # Gemma multiplies its embeddings: unscaled, each token would predict itself.
        network.get_input_embeddings().weight.data /= network.config.hidden_size**0.5
    head = network.get_output_embeddings().weight.data
    for token, scale in (("[RQ]", 1.9), ("<|im_end|>", 1.5)):
        head[tokenizer.convert_tokens_to_ids(token)] *= scale


@pytest.fixture(scope="session")
def tiny_network(make_network: MakeNetwork) -> PreTrainedModel:
    """A two-layer Llama with untied embeddings."""
    return make_network("llama")


@pytest.fixture
def training_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of training/, whose files import each other by their bare names."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "training"))
    return importlib.import_module
