"""One process that serves chat, responses, embeddings and ranking over HTTP, from one model."""

from onegen_integrations.server.app import create_app
from onegen_integrations.server.keys import ApiKey, read_keys
from onegen_integrations.server.serving import Serving
from onegen_integrations.server.settings import ServerSettings

__all__ = ["ApiKey", "ServerSettings", "Serving", "create_app", "read_keys"]
