"""The file `onegen.json` of a checkpoint: template, passage length, base, origin."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onegen_model.errors import CheckpointError
from onegen_model.transcript.template import Template

CONFIG_FILE = "onegen.json"
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Base:
    """The base that an adapter was trained on. `source` is "default", a folder or a hub id."""

    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """The fingerprint of the checkpoint that `save_pretrained` wrote a folder from.

    `content` is the fingerprint of the files as they were written: once a file was changed, the
    folder is another checkpoint.
    """

    fingerprint: str
    content: str


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """The content of `onegen.json`. Without a `base` the folder holds whole weights."""

    template: Template = field(default_factory=Template)
    max_passage_tokens: int = 128
    base: Base | None = None
    made_from: MadeFrom | None = field(default=None, compare=False)

    def write(self, folder: Path) -> None:
        """Write `onegen.json`."""
        plain: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "template": self.template.to_dict(),
            "max_passage_tokens": self.max_passage_tokens,
            "base": asdict(self.base) if self.base else None,
        }
        if self.made_from is not None:
            plain["made_from"] = asdict(self.made_from)
        text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "CheckpointConfig":
        """Defaults where the folder has no `onegen.json`; raises CheckpointError."""
        file = folder / CONFIG_FILE
        if not file.is_file():
            return cls()
        try:
            plain: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if plain["format_version"] != FORMAT_VERSION:
                raise CheckpointError(
                    f"{file} has format {plain['format_version']}; expected {FORMAT_VERSION}; "
                    "use the release of onegen that wrote it"
                )
            config = cls(
                Template.from_dict(plain["template"]),
                plain["max_passage_tokens"],
                Base(**plain["base"]) if plain["base"] else None,
                MadeFrom(**plain["made_from"]) if plain.get("made_from") else None,
            )
            _require_kinds(config)
            return config
        except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{file} cannot be read ({type(error).__name__}: {error}); expected what "
                "`save_pretrained` writes; fetch the checkpoint again"
            ) from error


def _require_kinds(config: CheckpointConfig) -> None:
    """Raise TypeError, LookupError or ValueError for a value that fails only when it is used."""
    texts = {**asdict(config.template), **config.template.tokens.to_dict()}
    texts |= {f"base.{name}": value for name, value in asdict(config.base or Base("", "")).items()}
    del texts["tokens"], texts["reflection"], texts["linking"]
    if (linking := config.template.linking) is not None:
        texts |= {f"linking.{name}": value for name, value in asdict(linking).items()}
    texts |= {f"reflection[{at}]": one for at, one in enumerate(config.template.reflection)}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} is {value!r}, which is no text")
    longest = config.max_passage_tokens
    if not isinstance(longest, int) or longest < 1:
        raise ValueError(f"max_passage_tokens is {longest!r}, which is no number of tokens")
    config.template.titled.format(title="", text="")
