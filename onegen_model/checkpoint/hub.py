"""Finds the folder that a name means: a local one, or a download from the hub."""

from pathlib import Path

from onegen_model.checkpoint.load_errors import refuse_foreign_code
from onegen_model.errors import CheckpointError, InvalidInputError

# No file with code is downloaded, and none that only unpickling could read.
_CONFIGS = ["*config.json"]
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]

# The name of the hub client's error class -> the cause and the advice of our error.
_CAUSES = {
    "HFValidationError": ("it is no folder, and not a possible hub id", "check the path"),
    "RepositoryNotFoundError": (
        "it is no folder, and the hub shows no such repository",
        "check the name, or log in with `hf auth login` if it is private",
    ),
    "GatedRepoError": (
        "the hub asks for its terms to be accepted",
        "accept them on the model's page, and log in with `hf auth login`",
    ),
    "RevisionNotFoundError": (
        "the repository has no such revision",
        "name a branch, a tag or a commit",
    ),
    "LocalEntryNotFoundError": (
        "it is no folder, it was not downloaded before, and the hub cannot be reached",
        "check the path, connect to the network, or unset HF_HUB_OFFLINE",
    ),
    "OfflineModeIsEnabled": (
        "it is no folder, it was not downloaded before, and HF_HUB_OFFLINE is set",
        "check the path, or unset HF_HUB_OFFLINE",
    ),
}


def find_folder(path_or_id: str | Path, revision: str | None = None) -> Path:
    """A local folder, or that of a downloaded snapshot; raises CheckpointError.

    Raises InvalidInputError for the revision of a local folder, and for what can be no name.
    """
    if not isinstance(path_or_id, str | Path) or not str(path_or_id):
        raise InvalidInputError(
            f"The checkpoint is {path_or_id!r}; expected a local folder or a hub id; name one"
        )
    if (folder := Path(path_or_id)).is_dir():
        if revision is not None:
            raise InvalidInputError(
                f"revision={revision!r} for the folder {folder}; expected a hub id, because a "
                "folder has no revisions; leave revision out"
            )
        return folder
    # Imported here, because a local folder needs no hub client.
    from huggingface_hub import snapshot_download

    name = str(path_or_id)
    try:
        # The small files that may be refused are downloaded before the weights.
        small = snapshot_download(name, revision=revision, allow_patterns=_CONFIGS)
        refuse_foreign_code(Path(str(small)))
        found = snapshot_download(name, revision=revision, allow_patterns=_FILES)
    except CheckpointError:
        raise
    except Exception as error:  # The hub client raises a dozen kinds, none of them ours.
        raise _not_found(name, revision, error) from error
    return Path(str(found))


def _not_found(name: str, revision: str | None, error: Exception) -> CheckpointError:
    kinds = (kind.__name__ for kind in type(error).__mro__)
    known = next((_CAUSES[kind] for kind in kinds if kind in _CAUSES), None)
    cause, advice = known or (
        f"the download failed ({type(error).__name__}: {error})",
        "check the network and the free disk, and try again",
    )
    wanted = name if revision is None else f"{name} at revision {revision}"
    return CheckpointError(
        f"No model {wanted!r}: {cause}; expected a local folder or a hub id; {advice}"
    )
