"""What a sync of an index with its files has done."""

from dataclasses import dataclass, field, replace

from onegen_model.documents.failures import FailedFile


@dataclass(frozen=True, slots=True)
class FileCounts:
    """Numbers of files: `added`, with new content, `moved` to another path with the same content,
    `removed` from the index, and `unchanged`.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The index holds `passages` passages after `done` of `total` of the given files were
    processed; it is whole unless it was stopped.

    `embedded` passages were embedded now, `reused` took the vectors of the same title and text, and
    `removed` left the index. `failures` are the files that could not be read, and `unread` is the
    number of those that were not, because of a stop before anything was embedded.
    """

    passages: int
    done: int
    total: int
    embedded: int = 0
    reused: int = 0
    removed: int = 0
    files: FileCounts = field(default_factory=FileCounts)
    failures: tuple[FailedFile, ...] = ()
    unread: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all passages are in the index."""
        return self.done == self.total and not self.unread

    @property
    def is_in_step(self) -> bool:
        """Whether there was nothing to do: the index held the files as they are."""
        return replace(self.files, unchanged=0) == FileCounts() and not self.failures
