"""A tiny random model that links: it opens and closes mentions now and then."""

from collections.abc import Callable
from dataclasses import replace

import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from onegen_model import LinkedText, OneGenModel, Passage, PassageIndex, Template
from onegen_model.checkpoint.config import CheckpointConfig
from onegen_model.checkpoint.loading import Checkpoint
from onegen_model.transcript.linking_format import LinkingFormat
from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.tokens import add_control_tokens
from tests.conftest import SHAPE, liven, make_tokenizer
from tests.support import tokenizers

TEMPLATE = replace(Template(), linking=LinkingFormat())
# As in the published checkpoint: the tags of a mention are text, a forced token follows the link.
TEXT_TAGS = replace(
    Template(),
    linking=LinkingFormat(
        prompt="Mark the entities: {question}[SE]", after_link="[_CONTINUE_]", tags="text"
    ),
)
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


def linking_network(
    tokenizer: PreTrainedTokenizerFast,
    tags: tuple[int, ...] = (),
    context: int = 4096,
    opens: float = 4.0,
) -> PreTrainedModel:
    """In float64; the larger `opens`, the more often it writes `tags`."""
    import torch

    shape = {**SHAPE, "max_position_embeddings": context, "vocab_size": len(tokenizer)}
    config = transformers.LlamaConfig(**shape, pad_token_id=None, tie_word_embeddings=False)
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(config).to(torch.float64).eval()
    liven(network, tokenizer)
    head = network.get_output_embeddings().weight.data
    for one in tags:
        head[one] *= opens
    return network


def linking_model(
    tokenizer: PreTrainedTokenizerFast | None = None,
    template: Template = TEMPLATE,
    *,
    context: int = 4096,
    opens: float = 4.0,
) -> OneGenModel:
    """By default with the tokenizer and the template of this file."""
    tokenizer = tokenizer or linking_tokenizer()
    config = CheckpointConfig(template, max_passage_tokens=64)
    made = OneGenModel(Checkpoint(linking_network(tokenizer), tokenizer, config, "linking"))
    renderer = LinkingRenderer(made.renderer)
    words = renderer.tokens(" Ada")
    tags = {renderer.opening(words, 0).ids[0], renderer.opening(words, len(words) - 1).ids[0]}
    network = linking_network(tokenizer, (*sorted(tags), renderer.closing[0]), context, opens)
    return OneGenModel(Checkpoint(network, tokenizer, config, "linking"))


def family_of(family: str) -> tuple[PreTrainedTokenizerFast, Template]:
    """The tokenizer of a family and a template; "…, text tags": its tags are no tokens."""
    name, _, kind = family.partition(", ")
    makers: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
        "tiny": make_tokenizer,
        "llama 2": tokenizers.llama_2,
        "gemma": tokenizers.gemma,
        "qwen 2": tokenizers.qwen_2,
        "llama 3": tokenizers.llama_3,
    }
    tokenizer = makers[name]()
    if kind == "text tags":
        added = {"[SE]": " the text", "[LK]": " the entity", "[_CONTINUE_]": " go on"}
        add_control_tokens(tokenizer, added)
        return tokenizer, TEXT_TAGS
    add_control_tokens(tokenizer, TEMPLATE.added_tokens)
    return tokenizer, TEMPLATE


def linking_model_of(family: str) -> OneGenModel:
    """A model with the tokenizer of a family, see `family_of`."""
    return linking_model(*family_of(family))


def entity_index(model: OneGenModel) -> PassageIndex:
    return PassageIndex.build(model, ENTITIES)


def found(linked: LinkedText) -> list[tuple[int, int, list[str]]]:
    """Mentions with the ids of their candidates; scores differ in the last digits by the batch."""
    return [
        (one.start, one.end, [hit.passage.id for hit in one.candidates]) for one in linked.mentions
    ]
