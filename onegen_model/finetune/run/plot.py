"""A plot of a run: both losses by step, and the measures on the development set."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

PLOT_FILE = "run.png"
_PANELS = ("language_modeling_loss", "contrastive_loss", "recall@1")
_INCHES = (4.5, 3.4)

History = Sequence[Mapping[str, float]]


def series(history: History, name: str) -> tuple[list[float], list[float]]:
    """Steps and values of one name in the Trainer's log."""
    found = [(log["step"], log[name]) for log in history if name in log]
    return [step for step, _ in found], [value for _, value in found]


def draw_run(history: History, file: Path, kept_step: float | None = None) -> bool:
    """Write a PNG with one panel per logged measure; returns whether it was written.

    Without matplotlib, or with nothing logged, a warning is logged: a missing plot must not fail a
    run.
    """
    lines = {
        name: [
            (label, style, *series(history, f"{prefix}{name}"))
            for label, style, prefix in (("train", "C0-", ""), ("dev", "C1o--", "eval_"))
        ]
        for name in _PANELS
    }
    shown = {name: drawn for name, drawn in lines.items() if any(line[2] for line in drawn)}
    if not shown:
        logger.warning("No plot of the run: no loss was logged; lower trainer.logging_steps")
        return False
    try:
        # Without pyplot, which keeps figures and needs a display.
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        logger.warning(
            'No plot of the run: %s is not installed; run `pip install "onegen[train]"`',
            str(error.name).partition(".")[0],
        )
        return False
    figure = Figure(figsize=(_INCHES[0] * len(shown), _INCHES[1]), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, drawn) in zip(panels, shown.items(), strict=True):
        for label, style, steps, values in drawn:
            if steps:
                axes.plot(steps, values, style, label=label, markersize=3, linewidth=1.2)
        if kept_step is not None:
            axes.axvline(kept_step, color="grey", linestyle=":", linewidth=1, label="kept")
        axes.set(title=name.replace("_", " "), xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend()
        if name == "recall@1":
            axes.set_ylim(-0.03, 1.03)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)
    return True
