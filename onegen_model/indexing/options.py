"""How documents are brought into an index."""

from collections.abc import Callable
from dataclasses import dataclass

from onegen_model.documents.options import ReadingOptions
from onegen_model.errors import InvalidInputError
from onegen_model.indexing.scan import Scan

OnScan = Callable[[Scan], None]


@dataclass(frozen=True, slots=True)
class IndexingOptions:
    """`batch` passages are embedded per step; saves are at least `save_every` seconds apart, and
    take at most a twentieth of the time, unless it is 0: then every step is saved.

    Files that are gone from the given folders leave the index, unless `keep_missing`. `prune` also
    removes what came from anywhere else and is gone, and all of a folder that is empty now. With
    `skip_bad`, files that cannot be read are reported, and what the index holds of them stays.
    `on_scan` is called with what is to be done before anything is embedded.
    """

    batch: int = 32
    save_every: float = 30.0
    keep_missing: bool = False
    prune: bool = False
    skip_bad: bool = False
    reading: ReadingOptions | None = None
    on_scan: OnScan | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InvalidInputError(f"batch={self.batch}; expected at least 1; change batch")
        if self.keep_missing and self.prune:
            raise InvalidInputError(
                "keep_missing and prune; expected one of them, because they say the opposite; "
                "leave one out"
            )
