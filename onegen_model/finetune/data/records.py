"""Records of training files: pydantic checks them, and each error becomes a `Problem`."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from onegen_model.finetune.settings import plain_type, type_at
from onegen_model.jsonl import Problem

T = TypeVar("T")

Format = Literal["transcripts", "published", "pairs", "triples", "entity_linking"]


@dataclass(frozen=True, slots=True)
class Expected:
    """Metadata of a type: the expected value, for errors."""

    what: str

    def check(self, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """Replace errors of the value itself; errors of its parts keep their messages."""
        try:
            return validate(value)
        except ValidationError as error:
            if any(one["loc"] or one["type"] == "at" for one in error.errors(include_url=False)):
                raise
            raise PydanticCustomError("expected", f"expected {self.what}") from error

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self.check, handler(source))


def problem_at(field: str, message: str) -> PydanticCustomError:
    """The error of a field inside the validated value, to be raised in a validator."""
    return PydanticCustomError("at", message, {"field": field})


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def not_empty(values: T) -> T:
    """The values; raises ValueError for an empty list, once all its items are valid."""
    if not values:
        raise ValueError
    return values


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, Strict(), Expected("a text")]
SomeText = Annotated[str, Strict(), AfterValidator(_not_blank), Expected("some text")]
Name = Annotated[str, Strict(), BeforeValidator(_as_text), Expected("a text or a number")]


# The default of a required field. It is checked like any value, so that the error names what is
# expected.
ABSENT: Any = None


class Record(BaseModel):
    """A record; each field is checked, a missing one as well."""

    model_config = ConfigDict(frozen=True, validate_default=True)


class PassageRecord(Record):
    """A passage of a corpus, or one inside an example, which needs no id."""

    text: SomeText = ABSENT
    title: Text = ""


class NamedPassageRecord(PassageRecord):
    """A line of a file of passages."""

    id: Name = ABSENT


@dataclass(frozen=True)
class Shape(Generic[T]):
    """The shape of a record, compiled once."""

    kind: Any
    adapter: TypeAdapter[T] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "adapter", TypeAdapter(self.kind))

    def read(self, plain: Any) -> T:
        """The checked record; raises ValidationError."""
        return self.adapter.validate_python(plain)

    def problems(self, plain: Mapping[str, Any]) -> Iterator[Problem]:
        """All problems of a record, unknown fields first."""
        try:
            self.read(plain)
        except ValidationError as error:
            found = error.errors(include_url=False)
            found.sort(key=lambda one: not _is_unknown(one))
            yield from map(self._problem, found)

    def _problem(self, error: ErrorDetails) -> Problem:
        location, message = error["loc"], error["msg"]
        suffix = error["ctx"]["field"] if error["type"] == "at" else ""
        if _is_unknown(error):
            message = _unknown(str(location[-1]), type_at(self.kind, location[:-1]))
        elif error["type"] == "missing":
            metadata = type_at(self.kind, location).__metadata__
            what = next(one.what for one in metadata if isinstance(one, Expected))
            message = f"expected {what}"
        elif error["type"] in ("model_type", "dataclass_type"):
            message = "expected an object"
        return Problem(_field(location) + suffix if location else suffix, message)


def _is_unknown(error: ErrorDetails) -> bool:
    return error["type"] in ("unexpected_keyword_argument", "extra_forbidden")


def _unknown(name: str, kind: Any) -> str:
    owner = plain_type(kind)
    known = [one.name for one in fields(owner)] if is_dataclass(owner) else [*owner.model_fields]
    near = difflib.get_close_matches(name, known, 1)
    advice = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown; expected one of {', '.join(known)}{advice}"


def _field(location: tuple[int | str, ...]) -> str:
    """`segments[0].target`."""
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(parts).removeprefix(".")
