"""What is kept of files and vector stores besides their content: plain data, JSON-able."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Status = Literal["in_progress", "completed", "failed", "cancelled"]
ProblemCode = Literal["server_error", "unsupported_file", "invalid_file"]
STATUSES: tuple[Status, ...] = ("in_progress", "completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """An uploaded file. `scope` holds what the scope of its uploader fixes."""

    id: str
    filename: str
    purpose: str
    size: int
    sha256: str
    created: float
    suffix: str = ""
    scope: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "FileRecord":
        """Inverse of `asdict`; raises TypeError for anything else."""
        return cls(**plain)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file is in no index; the codes are those of OpenAI."""

    code: ProblemCode
    message: str


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file in a vector store. `max_tokens` is its longest passage; None: that of the model."""

    id: str
    created: float
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    max_tokens: int | None = None
    status: Status = "in_progress"
    usage_bytes: int = 0
    problem: Problem | None = None

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "StoreFile":
        """Inverse of `asdict`; raises TypeError for anything else."""
        problem = plain.get("problem")
        return cls(**{**plain, "problem": Problem(**problem) if problem else None})


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that were added by one request."""

    id: str
    created: float
    file_ids: tuple[str, ...]
    is_cancelled: bool = False

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Batch":
        """Inverse of `asdict`; raises TypeError for anything else."""
        return cls(**{**plain, "file_ids": tuple(plain["file_ids"])})


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """A vector store of the model with a fingerprint. `scope` is what its maker's scope fixes."""

    id: str
    name: str
    created: float
    fingerprint: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    description: str = ""
    scope: Mapping[str, Any] = field(default_factory=dict, hash=False)
    files: Mapping[str, StoreFile] = field(default_factory=dict, hash=False)
    batches: Mapping[str, Batch] = field(default_factory=dict, hash=False)

    @property
    def attributes(self) -> dict[str, Any]:
        """What the scope of a caller is compared with."""
        return {**self.metadata, **self.scope}

    def with_files(self, files: Iterable[StoreFile]) -> "StoreRecord":
        """Files are added, or take the place of those with their ids."""
        return replace(self, files={**self.files, **{one.id: one for one in files}})

    def without_file(self, file_id: str) -> "StoreRecord":
        """The record of the store without a file."""
        files = {name: one for name, one in self.files.items() if name != file_id}
        return replace(self, files=files)

    def with_batch(self, batch: Batch) -> "StoreRecord":
        """A batch is added, or takes the place of the one with its id."""
        return replace(self, batches={**self.batches, batch.id: batch})

    def to_json(self) -> dict[str, Any]:
        """The content of store.json."""
        return {
            **asdict(replace(self, files={}, batches={})),
            "files": list(map(asdict, self.files.values())),
            "batches": list(map(asdict, self.batches.values())),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "StoreRecord":
        """Inverse of `to_json`; raises TypeError or KeyError for anything else."""
        files = map(StoreFile.from_json, plain["files"])
        batches = map(Batch.from_json, plain["batches"])
        return cls(
            **{
                **plain,
                "files": {one.id: one for one in files},
                "batches": {one.id: one for one in batches},
            }
        )
