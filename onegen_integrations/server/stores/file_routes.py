"""`/v1/files`: what callers upload."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import FileResponse

from onegen_integrations.server.errors import ParameterError
from onegen_integrations.server.stores.access import Allowed
from onegen_integrations.server.stores.objects import deleted, file_object
from onegen_integrations.server.stores.paging import FilesPaged
from onegen_integrations.server.stores.scoping import marked

router = APIRouter(prefix="/v1/files")

PURPOSES = ("assistants", "user_data")
Expiry = Annotated[str | None, Form(alias="expires_after[anchor]")]


@router.post("")
def upload(
    access: Allowed,
    file: Annotated[UploadFile, File()],
    purpose: Annotated[str, Form()] = PURPOSES[0],
    expires: Expiry = None,
) -> dict[str, Any]:
    """Keep a file; it is on the disk when this answers."""
    if purpose not in PURPOSES:
        raise ParameterError(
            f"purpose={purpose[:80]!r}; expected {' or '.join(PURPOSES)}, because files are only "
            "searched here; change it",
            param="purpose",
        )
    if expires is not None:
        raise ParameterError(
            "expires_after is given; expected none, because nothing expires on this server; leave "
            "it out, and delete the file",
            param="expires_after",
        )
    scope = marked(access.caller, {}, "file")
    record = access.library.files.add(file.file, file.filename or "", purpose, scope)
    return file_object(record)


@router.get("")
def list_files(access: Allowed, page: FilesPaged, purpose: str | None = None) -> dict[str, Any]:
    records = [one for one in access.files if purpose in (None, one.purpose)]
    return page.of(records, lambda one: one.id, file_object)


@router.get("/{file_id}")
def show_file(file_id: str, access: Allowed) -> dict[str, Any]:
    return file_object(access.file(file_id))


@router.get("/{file_id}/content")
def content(file_id: str, access: Allowed) -> FileResponse:
    record = access.file(file_id)
    # No browser shows it as a page of this server, whatever it holds.
    return FileResponse(
        access.library.files.path(record),
        media_type="application/octet-stream",
        filename=record.filename,
        headers={"X-Content-Type-Options": "nosniff"},
    )


@router.delete("/{file_id}")
def delete_file(file_id: str, access: Allowed) -> dict[str, Any]:
    """Remove a file, its content, and its passages in all vector stores."""
    access.library.delete_file(access.file(file_id).id)
    return deleted(file_id, "file")
