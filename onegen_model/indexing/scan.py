"""What a sync will cost, before it begins."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class KindCount:
    """How many files of one suffix there are, and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """The given files by suffix, of which `unchanged` are in the index as they are; `gone` files
    leave it.

    `passages` are those of the other files, `index_bytes` the size of the index afterwards, and
    `seconds` the time for embedding, None if there is too little to embed to be worth a
    measurement; all three are estimates.
    """

    kinds: Mapping[str, KindCount] = field(hash=False)
    unchanged: int
    gone: int
    passages: int
    index_bytes: int
    seconds: float | None = None

    @property
    def files(self) -> int:
        """All given files."""
        return sum(kind.files for kind in self.kinds.values())

    @property
    def bytes(self) -> int:
        """The bytes of all given files."""
        return sum(kind.bytes for kind in self.kinds.values())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {"files": self.files, "bytes": self.bytes, **asdict(self)}
