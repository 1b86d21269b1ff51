"""Files that are to be added to a vector store, checked before anything is changed."""

import time

from onegen_integrations.server.errors import NotFoundError, ParameterError
from onegen_integrations.server.stores.access import Access
from onegen_integrations.server.stores.records import StoreFile
from onegen_integrations.server.stores.requests import AddFile
from onegen_integrations.server.stores.scoping import marked


def new_files(access: Access, wanted: list[AddFile]) -> list[StoreFile]:
    """Files to be added, with the attributes that the caller's scope fixes.

    Raises NotFoundError and ParameterError before anything is added.
    """
    longest = access.serving.model(None).max_passage_tokens
    files: dict[str, StoreFile] = {}
    for one in wanted:
        try:
            record = access.file(one.file_id)
        except NotFoundError as error:
            raise ParameterError(str(error), param="file_ids", code="not_found") from error
        attributes = {**record.scope, **(one.attributes or {})}
        if "onegen" in attributes:
            raise ParameterError(
                "The attribute 'onegen' is kept for the places of passages; expected another "
                "name; rename it",
                param="attributes",
            )
        chunking = one.chunking_strategy
        files[record.id] = StoreFile(
            record.id,
            time.time(),
            marked(access.caller, attributes, "attributes"),
            chunking.max_tokens(longest) if chunking else None,
        )
    return list(files.values())
