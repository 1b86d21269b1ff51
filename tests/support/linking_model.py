"""A tiny random model that links: it opens and closes mentions now and then."""

from dataclasses import replace

import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from onegen_model import LinkedText, OneGenModel, Passage, PassageIndex, Template
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.transcript.linking_format import LinkingFormat
from onegen_model.transcript.tokens import add_control_tokens
from tests.conftest import SHAPE, liven, make_tokenizer

TEMPLATE = replace(Template(), linking=LinkingFormat())
ENTITIES = [
    Passage("Q1", "mountain in Kenya", "Mount Kenya"),
    Passage("Q2", "lake in Africa", "Lake Victoria"),
    Passage("Q3", "mathematician", "Ada Lovelace", {"kind": "person"}),
    Passage("Q4", "computer scientist", "Alan Turing", {"kind": "person"}),
    Passage("Q5", "Danube"),
    Passage("Q6", "capital of Denmark", "Copenhagen"),
]
TEXT = (
    "Ada Lovelace never saw Mount Kenya.\n\nAlan Turing was born in London, not at the Danube; "
    "Jørn Utzon designed the house in Sydney, and Copenhagen is the capital of Denmark."
)


def linking_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    add_control_tokens(tokenizer, TEMPLATE.added_tokens)
    return tokenizer


def linking_network(tokenizer: PreTrainedTokenizerFast, *, opens: float = 4.0) -> PreTrainedModel:
    """In float64. The larger `opens`, the more mentions it opens."""
    import torch

    config = transformers.LlamaConfig(
        **SHAPE, vocab_size=len(tokenizer), pad_token_id=None, tie_word_embeddings=False
    )
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(config).to(torch.float64).eval()
    liven(network, tokenizer)
    head = network.get_output_embeddings().weight.data
    for token in ("<MENTION>", "</MENTION>"):
        head[tokenizer.convert_tokens_to_ids(token)] *= opens
    return network


def linking_model(*, opens: float = 4.0) -> OneGenModel:
    tokenizer = linking_tokenizer()
    config = CheckpointConfig(TEMPLATE, max_passage_tokens=64)
    network = linking_network(tokenizer, opens=opens)
    return OneGenModel(Checkpoint(network, tokenizer, config, "linking"))


def entity_index(model: OneGenModel) -> PassageIndex:
    return PassageIndex.build(model, ENTITIES)


def found(linked: LinkedText) -> list[tuple[int, int, list[str]]]:
    """Mentions with the ids of their candidates; scores differ in the last digits by the batch."""
    return [
        (one.start, one.end, [hit.passage.id for hit in one.candidates]) for one in linked.mentions
    ]
