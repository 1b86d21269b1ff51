"""Every route of files, vector stores and documents."""

from fastapi import APIRouter

from onegen_integrations.server.stores import (
    batch_routes,
    document_routes,
    file_routes,
    store_file_routes,
    store_routes,
)

router = APIRouter()
for part in (file_routes, store_routes, store_file_routes, batch_routes, document_routes):
    router.include_router(part.router)
