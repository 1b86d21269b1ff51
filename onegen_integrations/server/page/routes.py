"""`/` and `/page/…`: the files of the page, to everybody."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from onegen_integrations.server.errors import NotFoundError

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent / "files"
# Named here, because what a system takes a suffix for differs.
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Whatever a passage or a file holds, the page runs no code but its own and asks no other server.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@router.api_route("/", methods=["GET", "HEAD"])
def index() -> FileResponse:
    return _send("index.html")


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def file(name: str) -> FileResponse:
    # By comparison with what there is: a name that is a path is no name of a file.
    if name not in {path.name for path in FOLDER.iterdir()}:
        raise NotFoundError(
            f"The page has no file {name[:80]!r}; expected one that it names; open /"
        )
    return _send(name)


def _send(name: str) -> FileResponse:
    path = FOLDER / name
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=HEADERS)
