"""What LlamaIndex needs of the fields that every component has."""

import pickle
from typing import Any

from onegen_integrations.shared.model_fields import ModelFields


class PicklableModelFields(ModelFields):
    """LlamaIndex leaves out what cannot be pickled: the copy would load the default model."""

    def __getstate__(self) -> dict[Any, Any]:
        """Raises InvalidInputError for a model that was handed over loaded."""
        pickle.dumps(self.model)
        state: dict[Any, Any] = super().__getstate__()
        return state
