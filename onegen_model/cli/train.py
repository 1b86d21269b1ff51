"""`onegen train` and `onegen data check`."""

import json
import statistics
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.finetune.data.survey import Survey
    from onegen_model.finetune.run.dry_run import Preview, TokenSpan

_FAILED = 1
_ROLE_WIDTH = len("passage token")


def run_train(options: Namespace, _load_model: "LoadModel") -> int:
    # Imported here: other commands should need neither PyYAML nor the seconds to import PEFT.
    try:
        from onegen_model.finetune.run.dry_run import preview
        from onegen_model.finetune.run.recipe import Recipe
        from onegen_model.finetune.run.recipe_keys import recipe_keys
        from onegen_model.finetune.run.training import run
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The package {error.name} is not installed; expected it for training; "
            'run `pip install "onegen[train]"`'
        ) from error
    if options.max_steps is not None and options.max_steps < 1:
        raise InvalidInputError(
            f"max_steps={options.max_steps}; expected at least 1; change --max-steps"
        )
    if options.keys:
        _write(recipe_keys())
        return 0
    if options.config is None:
        raise InvalidInputError("No recipe; expected a YAML file; run `onegen train CONFIG.yaml`")
    recipe = Recipe.read(Path(options.config))
    if options.dry_run:
        found = preview(recipe, options.max_steps)
        _write(json.dumps(asdict(found)) if options.json else "\n".join(format_preview(found)))
        return 0
    output = run(recipe, options.max_steps)
    _write(json.dumps({"checkpoint": str(output)}) if options.json else f"Checkpoint: {output}")
    return 0


def run_data_check(options: Namespace, _load_model: "LoadModel") -> int:
    """The exit status: 1 if the file has a problem."""
    from onegen_model.finetune.data.collator import Collator, CollatorSettings
    from onegen_model.finetune.data.datasets import open_data
    from onegen_model.finetune.data.survey import survey
    from onegen_model.finetune.run.start import load_renderer

    passages = Path(options.passages) if options.passages else None
    data = open_data(options.format, Path(options.file), passages)
    model = Path(options.model) if options.model else None
    links = options.format == "entity_linking"
    renderer = load_renderer(model, options.max_passage_tokens, links=links)
    settings = CollatorSettings(max_length=options.max_length)
    found = survey(
        data,
        Collator(renderer, data.passages, settings),
        limit=options.limit,
        on_truncation=options.on_truncation,
    )
    _write(json.dumps(asdict(found)) if options.json else "\n".join(format_survey(found)))
    return _FAILED if found.num_problems else 0


def format_preview(found: "Preview") -> list[str]:
    """Lines: an example by the roles of its tokens, then memory and steps."""
    memory = found.memory
    parts = ("weights", "gradients", "optimizer", "activations")
    shares = ", ".join(f"{name} {_bytes(getattr(memory, name))}" for name in parts)
    processes = "one process" if found.processes == 1 else f"{found.processes} processes"
    return [
        f"Example {found.example}",
        *(_format_span(span) for span in found.transcript),
        "Its passages, as they are embedded",
        *(_format_span(span) for spans in found.passages for span in spans),
        "",
        f"Examples:   {found.examples}",
        f"Trainable:  {found.trainable:,} of {found.parameters:,} parameters "
        f"({found.trainable / found.parameters:.2%})",
        f"Memory:     about {_bytes(memory.total)} ({shares})",
        f"            for a batch of {found.batch_tokens:,} tokens, the largest one found",
        f"Steps:      {found.steps} ({found.epochs:.2f} epochs) with {processes}",
    ]


def _format_span(span: "TokenSpan") -> str:
    return f"  {span.role:<{_ROLE_WIDTH}}  {'|'.join(map(_printable, span.tokens))}"


def _printable(text: str) -> str:
    """Line breaks as `\\n`; a terminal must not interpret the text of a document."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def format_survey(found: "Survey") -> list[str]:
    """Lines: problems first, then counts and lengths."""
    lines = list(found.problems)
    if hidden := found.num_problems - len(found.problems):
        lines.append(f"… and {hidden} more problems (--limit)")
    if found.hint:
        lines.append(f"Hint: {found.hint}")
    return [
        *lines,
        f"Lines:       {found.num_lines}, {found.num_unused} of them part of no example",
        f"Examples:    {found.num_examples}, with {found.num_queries} retrievals",
        f"Too long:    {found.num_too_long}",
        f"Transcripts: {_lengths(found.transcripts)}",
        f"Passages:    {_lengths(found.passages)}",
        f"Problems:    {found.num_problems}",
    ]


def _lengths(numbers: Sequence[int]) -> str:
    if not numbers:
        return "none"
    ordered = sorted(numbers)
    middle = int(statistics.median(ordered))
    high = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return (
        f"{len(ordered)}; {ordered[0]} to {ordered[-1]} tokens, median {middle}, 95 % up to {high}"
    )


def _bytes(number: int) -> str:
    return f"{number / 2**30:.2f} GB" if number >= 2**30 else f"{number / 2**20:.1f} MB"


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
