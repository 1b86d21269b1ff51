"""One process that serves chat, responses, embeddings and ranking over HTTP, from one model.

Names are imported when they are first used, so that `onegen --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onegen_integrations.server.app import create_app
    from onegen_integrations.server.keys import ApiKey, read_keys
    from onegen_integrations.server.serving import Serving
    from onegen_integrations.server.settings import ServerSettings

_MODULE_OF = {
    "ApiKey": "keys",
    "ServerSettings": "settings",
    "Serving": "serving",
    "create_app": "app",
    "read_keys": "keys",
}

__all__ = ["ApiKey", "ServerSettings", "Serving", "create_app", "read_keys"]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # the next access does not come here
    return value
