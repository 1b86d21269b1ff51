"""The fields with which every component names its model, and what embeddings have beside them.

Both frameworks are built on pydantic.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, Field, field_serializer, field_validator

from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.strict_fields import StrictFields
from onegen_model import OneGenModel, Passage
from onegen_model.errors import InvalidInputError, PassageTooLongError

_UNNAMED = "SharedModel("  # how a model is written that no name leads back to


class ModelFields(StrictFields):
    """`model` is a path, a hub id, a model that is already loaded, or None for the default one.

    It is loaded when first used, once per process. `ONEGEN_MODEL` in the environment names the
    model where none is given.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, populate_by_name=True, protected_namespaces=()
    )

    model: str | Path | OneGenModel | SharedModel | None = Field(
        default_factory=lambda: os.environ.get("ONEGEN_MODEL")
    )
    dtype: str = "float32"
    device: str | None = None

    @field_validator("model")
    @classmethod
    def _hold_a_handle(cls, model: object) -> object:
        """A loaded model could neither be copied nor pickled with this object; traces know text."""
        if isinstance(model, Path):
            return str(model)
        if isinstance(model, str) and model.startswith(_UNNAMED):
            raise InvalidInputError(
                f"{model} was handed over loaded, and what was written of it has no weights; "
                "expected a path or a hub id; make the component with that name instead"
            )
        return SharedModel(model) if isinstance(model, OneGenModel) else model

    @field_serializer("model")
    def _name(self, model: object) -> str | None:
        if isinstance(model, SharedModel) and model.is_named:
            return model.source
        return None if model is None else str(model)

    @property
    def shared(self) -> SharedModel:
        """The handle of the model."""
        return SharedModel(self.model, dtype=self.dtype, device=self.device)

    @property
    def model_label(self) -> str:
        """How traces and messages call the model."""
        return "default" if self.model is None else str(self.model)


class EmbeddingFields(ModelFields):
    """Texts are embedded as passages, queries as a question that retrieves at once."""

    too_long_advice: ClassVar[str]  # how a user of this framework makes texts that fit

    @property
    def max_passage_tokens(self) -> int:
        """Longest text, as `count_tokens` counts."""
        return self.shared.model.max_passage_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, as `max_passage_tokens` counts them."""
        return self.shared.model.count_tokens(text)

    def _embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors; raises PassageTooLongError, and InvalidInputError for an empty text."""
        passages = [Passage(f"texts[{at}]", text) for at, text in enumerate(texts)]
        try:
            rows: list[list[float]] = self.shared.model.embed_passages(passages).tolist()
        except PassageTooLongError as error:
            raise PassageTooLongError(f"{error}{self.too_long_advice}") from error
        return rows

    def _embed_query(self, query: str) -> list[float]:
        row: list[float] = self.shared.model.embed_queries([query])[0].tolist()
        return row
