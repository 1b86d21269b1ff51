"""The fields with which a component says how tokens are chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from onegen_model import Grammar, SamplingParams


class SamplingFields(BaseModel):
    """As `SamplingParams` has them, where None leaves the choice to its defaults.

    A call's own values come first, by the names of the fields or their aliases.
    """

    model_config = ConfigDict(populate_by_name=True)

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = Field(default=None, alias="max_new_tokens")
    stop: list[str] | None = Field(default=None, alias="stop_sequences")

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_one(cls, stop: object) -> object:
        """A text alone is one stop, not as many as it has letters."""
        return [stop] if isinstance(stop, str) else stop

    def sampling(
        self,
        called: Mapping[str, Any],
        grammar: Grammar | None = None,
        stop: str | Sequence[str] | None = None,
    ) -> SamplingParams:
        """`stop`, if given, comes first; raises InvalidInputError for a value out of range."""
        names = ("temperature", "top_p", "top_k", "repetition_penalty", "seed")
        given = {name: called.get(name, getattr(self, name)) for name in names}
        longest = called.get("max_new_tokens", called.get("max_tokens", self.max_tokens))
        given |= {"max_new_tokens": longest, "grammar": grammar}
        stops = called.get("stop_sequences", self.stop) if stop is None else stop
        stops = (stops,) if isinstance(stops, str) else tuple(stops or ())
        chosen = {name: value for name, value in given.items() if value is not None}
        return SamplingParams(**chosen, stop=stops)
