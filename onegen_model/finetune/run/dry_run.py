"""Preview of a run: one example by roles of tokens, trained parameters, steps and memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from onegen_model.finetune.data.collator import Collator
from onegen_model.finetune.data.datasets import Example, open_data
from onegen_model.finetune.data.linking import LinkingExample
from onegen_model.finetune.data.survey import usable
from onegen_model.finetune.run.batch_checks import require_batch
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.start import start
from onegen_model.finetune.run.training import open_development, training_arguments
from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.renderer import Rendered, Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

Role = Literal[
    "prompt",
    "written",
    "query token",
    "inserted",
    "passage",
    "passage token",
    "link token",
    "no target",
]

# The number of examples among which a large batch is sought.
_SAMPLE = 64
# Activations kept for the backward pass, per token and layer: multiples of the width and of the
# MLP's width; each head's row of attention is added. The tests measure them.
_WIDTHS, _MLP_WIDTHS = 11, 4


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Consecutive tokens with the same role."""

    role: Role
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a training step on one device, without those of the framework itself."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview of a run.

    `passages` are those of the example, as they are embedded; `batch_tokens` is the size of the
    largest batch found, padding included; `steps` and `epochs` are for that many `processes`.
    """

    example: str
    transcript: tuple[TokenSpan, ...]
    passages: tuple[tuple[TokenSpan, ...], ...]
    examples: int
    trainable: int
    parameters: int
    batch_tokens: int
    memory: Memory
    steps: int
    epochs: float
    processes: int


def preview(recipe: Recipe, max_steps: int | None = None) -> Preview:
    """Load data and model without training; raises the errors of `run` before its first step."""
    data = open_data(recipe.format, recipe.train, recipe.passages)
    started = start(recipe)
    collator = Collator(started.renderer, data.passages, recipe.collator)
    examples = usable(data, collator, recipe.collator.on_truncation)
    open_development(recipe, data, started.renderer)
    # A preview needs no launcher.
    alone = {name: value for name, value in recipe.trainer.items() if name != "deepspeed"}
    arguments = training_arguments(replace(recipe, trainer=alone), max_steps)
    require_batch(len(examples), arguments)
    sample = [examples[n] for n in range(min(_SAMPLE, len(examples)))]
    shown = max(sample, key=lambda e: (e.writes, any(t.positives for t in e.targets)))
    size = arguments.per_device_train_batch_size
    batch = _largest_batch(sample, collator, size)
    # Longer examples that train retrieval alone may need less, because they have no logits.
    writing = _largest_batch([e for e in sample if e.writes] or sample, collator, size)
    parameters = list(started.network.parameters())
    steps, epochs = count_steps(len(examples), arguments)
    return Preview(
        example=shown.id,
        transcript=tuple(_shown_spans(shown, collator, started.renderer)),
        passages=tuple(
            passage_spans(collator.passage_ids(shown, passage), started.renderer)
            for target in shown.targets
            for passage in collator.find(shown, target.positives)
        ),
        examples=len(examples),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        parameters=sum(p.numel() for p in parameters),
        batch_tokens=sum(_size(chunk) for chunk in _chunks(batch)),
        memory=max(
            (estimate_memory(started.network, one, arguments) for one in (batch, writing)),
            key=lambda memory: memory.total,
        ),
        steps=steps,
        epochs=epochs,
        processes=arguments.world_size,
    )


def _shown_spans(example: Example, collator: Collator, renderer: Renderer) -> list[TokenSpan]:
    rendered = collator.render(example)
    if not isinstance(example, LinkingExample):
        return transcript_spans(rendered, renderer)
    prompt = len(LinkingRenderer(renderer).prompt_ids(example.text))
    roles: list[Role] = ["written" if one else "no target" for one in rendered.written]
    roles[:prompt] = ["prompt"] * prompt
    for position in rendered.query_positions:
        roles[position] = "link token"
    return _spans(rendered.ids, roles, renderer)


def transcript_spans(rendered: Rendered, renderer: Renderer) -> list[TokenSpan]:
    """A transcript by the roles of its tokens."""
    queries = set(rendered.query_positions)
    roles: list[Role] = []
    for position, written in enumerate(rendered.written):
        if position in queries:
            roles.append("query token")
        elif written:
            roles.append("written")
        else:
            is_prompt = all(role == "prompt" for role in roles[-1:])
            roles.append("prompt" if is_prompt else "inserted")
    return _spans(rendered.ids, roles, renderer)


def passage_spans(ids: Sequence[int], renderer: Renderer) -> tuple[TokenSpan, ...]:
    """A passage as it is embedded."""
    roles: list[Role] = ["passage"] * (len(ids) - 1)
    return tuple(_spans(ids, [*roles, "passage token"], renderer))


def _spans(ids: Sequence[int], roles: Sequence[Role], renderer: Renderer) -> list[TokenSpan]:
    texts = [str(renderer.tokenizer.decode([i])) for i in ids]
    grouped = groupby(zip(roles, texts, strict=True), key=lambda pair: pair[0])
    return [TokenSpan(role, tuple(text for _, text in pairs)) for role, pairs in grouped]


def _largest_batch(sample: Sequence[Example], collator: Collator, size: int) -> dict[str, Any]:
    longest = sorted(sample, key=lambda e: len(collator.render(e).ids))[-size:]
    return collator(longest)


def _chunks(batch: dict[str, Any]) -> list[dict[str, Any]]:
    return [*batch["transcripts"], *batch["passages"]]


def _size(chunk: dict[str, Any]) -> int:
    """Tokens of a chunk, padding included."""
    return int(chunk["input_ids"].numel())


def count_steps(num_examples: int, arguments: "TrainingArguments") -> tuple[int, float]:
    """Optimizer steps and epochs of a run with as many processes as this one."""
    shared = arguments.train_batch_size * arguments.world_size
    batches = num_examples / shared
    batches = math.floor(batches) if arguments.dataloader_drop_last else math.ceil(batches)
    per_epoch = max(1, math.ceil(batches / arguments.gradient_accumulation_steps))
    if arguments.max_steps > 0:
        return arguments.max_steps, arguments.max_steps / per_epoch
    return math.ceil(arguments.num_train_epochs * per_epoch), float(arguments.num_train_epochs)


def estimate_memory(
    network: "PreTrainedModel", batch: dict[str, Any], arguments: "TrainingArguments"
) -> Memory:
    """An estimate from the shapes: weights as they are, fp32 gradients, two moments of AdamW."""
    parameters = list(network.parameters())
    learnt = sum(p.numel() for p in parameters if p.requires_grad)
    computed_in = 2 if arguments.bf16 or arguments.fp16 else parameters[0].element_size()
    depth = _layers_with_gradient(network)
    labels = sum(len(chunk["labels"]) for chunk in batch["transcripts"])
    kept = sum(activation_numbers(network.config, chunk, depth) for chunk in _chunks(batch))
    if arguments.gradient_checkpointing or getattr(arguments, "activation_checkpointing", False):
        one_layer = max(activation_numbers(network.config, chunk, 1) for chunk in _chunks(batch))
        width = network.config.get_text_config().hidden_size
        kept = one_layer + depth * width * sum(_size(chunk) for chunk in _chunks(batch))
    # Logits by chunk and together, their logarithms, and the gradients of both; always fp32.
    logits = 5 * 4 * labels * network.config.get_text_config().vocab_size
    return Memory(
        weights=sum(p.numel() * p.element_size() for p in parameters),
        gradients=4 * learnt,
        optimizer=8 * learnt,
        activations=kept * computed_in + logits,
    )


def activation_numbers(config: Any, chunk: dict[str, Any], depth: int) -> int:
    """The number of activations that `depth` layers keep of a chunk."""
    text = config.get_text_config()
    mlp = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    # Eager attention (on a CPU) keeps each head's row of scores; fused attention does not.
    row = chunk["input_ids"].shape[1] if config._attn_implementation == "eager" else 0
    per_token = _WIDTHS * text.hidden_size + _MLP_WIDTHS * mlp + text.num_attention_heads * row
    return int(depth * per_token * chunk["input_ids"].numel())


def _layers_with_gradient(network: "PreTrainedModel") -> int:
    """The number of layers from the first that learns; those below keep no activations."""
    depth = network.config.get_text_config().num_hidden_layers
    learning = [name for name, p in network.named_parameters() if p.requires_grad]
    first = next((n for n in range(depth) if any(f".{n}." in name for name in learning)), 0)
    return int(depth - first)
