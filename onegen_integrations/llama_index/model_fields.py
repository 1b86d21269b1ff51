"""The fields with which every component of LlamaIndex names its model."""

import pickle
from typing import Any

from onegen_integrations.shared.model_fields import ModelFields


class PicklableModelFields(ModelFields):
    """A component that pickles with the name of its model, and refuses to pickle without one.

    LlamaIndex leaves out what cannot be pickled, and the copy would load the default model.
    """

    def __getstate__(self) -> dict[Any, Any]:
        """Raises InvalidInputError for a model that was passed as an object."""
        pickle.dumps(self.model)
        state: dict[Any, Any] = super().__getstate__()
        return state
