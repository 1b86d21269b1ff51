"""The checkpoints that belong to the package, by name."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_PACKAGE = Path(__file__).parent.parent

DEFAULT_CHECKPOINT = _PACKAGE / "default_checkpoint"
LINKING_CHECKPOINT = _PACKAGE / "linking_checkpoint"

SHIPPED: Mapping[str, Path] = MappingProxyType(
    {"default": DEFAULT_CHECKPOINT, "entity-linking": LINKING_CHECKPOINT}
)


def shipped(name: str | Path) -> Path | None:
    """The folder of a name, unless a folder of that name is in the working directory."""
    found = SHIPPED.get(str(name))
    return None if found is None or Path(name).is_dir() else found
