"""What requests bring: texts and documents, bounded, and refused by the names of their fields."""

from collections.abc import Mapping, Sequence
from typing import Any

from onegen_integrations.server.errors import ParameterError
from onegen_model import Passage

# As OpenAI: for one request.
MAX_INPUTS = 2048

TOKEN_IDS = (
    "input has token ids, which do not say whose tokenizer made them; expected texts; send texts "
    "(LangChain: OpenAIEmbeddings(..., check_embedding_ctx_length=False))"
)


def read_texts(value: object, param: str) -> list[str]:
    """A text, or a list of them, none of which is empty; raises ParameterError."""
    many = read_list(value, param)
    for at, text in enumerate(many):
        name = param if isinstance(value, str) else f"{param}[{at}]"
        if not isinstance(text, str):
            raise ParameterError(
                f"{name} is of type {type(text).__name__}; expected a text; convert it",
                param=param,
                code="invalid_type",
            )
        if not text.strip():
            raise ParameterError(
                f"{name} is empty; expected some text; leave it out", param=param, code="empty"
            )
    return many


def read_list(value: object, param: str) -> list[Any]:
    """A list of 1 to MAX_INPUTS entries; a text alone is one of them. Raises ParameterError."""
    many = [value] if isinstance(value, str) else value
    if not isinstance(many, list):
        raise ParameterError(
            f"{param} is of type {type(value).__name__}; expected a text or a list; change {param}",
            param=param,
            code="invalid_type",
        )
    if not 1 <= len(many) <= MAX_INPUTS:
        raise ParameterError(
            f"{param} has {len(many)} entries; expected 1 to {MAX_INPUTS}; send several requests",
            param=param,
            code="invalid_length",
        )
    return many


def has_token_ids(value: object) -> bool:
    """Whether the input of an embeddings request is of numbers, or of lists of them."""
    return isinstance(value, list) and any(isinstance(one, int | list) for one in value)


def read_documents(value: object, param: str) -> list[Passage]:
    """Texts, or mappings with a text and perhaps a title, as passages; they may be empty."""
    return [
        _document(one, f"{param}[{at}]", param) for at, one in enumerate(read_list(value, param))
    ]


def _document(plain: object, name: str, param: str) -> Passage:
    if isinstance(plain, Mapping):
        text, title = plain.get("text"), plain.get("title")
    else:
        text, title = plain, None
    if not isinstance(text, str) or not isinstance(title, str | None):
        raise ParameterError(
            f'{name} has no text; expected a text, or {{"text": …, "title": …}}; convert it',
            param=param,
            code="invalid_type",
        )
    return Passage(name, text, title or "")


def refuse(
    given: Mapping[str, Any] | None, refused: Mapping[str, tuple[Sequence[Any], str]]
) -> None:
    """Raise ParameterError for a parameter that would change the answer and is not known here.

    `refused`: its name -> the values that change nothing, and what to do about others.
    """
    for name, (harmless, advice) in refused.items():
        value = (given or {}).get(name)
        if value is not None and value not in harmless:
            raise ParameterError(
                f"{name} is not supported with this value; expected it left out; {advice}",
                param=name,
                code="unsupported_parameter",
            )
