"""Evaluation: ask a file of questions, keep every event, and score what was kept.

```python
settings = EvaluationSettings("multihop", out="run", corpus="corpus.jsonl")
questions = read_questions("questions.jsonl")
result = run_evaluation(settings, questions, OneGenModel.from_pretrained())
print(report(score_runs({"run": result.folder}, questions)))
```

Scoring needs no torch, so names that need it are imported when they are first used.
"""

from typing import TYPE_CHECKING

from onegen_model.evaluation.ask.questions import GoldQuestion, read_questions
from onegen_model.evaluation.ask.run_folder import RunFolder, find_runs
from onegen_model.evaluation.ask.settings import EvaluationSettings
from onegen_model.evaluation.ask.training_gold import read_training_gold
from onegen_model.evaluation.score.comparison import score_runs
from onegen_model.evaluation.score.table import report, scores_to_dict

if TYPE_CHECKING:
    from onegen_model.evaluation.ask.evaluation import EvaluationResult, run_evaluation
    from onegen_model.evaluation.ask.zero_shot import load_base

__all__ = [
    "EvaluationResult",
    "EvaluationSettings",
    "GoldQuestion",
    "RunFolder",
    "find_runs",
    "load_base",
    "read_questions",
    "read_training_gold",
    "report",
    "run_evaluation",
    "score_runs",
    "scores_to_dict",
]


def __getattr__(name: str) -> object:
    if name in ("EvaluationResult", "run_evaluation"):
        from onegen_model.evaluation.ask import evaluation

        return getattr(evaluation, name)
    if name == "load_base":
        from onegen_model.evaluation.ask.zero_shot import load_base

        return load_base
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
