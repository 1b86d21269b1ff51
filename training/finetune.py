"""Fine-tune a causal LM into a OneGen checkpoint; resumes from the last checkpoint of `output`.

python training/finetune.py --config training/recipes/default.yaml

The same recipe in several processes, where as many examples make a step as there are processes
times `trainer.per_device_train_batch_size`:

torchrun --nproc_per_node 2 training/finetune.py --config RECIPE
accelerate launch --multi_gpu --num_processes 2 training/finetune.py --config RECIPE
deepspeed --num_gpus 2 training/finetune.py --config RECIPE

Without GPUs these work too, with `trainer: {use_cpu: true}` and OMP_NUM_THREADS set to the cores of
a process; `accelerate launch --cpu` alone starts a single one. For DeepSpeed name one of
training/configs in the recipe (`trainer: {deepspeed: …}`), whichever launcher starts it.
"""

import argparse
from pathlib import Path

import torch.distributed as dist

from onegen_model.errors import OneGenError
from onegen_model.finetune.run.recipe import Recipe
from onegen_model.finetune.run.training import run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument("--config", type=Path, metavar="RECIPE", help="the same, by name")
    parser.add_argument("--max-steps", type=int, help="instead of the recipe's")
    # The launcher of DeepSpeed adds it; the environment says the same.
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if (args.recipe is None) == (args.config is None):
        parser.error("expected one recipe; give its path, or --config PATH")
    if args.max_steps is not None and args.max_steps < 1:
        parser.error(f"--max-steps is {args.max_steps}; expected at least 1")
    try:
        run(Recipe.read(args.config or args.recipe), args.max_steps)
    except OneGenError as error:
        raise SystemExit(f"error: {error}") from error
    if dist.is_available() and dist.is_initialized():
        # Left to the interpreter, its threads may end a process that has done all its work.
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
