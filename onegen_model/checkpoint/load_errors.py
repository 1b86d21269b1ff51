"""Checks of a folder before transformers reads it, and errors whose advice follows their cause."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from onegen_model.errors import CheckpointError, is_out_of_memory

_POINTER = b"version https://git-lfs.github.com/spec/"
_CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json")
_PIP_NAME = re.compile(r"pip install (?:-U |--upgrade )*`?[\"']?([A-Za-z0-9][\w.-]*)")
_REQUIRED = re.compile(
    r"(?:requires (?:the )?|incompatible version of )[`'\"]?([A-Za-z0-9][\w.-]*\w)", re.IGNORECASE
)

_MISFIT = "the weights do not fit the configuration: take both from one checkpoint"
_DEVICE_MAP = "this machine has no such device: change device_map"
# Messages of transformers, PEFT and torch -> the advice of our error.
_BY_PHRASE = (
    ("trust_remote_code", "it needs code of its own, which is never run: choose another"),
    (
        "does not recognize this architecture",
        "the installed transformers does not know the architecture: update transformers",
    ),
    ("for this kind of AutoModel", "it is no decoder that writes text: choose another base model"),
    ("ignore_mismatched_sizes", _MISFIT),
    ("size mismatch", _MISFIT),
    (
        "Should have a `model_type` key",
        "config.json is missing or names no model_type: download the whole checkpoint",
    ),
    (
        "Couldn't instantiate the backend tokenizer",
        "tokenizer.json is missing: download the whole checkpoint",
    ),
    ("no file named", "a file is missing: download the whole checkpoint"),
    ("When passing device_map as a string", _DEVICE_MAP),
    ("at start of device string", _DEVICE_MAP),
    ("Cannot access accelerator device", _DEVICE_MAP),
    (
        "ForCausalLM.__init__() got an unexpected keyword argument",
        "the network does not take the argument: take it out of model_kwargs",
    ),
    ("attn_implementation=", "change attn_implementation in model_kwargs"),
    ("torch_dtype", 'the dtype is the cause: load with dtype="float32"'),
)


def refuse_foreign_code(folder: Path) -> None:
    """Raises CheckpointError for a folder whose configuration needs custom code."""
    for name in _CONFIGS:
        try:
            plain = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # Absent or damaged: the loader raises.
            continue
        if isinstance(plain, dict) and plain.get("auto_map"):
            raise CheckpointError(
                f"{folder} wants to run its own code ({name} has `auto_map`); expected a model "
                "that transformers implements, because code of a checkpoint is never run here; "
                "choose another, or, where transformers implements the model, delete `auto_map` "
                "from a copy"
            )


def refuse_pickles(folder: Path) -> None:
    """Raises CheckpointError for weights that only unpickling could read."""
    if not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        raise CheckpointError(
            f"{folder} has its weights in .bin files; expected safetensors, because loading a .bin "
            "file can run code; if you trust it, convert it once: `AutoModelForCausalLM."
            "from_pretrained(folder).save_pretrained(folder)` of transformers"
        )


def unloadable(folder: Path, error: Exception, expected: str) -> CheckpointError:
    """The error for a folder that transformers or PEFT could not load, with advice by its cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Some first lines only announce the reason.
    announces = len(lines) > 1 and lines[0].endswith(":")
    reason = " ".join(lines[: 1 + announces]) or "no reason given"
    advice = _advice(folder, error)
    return CheckpointError(
        f"{folder} cannot be loaded ({type(error).__name__}: {reason}); expected {expected}; "
        f"{advice}"
    )


def _advice(folder: Path, error: Exception) -> str:
    said = str(error)
    if pointers := [file.name for file in _weight_files(folder) if _is_pointer(file)]:
        return (
            f"{', '.join(pointers)} holds a git-lfs pointer instead of the content: run "
            "`git lfs pull` in the folder, or download the checkpoint again"
        )
    if is_out_of_memory(error):
        return (
            "there was not enough memory: free some, or choose a smaller dtype, a device_map or a "
            "smaller model"
        )
    if package := _missing_package(error):
        return f"a package is missing or too old: run `pip install -U {package}`"
    if known := next((advice for phrase, advice in _BY_PHRASE if phrase in said), ""):
        return known
    if damaged := [file.name for file in _weight_files(folder) if _is_damaged(file)]:
        return f"{', '.join(damaged)} is damaged or cut short: download it again"
    if isinstance(error, FileNotFoundError):
        return "a file is missing: download the whole checkpoint"
    return "check the files of the folder, or download the checkpoint again"


def _missing_package(error: Exception) -> str:
    """The name for pip; empty if no package is missing."""
    if not isinstance(error, ImportError):
        return ""
    for pattern in (_PIP_NAME, _REQUIRED):
        if found := pattern.search(str(error)):
            return found[1]
    return (error.name or "").partition(".")[0]


def _weight_files(folder: Path) -> Iterator[Path]:
    for pattern in ("*.safetensors", "*.json", "*.model"):
        yield from sorted(folder.glob(pattern))


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_POINTER)) == _POINTER


def _is_damaged(file: Path) -> bool:
    try:
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
        elif file.suffix == ".safetensors":
            # Reads the header and compares it with the length of the file.
            from safetensors import safe_open

            with safe_open(file, framework="numpy"):
                pass
    except Exception:  # safetensors has an error class of its own.
        return True
    return False
