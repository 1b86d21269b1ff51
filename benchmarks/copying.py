"""How well a checkpoint and its untrained base copy text, which every extracted answer needs.

    python -m benchmarks.copying [--model M] [--sequences 20]

A text repeats a random sequence of names, dates and words once. Measured are the share of tokens of
the second copy that the model ranks first, and their mean loss in nats: near 1 and near 0 for a
model that copies.
"""

import argparse
import random
from collections.abc import Sequence

import torch

from benchmarks import report
from onegen_model import OneGenModel
from onegen_model.evaluation.ask.zero_shot import load_base
from onegen_model.evaluation.score.estimate import Estimate
from onegen_model.evaluation.score.table import markdown

NAMES = ["Ada", "Tobin", "Morwell", "Normane", "Årvik", "Tansy", "Brannoc", "Corsello", "Lanyard"]
MONTHS = ["January", "March", "May", "June", "August", "October", "December"]
WORDS = ["river", "film", "harbour", "director", "copper", "born", "album", "in", "the", "of"]
LENGTH = 40
FIRST = 3  # the first tokens of a copy cannot be foreseen


def make_text(rng: random.Random) -> str:
    """One copy of a sequence."""
    parts = [
        lambda: rng.choice(NAMES),
        lambda: f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1700, 2020)}",
        lambda: rng.choice(WORDS),
    ]
    return " ".join(rng.choice(parts)() for _ in range(LENGTH))


@torch.inference_mode()
def measure(model: OneGenModel, texts: Sequence[str]) -> tuple[Estimate, Estimate]:
    """(share of tokens right, mean loss) over the second copies."""
    right, losses = [], []
    for text in texts:
        ids = model.renderer.text_ids(f" {text}.")
        rows = torch.tensor([[*ids, *ids]], device=model.network.device)
        logits = model.network(rows).logits[0, len(ids) + FIRST - 1 : -1].float()
        gold = rows[0, len(ids) + FIRST :]
        nats = torch.nn.functional.cross_entropy(logits, gold, reduction="sum").item()
        right.append((int((logits.argmax(-1) == gold).sum()), len(gold)))
        losses.append((nats, len(gold)))
    return Estimate.of(right), Estimate.of(losses)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copying", description=__doc__)
    parser.add_argument("--model", help="a checkpoint (default: the one of the package)")
    parser.add_argument("--sequences", type=int, default=20)
    options = parser.parse_args(argv)
    rng = random.Random(0)
    texts = [make_text(rng) for _ in range(options.sequences)]
    model = OneGenModel.from_pretrained(options.model)
    sides = {"checkpoint": model, "its base": load_base(options.model, "float32")}
    rows = {name: measure(side, texts) for name, side in sides.items()}
    table = [[name, *found] for name, found in rows.items()]
    print(markdown(["model", "tokens copied right", "loss in nats"], table))
    found = {name: {"right": right, "loss": loss} for name, (right, loss) in rows.items()}
    print(f"\nWritten to {report.save('copying', model, options, found)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
