"""Evaluation: ask a file of questions, keep every event, and score what was kept.

```python
settings = EvaluationSettings("multihop", out="run", corpus="corpus.jsonl")
questions = read_questions("questions.jsonl")
result = run_evaluation(settings, questions, OneGenModel.from_pretrained())
print(report(score_runs({"run": result.folder}, questions)))
```

Scoring needs no torch, so names that need it are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from onegen_model.evaluation.ask.questions import GoldQuestion, read_questions
from onegen_model.evaluation.ask.run_folder import RunFolder, find_runs
from onegen_model.evaluation.ask.settings import EvaluationSettings
from onegen_model.evaluation.ask.training_gold import read_training_gold
from onegen_model.evaluation.documents.questions import DocumentQuestion, read_document_questions
from onegen_model.evaluation.documents.scores import (
    document_report,
    document_scores_to_dict,
    score_document_runs,
)
from onegen_model.evaluation.linking.documents import (
    LinkingDocument,
    read_linking_documents,
    read_trained_entities,
)
from onegen_model.evaluation.linking.scores import linking_report, score_linking_runs
from onegen_model.evaluation.linking.settings import LinkingEvaluationSettings
from onegen_model.evaluation.score.comparison import score_runs
from onegen_model.evaluation.score.table import report, scores_to_dict

if TYPE_CHECKING:
    from onegen_model.evaluation.ask.evaluation import EvaluationResult, run_evaluation
    from onegen_model.evaluation.ask.zero_shot import load_base
    from onegen_model.evaluation.documents.evaluation import (
        DocumentEvaluationSettings,
        evaluate_documents,
    )
    from onegen_model.evaluation.linking.evaluation import evaluate_linking

# Name -> its module.
_LATER = {
    "DocumentEvaluationSettings": "documents.evaluation",
    "EvaluationResult": "ask.evaluation",
    "evaluate_documents": "documents.evaluation",
    "evaluate_linking": "linking.evaluation",
    "load_base": "ask.zero_shot",
    "run_evaluation": "ask.evaluation",
}

__all__ = [
    "DocumentEvaluationSettings",
    "DocumentQuestion",
    "EvaluationResult",
    "EvaluationSettings",
    "GoldQuestion",
    "LinkingDocument",
    "LinkingEvaluationSettings",
    "RunFolder",
    "document_report",
    "document_scores_to_dict",
    "evaluate_documents",
    "evaluate_linking",
    "find_runs",
    "linking_report",
    "load_base",
    "read_document_questions",
    "read_linking_documents",
    "read_questions",
    "read_trained_entities",
    "read_training_gold",
    "report",
    "run_evaluation",
    "score_document_runs",
    "score_linking_runs",
    "score_runs",
    "scores_to_dict",
]


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(f"onegen_model.evaluation.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
