"""The web page of a server: chat, documents and entity links, in a browser.

Plain files, which load nothing from elsewhere. The page is one more client: it uses the routes that
every client uses, with the key that its reader types.
"""

from onegen_integrations.server.page.routes import router

__all__ = ["router"]
