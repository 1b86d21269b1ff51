"""Fine-tune a causal LM into a OneGen checkpoint; resumes from the last checkpoint of `output`.

python training/finetune.py training/recipes/default.yaml
OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 training/finetune.py training/recipes/default.yaml

For DeepSpeed name one of training/configs in the recipe (`trainer: {deepspeed: …}`) and start it
with torchrun or deepspeed.
"""

import argparse
from pathlib import Path

from onegen_model.finetune.recipe import Recipe
from onegen_model.finetune.run import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--max-steps", type=int, help="instead of the recipe's")
    # The launcher of DeepSpeed adds it; the environment says the same.
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    args = parser.parse_args()
    run(Recipe.read(args.recipe), args.max_steps)


if __name__ == "__main__":
    main()
