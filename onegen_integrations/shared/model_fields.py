"""The fields with which every component names its model, and the fields of embeddings."""

import os
import warnings
from collections.abc import Sequence
from operator import ne
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, field_serializer, field_validator

from onegen_integrations.shared.models import SharedModel
from onegen_integrations.shared.strict_fields import StrictFields
from onegen_model import OneGenModel, Passage, Quantization
from onegen_model.errors import InvalidInputError

_UNNAMED = "SharedModel("  # how a model that was passed as a loaded object is serialised


class ModelFields(StrictFields):
    """`model` is a path, a hub id, a model that is already loaded, or None for the default one.

    It is loaded when first used, once per process, and stays until `unload`. `ONEGEN_MODEL` in the
    environment names the model where none is given. `dtype`, `device`, `revision`, `device_map`,
    `quantization` ("8bit" or "4bit") and `model_kwargs` are those of
    `OneGenModel.from_pretrained`, with the limits stated there (`LoadOptions`).
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, populate_by_name=True, protected_namespaces=()
    )

    model: str | Path | OneGenModel | SharedModel | None = Field(
        default_factory=lambda: os.environ.get("ONEGEN_MODEL")
    )
    dtype: str = "float32"
    device: str | None = None
    revision: str | None = None
    device_map: str | dict[str, int | str] | None = None
    quantization: Quantization | None = None
    model_kwargs: dict[str, Any] | None = None

    @field_validator("model")
    @classmethod
    def _hold_a_handle(cls, model: object) -> object:
        """Wrap a loaded model, so that the component can be copied, pickled and traced."""
        if isinstance(model, Path):
            return str(model)
        if isinstance(model, str) and model.startswith(_UNNAMED):
            raise InvalidInputError(
                f"{model} is the placeholder of a model that was passed as a loaded object; "
                "expected a path or a hub id; pass that name"
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
        return SharedModel(
            self.model,
            dtype=self.dtype,
            device=self.device,
            revision=self.revision,
            device_map=self.device_map,
            quantization=self.quantization,
            model_kwargs=self.model_kwargs,
        )

    def unload(self) -> None:
        """Free the model, for all components that share it; the next use loads it again."""
        self.shared.unload()

    @property
    def model_label(self) -> str:
        """The name of the model in traces and messages."""
        return "default" if self.model is None else str(self.model)


class EmbeddingFields(ModelFields):
    """Texts are embedded as passages, queries as questions with retrieval "always".

    `splitter` is the component of the framework that makes texts that are not too long.
    """

    splitter: ClassVar[str]

    @property
    def max_passage_tokens(self) -> int:
        """Longest text, in tokens of `count_tokens`."""
        return self.shared.model.max_passage_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without the tokens that embedding adds."""
        return self.shared.model.count_tokens(text)

    def _embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors; of a text that is too long, that of its beginning, with a warning.

        Raises InvalidInputError for an empty text.
        """
        model = self.shared.model
        passages = [Passage(f"texts[{at}]", text) for at, text in enumerate(texts)]
        fitting = [next(model.fragments(passage)) for passage in passages]
        if any(map(ne, fitting, passages)):
            # Python shows the same warning once, not for each text or batch.
            warnings.warn(
                f"A text is longer than {model.max_passage_tokens} tokens, the longest passage of "
                "the model; texts of that kind are embedded and read by their beginning alone; "
                f"split documents with {self.splitter} instead",
                stacklevel=1,
            )
        rows: list[list[float]] = model.embed_passages(fitting).tolist()
        return rows

    def _embed_query(self, query: str) -> list[float]:
        row: list[float] = self.shared.model.embed_queries([query])[0].tolist()
        return row
