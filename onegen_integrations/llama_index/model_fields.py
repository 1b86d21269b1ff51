"""Fields of every LlamaIndex component that name its model, and a tokenizer."""

import pickle
from dataclasses import dataclass
from typing import Any

from onegen_integrations.shared.model_fields import ModelFields
from onegen_integrations.shared.models import SharedModel


class PicklableModelFields(ModelFields):
    """A component that pickles with the name of its model, and refuses to pickle without one.

    LlamaIndex leaves out what cannot be pickled, and the copy would load the default model.
    """

    def __getstate__(self) -> dict[Any, Any]:
        """Raises InvalidInputError for a model that was passed as an object."""
        pickle.dumps(self.model)
        state: dict[Any, Any] = super().__getstate__()
        return state


@dataclass(frozen=True, slots=True)
class ModelTokenizer:
    """The ids of a text, as LlamaIndex's `tokenizer`; copied and pickled without the model."""

    shared: SharedModel

    def __call__(self, text: str) -> list[int]:
        return self.shared.model.token_ids(text)
