"""Fine-tune a causal LM into a OneGen checkpoint; resumes from the last checkpoint of `output`.

python training/finetune.py training/recipes/default.yaml
torchrun --nproc_per_node 2 training/finetune.py training/recipes/default.yaml
"""

import argparse
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from onegen_model.finetune.collator import Collator, CollatorSettings
from onegen_model.finetune.examples import load_examples, load_passages
from onegen_model.finetune.objective import Objective
from onegen_model.finetune.trainer import AdapterSettings, JointTrainer, add_adapter
from onegen_model.template import Renderer, Template
from onegen_model.tokens import add_control_tokens, initialise_rows
from onegen_model.weights import prepare_base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--max-steps", type=int, help="stop early (a later run resumes)")
    args = parser.parse_args()
    recipe: dict[str, Any] = yaml.safe_load(args.recipe.read_text(encoding="utf-8"))
    if args.max_steps:
        recipe["trainer"]["max_steps"] = args.max_steps
    torch.manual_seed(recipe["trainer"].get("seed", 0))

    base = recipe.get("base") or prepare_base()
    tokenizer = AutoTokenizer.from_pretrained(base)
    # Eager attention: the fused kernel's backward is the slowest operation of a step on a CPU.
    network = AutoModelForCausalLM.from_pretrained(
        base, dtype=recipe["dtype"], attn_implementation="eager"
    )
    template = Template()
    add_control_tokens(tokenizer, template.tokens)
    initialise_rows(network, tokenizer, template.tokens)
    token_ids = [tokenizer.convert_tokens_to_ids(token) for token in template.tokens]
    adapted = add_adapter(network, token_ids, AdapterSettings(**recipe["adapter"]))

    renderer = Renderer(template, tokenizer, recipe["max_passage_tokens"])
    collator = Collator(
        renderer, load_passages(Path(recipe["passages"])), CollatorSettings(**recipe["collator"])
    )
    trainer = JointTrainer(
        model=Objective(
            adapted,
            temperature=recipe["temperature"],
            contrastive_weight=recipe["contrastive_weight"],
        ),
        args=TrainingArguments(
            output_dir=recipe["output"],
            remove_unused_columns=False,
            label_names=["targets"],
            disable_tqdm=True,
            **recipe["trainer"],
        ),
        train_dataset=load_examples(Path(recipe["train"])),
        data_collator=collator,
    )
    last = get_last_checkpoint(recipe["output"]) if Path(recipe["output"]).is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(recipe["output"])


if __name__ == "__main__":
    main()
