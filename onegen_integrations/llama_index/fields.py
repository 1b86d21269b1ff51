"""Fields that several components have in common, and what they mean to the core."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel, ConfigDict, Field, field_serializer
from pydantic import field_validator

from onegen_integrations.shared import SharedModel
from onegen_model import Grammar, OneGenModel, SamplingParams


class ModelFields(BaseModel):
    """`model` is a path, a hub id, a model that is already loaded, or None for the default one.

    It is loaded when first used, once per process.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    model: str | Path | OneGenModel | SharedModel | None = None
    dtype: str = "float32"
    device: str | None = None

    @field_validator("model")
    @classmethod
    def _hold_a_handle(cls, model: object) -> object:
        """A loaded model could neither be copied nor pickled with this object."""
        return SharedModel(model) if isinstance(model, OneGenModel) else model

    @field_serializer("model")
    def _name(self, model: object) -> str | None:
        return None if model is None else str(model)

    @property
    def shared(self) -> SharedModel:
        """The handle of the model."""
        return SharedModel(self.model, dtype=self.dtype, device=self.device)

    @property
    def model_label(self) -> str:
        """How events and metadata call the model."""
        return "onegen" if self.model is None else str(self.model)


class SamplingFields(BaseModel):
    """How tokens are chosen, as `SamplingParams` has it; a call's own values come first."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int = 256
    stop: list[str] = Field(default_factory=list)

    def sampling(self, called: Mapping[str, Any], grammar: Grammar | None) -> SamplingParams:
        """Raises InvalidInputError for a value out of range."""
        names = ("temperature", "top_p", "top_k", "repetition_penalty", "seed")
        chosen = {name: called.get(name, getattr(self, name)) for name in names}
        longest = called.get("max_new_tokens", called.get("max_tokens", self.max_tokens))
        stop = tuple(called.get("stop") or self.stop)
        return SamplingParams(**chosen, max_new_tokens=longest, stop=stop, grammar=grammar)
