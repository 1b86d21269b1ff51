"""Folders as the published checkpoints are, made tiny, and a transcript in their format."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from onegen_model import OneGenModel, Passage, ScoredPassage
from tests.conftest import TEXT

RQ, RD = "[Question Representation]", "[Document Fragment Representation]"
# Written out once more, from the published configuration: a slip in the preset must show.
PROMPT = (
    "You are good at multi-step reasoning in QA. For complex questions, break down the process. "
    "Generate and answer sub-questions step-by-step, using retrieved documents at each stage. "
    "Output the final answer wrapped by <FINAL-ANSWER></FINAL-ANSWER>. Here is a question: "
)
DOCUMENT = (
    f"Represent the following document fragment and output it after the '{RD}' token. \n"
    "Here are document fragment:\n"
)
QUESTION = "Who wrote the novel that the film is based on?"
PASSAGES = [
    Passage("1", "The film is based on a novel.", "The Mill (film)"),
    Passage("2", "Ada wrote it. She lived in Ondrel.", "The Mill"),
    Passage("3", "Alba is a town near the river.", "Alba"),
]
FRAMES = [f"wiki title: {one.title}\ncontent: {one.text}" for one in PASSAGES]
WRITTEN = (
    " First, what is the film based on?",
    " A novel. Then, who wrote the novel?",
    " Ada.\n<FINAL-ANSWER>Ada Wrenfield</FINAL-ANSWER></s>",
)
ANSWER = (
    f"{WRITTEN[0]}{RQ}<paragraph>{FRAMES[0]}</paragraph>"
    f"{WRITTEN[1]}{RQ}<paragraph>{FRAMES[1]}</paragraph>{WRITTEN[2]}"
)
# Other tokens precede the added ones, so that no id is what the published workflow would give.
SHIFT = ("<dummy_0>", "<dummy_1>", "<dummy_2>")
MULTI_HOP_TOKENS = (RD, "</paragraph>", RQ, "<paragraph>")
FLAGS = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def write_json(file: Path, plain: object) -> None:
    file.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")


def write_tokenizer(folder: Path, added: Sequence[str], *, prefix_space: bool) -> int:
    """A tiny tokenizer in the files and of the kind of Llama 2's; returns its size."""
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=560, special_tokens=pieces, show_progress=False)
    lines = [line for text in (*TEXT, PROMPT, *FRAMES) for line in text.splitlines()]
    trained.train_from_iterator(lines, trainer)
    plain = json.loads(trained.to_str())
    first = len(plain["model"]["vocab"])
    ids = {"<unk>": 0, "<s>": 1, "</s>": 2, **{token: first + n for n, token in enumerate(added)}}
    space = [{"type": "Prepend", "prepend": "▁"}] if prefix_space else []
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    plain["normalizer"] = {"type": "Sequence", "normalizers": [*space, replaced]}
    plain["pre_tokenizer"] = None
    plain["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    plain["added_tokens"] = [
        {"id": number, "content": token, "special": True, **FLAGS} for token, number in ids.items()
    ]
    write_json(folder / "tokenizer.json", plain)
    write_json(folder / "added_tokens.json", {token: ids[token] for token in added})
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    whole = {name: {"content": token, **FLAGS} for name, token in names.items()}
    write_json(folder / "special_tokens_map.json", whole)
    config = {
        **names,
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(number): {"content": token, "special": True, **FLAGS}
            for token, number in ids.items()
        },
        "clean_up_tokenization_spaces": False,
        "legacy": False,
        "tokenizer_class": "LlamaTokenizer",
        **({} if prefix_space else {"add_prefix_space": False}),
    }
    write_json(folder / "tokenizer_config.json", config)
    return first + len(added)


def publish(folder: Path, tokens: Sequence[str], *, prefix_space: bool = False) -> Path:
    """A folder as the published ones are, in bf16 and in several shards."""
    folder.mkdir()
    size = write_tokenizer(folder, (*SHIFT, *tokens), prefix_space=prefix_space)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    network = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(7)
    for weight in network.parameters():
        if weight.dim() == 2:
            noise = torch.randn(weight.shape, generator=generator)
            weight.data.copy_(noise * 1.5 * weight.shape[1] ** -0.5)
    head, added = network.get_output_embeddings().weight.data, size - len(tokens)
    if RQ in tokens:
        head[added + tokens.index(RQ)] *= 1.7  # So that greedy decoding comes upon it.
    network.to(torch.bfloat16).save_pretrained(folder, max_shard_size="100KB")
    plain = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**plain, "architectures": ["OneGenModel"]})
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    write_json(folder / "generation_config.json", generation)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


class Given:
    """Finds the passages it was given, one at each hop."""

    def __init__(self, *passages: Passage) -> None:
        self.asked: list[str] = []
        self._passages = passages

    def retrieve(self, queries: Sequence[Any]) -> list[list[Any]]:
        hops = range(len(self.asked), len(self.asked) + len(queries))
        self.asked += [query.text for query in queries]
        return [[ScoredPassage(self._passages[hop], 1.0)] for hop in hops]


def script(model: OneGenModel, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let the model write `text`, control tokens included."""
    engine: Any = model.engine
    ids = iter(model.renderer.tokenizer(text, add_special_tokens=False).input_ids)
    monkeypatch.setattr(engine, "sampler", lambda logits, choices: [next(ids) for _ in choices])
