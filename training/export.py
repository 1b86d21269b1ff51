"""Export a trained adapter for publication: fp16 weights, onegen.json, model card and plot.

python training/export.py runs/default onegen_model/default_checkpoint
"""

import argparse
from pathlib import Path

from onegen_model.errors import OneGenError
from onegen_model.finetune.run.training import export


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the output folder of a run")
    parser.add_argument("target", type=Path, help="the new folder")
    args = parser.parse_args()
    try:
        export(args.source, args.target)
    except OneGenError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
