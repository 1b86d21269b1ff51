"""MRR, MAP and nDCG as trec_eval computes them."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from onegen_model.errors import MissingExtraError
from onegen_model.evaluation.ask.ranking import DEPTH

MRR, MAP, NDCG = "MRR", "MAP", f"nDCG@{DEPTH}"
_MEASURES = {MRR: "recip_rank", MAP: f"map_cut_{DEPTH}", NDCG: f"ndcg_cut_{DEPTH}"}
# Relevant paragraphs, and ranked paragraphs, best first.
Unit = tuple[Set[str], Sequence[str]]


def import_pytrec_eval() -> Any:
    """The package; raises MissingExtraError."""
    try:
        import pytrec_eval
    except ImportError as error:
        raise MissingExtraError(
            "The package pytrec-eval-terrier is not installed; expected it for ranking metrics; "
            'run `pip install "onegen[evaluate]"`'
        ) from error
    return pytrec_eval


def rank_metrics(units: Mapping[str, Unit]) -> dict[str, dict[str, float]]:
    """The metrics of each unit over its first `DEPTH` paragraphs; raises MissingExtraError."""
    pytrec_eval = import_pytrec_eval()
    relevant = {name: dict.fromkeys(gold, 1) for name, (gold, _) in units.items()}
    # trec_eval sorts by score, so ranks become distinct scores.
    runs = {
        name: {one: float(DEPTH - at) for at, one in enumerate(ranked[:DEPTH])}
        for name, (_, ranked) in units.items()
    }
    asked = {name.replace("cut_", "cut.") for name in _MEASURES.values()}
    found = pytrec_eval.RelevanceEvaluator(relevant, asked).evaluate(runs)
    return {
        name: {ours: found[name][theirs] for ours, theirs in _MEASURES.items()} for name in units
    }
