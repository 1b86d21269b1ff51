"""What the adapters share: loaded models, the fields of components, rules for vector stores."""

from onegen_integrations.shared.models import SharedModel, shared_model, unload_model

__all__ = ["SharedModel", "shared_model", "unload_model"]
