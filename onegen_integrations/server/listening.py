"""The address of a server: it is taken before anything is loaded, so that a taken one is told at
once."""

import errno
import os
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from onegen_model.errors import InvalidInputError

_REASONS = {
    errno.EADDRINUSE: "is in use; expected a free one; stop the other server or change --port",
    errno.EADDRNOTAVAIL: "is no address of this machine; expected one; change --host",
    errno.EACCES: "needs rights that this process lacks; expected a port above 1023; change --port",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens."""

    socket: socket.socket

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        host, port = self.socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def is_local(self) -> bool:
        """Whether this machine alone reaches it."""
        return ip_address(self.socket.getsockname()[0].partition("%")[0]).is_loopback


def listen(host: str, port: int) -> Listener:
    """Take an address; port 0 takes a free one. Raises InvalidInputError."""
    if not 0 <= port <= 65535:
        raise InvalidInputError(f"port={port}; expected 0 to 65535; change --port")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidInputError(
            f"host {host!r} is unknown; expected an address of this machine, such as 127.0.0.1 or "
            "0.0.0.0; change --host"
        ) from error
    # The name `localhost` has two addresses, and more programs try the one of IPv4.
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # Elsewhere it would let two servers share the address.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        reason = _REASONS.get(
            error.errno or 0, f"cannot be used ({error.strerror}); expected a free one; change it"
        )
        raise InvalidInputError(f"{host} port {port} {reason}") from error
    return Listener(listening)
