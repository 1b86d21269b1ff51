"""A training run described by one YAML file: base, data, method, losses, trainer arguments."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import TrainingArguments

from onegen_model.errors import InvalidInputError
from onegen_model.finetune.data.collator import CollatorSettings
from onegen_model.finetune.data.datasets import Format
from onegen_model.finetune.loss.losses import Contrastive, LossSettings
from onegen_model.finetune.run.dev_set import DevMetric, EarlyStopping
from onegen_model.finetune.run.trainable import AdapterSettings, Method
from onegen_model.finetune.settings import build, require_known

# What `run` decides: a recipe that says otherwise would be overruled without a word.
_OURS = (
    *("output_dir", "remove_unused_columns", "label_names", "disable_tqdm"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """`base` is "default" or a folder; `trainer` goes to `transformers.TrainingArguments`.

    `adapter_from` ("default" or a folder) is a OneGen adapter to go on from. `method` says what
    learns: an adapter, the last `adapter.top_layers` layers, or everything. `dtype` is that of the
    frozen weights: what learns does so in fp32. `compile_layers` takes a minute at the start and
    makes steps faster; on a CPU it needs a C++ compiler. `format` is that of the data, see `data`;
    pairs carry their passages and need no `passages`.

    On `dev`, of the same format, both losses and recall@1 are measured every `trainer.eval_steps`;
    `output` then holds what was best by `dev_metric`, and `early_stopping` may end the run.
    `dev_passages` are those of `dev` where they are not `passages`. `license` goes into the card.
    """

    train: Path
    output: Path
    passages: Path | None = None
    format: Format = "transcripts"
    base: str = "default"
    adapter_from: str | None = None
    method: Method = "lora"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    compile_layers: bool = False
    max_passage_tokens: int = 128
    contrastive: Contrastive = "info_nce"
    temperature: float = 0.05
    bpr_scale: float = 3.0
    language_modeling_weight: float = 1.0
    contrastive_weight: float = 1.0
    cross_device_negatives: bool = False
    cross_batch_negatives: int = 0
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    collator: CollatorSettings = field(default_factory=CollatorSettings)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    dev: Path | None = None
    dev_passages: Path | None = None
    dev_metric: DevMetric = "loss"
    early_stopping: EarlyStopping | None = None
    license: str = "unknown"

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Raises InvalidInputError that names what is wrong, down to the key."""
        if not path.is_file():
            raise InvalidInputError(f"No recipe {path}; expected a YAML file; check the path")
        try:
            plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidInputError(
                f"{path} is not YAML ({error}); expected one; mend it"
            ) from error
        recipe = build(cls, plain, str(path))
        recipe.check(str(path))
        return recipe

    def check(self, where: str) -> None:
        """Raise InvalidInputError where keys do not go together."""
        known = {f.name for f in dataclasses.fields(TrainingArguments)} - set(_OURS)
        require_known(self.trainer, known, f"{where}: trainer")
        layers = self.adapter.top_layers
        if self.method == "top_layers" and layers < 1:
            raise InvalidInputError(
                f"{where}: adapter.top_layers is {layers} with method top_layers; expected how "
                "many layers learn, 1 or more; set it, or choose method full"
            )
        if self.method != "lora" and self.dtype != "float32":
            raise InvalidInputError(
                f"{where}: dtype is {self.dtype} with method {self.method}; expected float32, in "
                "which whole weights learn; compute in bfloat16 with `trainer: {bf16: true}`"
            )
        if self.format != "pairs" and self.passages is None:
            raise InvalidInputError(
                f"{where} has no key 'passages'; expected the corpus of the ids in train; add it"
            )
        if self.compile_layers and self.trainer.get("deepspeed"):
            raise InvalidInputError(
                f"{where}: compile_layers is true with trainer.deepspeed; expected one of them: "
                "compiled code around what ZeRO gathers was never tried; leave one out"
            )
        self._check_negatives(where)
        self._check_development(where)

    def _check_negatives(self, where: str) -> None:
        size = self.cross_batch_negatives
        if size < 0 or (size and self.contrastive == "bpr"):
            raise InvalidInputError(
                f"{where}: cross_batch_negatives is {size} with contrastive {self.contrastive}; "
                "expected 0, or with info_nce how many passages are remembered; change one of them"
            )
        if self.cross_device_negatives and self.contrastive == "bpr":
            raise InvalidInputError(
                f"{where}: cross_device_negatives is true with contrastive bpr, which compares a "
                "query with its own negatives alone; expected false, or info_nce; change one of "
                "them"
            )

    def _check_development(self, where: str) -> None:
        never = self.trainer.get("eval_strategy", "no") in ("no", False)
        if self.dev is None:
            needing = {
                "dev_passages": self.dev_passages is not None,
                "early_stopping": self.early_stopping is not None,
                "trainer.eval_strategy": not never or self.trainer.get("eval_on_start", False),
            }
            if name := next((name for name, is_set in needing.items() if is_set), None):
                raise InvalidInputError(
                    f"{where} has {name} and no dev; expected the examples to measure on; add "
                    "`dev: FILE`"
                )
        elif never and "eval_strategy" in self.trainer:
            raise InvalidInputError(
                f"{where} has dev, and trainer.eval_strategy no; expected steps or epoch; leave it "
                "out, or leave out dev"
            )
        elif not self.contrastive_weight and self.dev_metric in ("contrastive_loss", "recall@1"):
            raise InvalidInputError(
                f"{where}: contrastive_weight is 0 with dev_metric {self.dev_metric}; expected a "
                "metric of what is trained; choose language_modeling_loss"
            )
        stopping = self.early_stopping
        if stopping is not None and (stopping.patience < 1 or stopping.min_delta < 0):
            raise InvalidInputError(
                f"{where}: early_stopping is patience {stopping.patience}, min_delta "
                f"{stopping.min_delta}; expected at least 1 and at least 0; change them"
            )

    @property
    def losses(self) -> LossSettings:
        """The part of a recipe that `Objective` needs."""
        names = {f.name for f in dataclasses.fields(LossSettings)}
        return LossSettings(**{name: getattr(self, name) for name in names})
