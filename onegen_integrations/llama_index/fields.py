"""Fields that several components have in common, and what they mean to the core."""

import pickle
from collections.abc import Mapping
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel, Field, field_validator

from onegen_integrations.model_fields import ModelFields
from onegen_model import Grammar, SamplingParams


class PicklableModelFields(ModelFields):
    """LlamaIndex leaves out what cannot be pickled: the copy would load the default model."""

    def __getstate__(self) -> dict[Any, Any]:
        """Raises InvalidInputError for a model that was handed over loaded."""
        pickle.dumps(self.model)
        state: dict[Any, Any] = super().__getstate__()
        return state


class SamplingFields(BaseModel):
    """How tokens are chosen, as `SamplingParams` has it; a call's own values come first."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int = 256
    stop: list[str] = Field(default_factory=list)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, stop: Any) -> Any:
        return _listed(stop)

    def sampling(self, called: Mapping[str, Any], grammar: Grammar | None) -> SamplingParams:
        """Raises InvalidInputError for a value out of range."""
        given = {name: value for name, value in called.items() if value is not None}
        names = ("temperature", "top_p", "top_k", "repetition_penalty", "seed")
        chosen = {name: given.get(name, getattr(self, name)) for name in names}
        longest = given.get("max_new_tokens", given.get("max_tokens", self.max_tokens))
        stop = tuple(_listed(given.get("stop") or self.stop))
        return SamplingParams(**chosen, max_new_tokens=longest, stop=stop, grammar=grammar)


def _listed(stop: Any) -> Any:
    """A text alone is one stop, not as many as it has letters."""
    return [stop] if isinstance(stop, str) else stop
