"""Fine-tune a causal language model into a OneGen checkpoint, in one process or in several.

python training/finetune.py --config training/recipes/default.yaml

Run the same command again to resume a run that was stopped. With several processes a step has
`trainer.per_device_train_batch_size` examples of each:

torchrun --nproc_per_node 2 training/finetune.py --config RECIPE
accelerate launch --multi_gpu --num_processes 2 training/finetune.py --config RECIPE
deepspeed --num_gpus 2 training/finetune.py --config RECIPE

They also work without GPUs, with `trainer: {use_cpu: true}` and OMP_NUM_THREADS set to the cores of
one process; `accelerate launch --cpu` starts a single process. With any launcher, DeepSpeed needs
one of training/configs in the recipe (`trainer: {deepspeed: …}`).
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
    parser.add_argument("recipe", type=Path, nargs="?", help="the recipe, a YAML file")
    parser.add_argument("--config", type=Path, metavar="RECIPE", help="the recipe, as an option")
    parser.add_argument("--max-steps", type=int, help="steps of the run (the recipe's)")
    # Added by the launcher of DeepSpeed; the environment has the same value.
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
        # At exit its threads could abort a process that has finished.
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
