"""The fields of a component that decide how tokens are sampled."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from onegen_model import Grammar, SamplingParams


class SamplingFields(BaseModel):
    """The fields of `SamplingParams`; None means its default.

    Values of a call, by the names of the fields or their aliases, override those of the component.
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
        """Make a list of a single stop string, which pydantic would split into letters."""
        return [stop] if isinstance(stop, str) else stop

    def sampling(
        self,
        called: Mapping[str, Any],
        grammar: Grammar | None = None,
        stop: str | Sequence[str] | None = None,
    ) -> SamplingParams:
        """Parameters of one call; `stop`, if given, overrides `stop_sequences` of `called`.

        Raises InvalidInputError for a value out of range.
        """
        names = ("temperature", "top_p", "top_k", "repetition_penalty", "seed")
        given = {name: called.get(name, getattr(self, name)) for name in names}
        longest = called.get("max_new_tokens", called.get("max_tokens", self.max_tokens))
        given |= {"max_new_tokens": longest, "grammar": grammar}
        stops = called.get("stop_sequences", self.stop) if stop is None else stop
        stops = (stops,) if isinstance(stops, str) else tuple(stops or ())
        chosen = {name: value for name, value in given.items() if value is not None}
        return SamplingParams(**chosen, stop=stops)
