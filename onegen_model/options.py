"""What may be chosen per question, checked before any work is done."""

from collections.abc import Sequence
from typing import TypedDict, get_args

from onegen_model.errors import InvalidInputError
from onegen_model.params import RetrievalMode, RetrievalParams, SamplingParams
from onegen_model.retrieval.protocol import AnyRetriever, require_retriever
from onegen_model.transcript.answer import Answer
from onegen_model.transcript.conversation import Conversation, Question


class Options(TypedDict, total=False):
    """What may be chosen per question; see `OneGenModel.submit`."""

    retriever: AnyRetriever | None
    sampling: SamplingParams | None
    retrieval: RetrievalParams | RetrievalMode | None
    history: Answer | None


def require_question(question: object, name: str = "question") -> Question:
    """Return the question; raises InvalidInputError unless it is text or a conversation."""
    if isinstance(question, str | Conversation):
        return question
    raise _wrong(name, question, "a string or a Conversation")


def as_batch(
    questions: object, return_exceptions: bool
) -> tuple[Sequence[Question], tuple[type[Exception], ...]]:
    """The questions, and the errors that may take the place of an answer.

    Raises InvalidInputError for anything else than a question or a list of them.
    """
    if isinstance(questions, Question):
        return [questions], ()
    if not isinstance(questions, list | tuple):
        raise _wrong("questions", questions, "a string, a Conversation, or a list of them")
    many = [require_question(one, f"questions[{at}]") for at, one in enumerate(questions)]
    return many, (Exception,) if return_exceptions else ()


def check_options(options: Options) -> None:
    """Raise InvalidInputError for an option of a wrong kind, and TypeError for an unknown one."""
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise TypeError(
            f"Unknown option {unknown[0]!r}; expected {', '.join(Options.__annotations__)}; "
            f"{_advice(unknown[0])}"
        )
    if (retriever := options.get("retriever")) is not None:
        require_retriever(retriever)
    require_kind("sampling", options.get("sampling"), SamplingParams, "SamplingParams")
    require_kind("history", options.get("history"), Answer, "the Answer of the turn before")
    retrieval = options.get("retrieval")
    if not isinstance(retrieval, str) or retrieval not in get_args(RetrievalMode):
        modes = ", ".join(f'"{mode}"' for mode in get_args(RetrievalMode))
        require_kind("retrieval", retrieval, RetrievalParams, f"RetrievalParams, {modes}")


def _advice(unknown: str) -> str:
    found = [
        f"{name}={params.__name__}({unknown}=…)"
        for name, params in (("sampling", SamplingParams), ("retrieval", RetrievalParams))
        if unknown in params.__dataclass_fields__
    ]
    return f"write {' or '.join(found)}" if found else "check its name"


def require_kind(name: str, value: object, kind: type, expected: str) -> None:
    """Raise InvalidInputError unless `value` is None or of `kind`."""
    if value is not None and not isinstance(value, kind):
        raise _wrong(name, value, expected)


def _wrong(name: str, value: object, expected: str) -> InvalidInputError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    return InvalidInputError(
        f"{name} is {shown} of type {type(value).__name__}; expected {expected}; change {name}"
    )
