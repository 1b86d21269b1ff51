"""Write the files of the invented world: `python -m training.invented_world [--out DIR]`."""

import argparse
from pathlib import Path

from training.invented_world.build import build

DEMO = Path(__file__).parents[2] / "onegen_model" / "demo"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.invented_world", description=__doc__)
    parser.add_argument("--out", type=Path, default=DEMO, help="folder (default: %(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in build().items():
        (options.out / name).write_text(text, encoding="utf-8")
        print(f"{options.out / name}: {len(text.splitlines())} rows")


if __name__ == "__main__":
    main()
