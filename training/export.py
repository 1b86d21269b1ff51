"""Make the folder that is shipped: adapter in fp16, token rows, onegen.json, card and picture.

python training/export.py runs/default onegen_model/default_checkpoint
"""

import argparse
from pathlib import Path

from onegen_model.errors import OneGenError
from onegen_model.finetune.run.training import export


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    try:
        export(args.source, args.target)
    except OneGenError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
