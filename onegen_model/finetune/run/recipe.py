"""A training run described by one YAML file: base, data, method, losses, trainer arguments."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from transformers import TrainingArguments

from onegen_model.errors import InvalidInputError
from onegen_model.finetune.data.collator import CollatorSettings
from onegen_model.finetune.data.records import Format
from onegen_model.finetune.loss.losses import Contrastive, LossSettings
from onegen_model.finetune.run.dev_set import DevMetric, EarlyStopping
from onegen_model.finetune.run.trainable import AdapterSettings, Method
from onegen_model.finetune.settings import (
    CHECKED,
    Arguments,
    FileName,
    Number,
    build,
    require_known,
)

# Arguments that `run` sets itself; a value in a recipe would be ignored.
_OURS = (
    *("output_dir", "remove_unused_columns", "label_names", "disable_tqdm"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run; `read` takes it from a YAML file, whose keys are these fields."""

    __pydantic_config__ = CHECKED

    train: FileName
    """The training file, a .jsonl or .jsonl.gz in the format of `format`."""
    output: FileName
    """The folder of the run: its checkpoints, and at the end the trained model."""
    passages: FileName | None = None
    """The corpus of the passage ids in `train`: a .jsonl, or an index (a folder). Pairs carry their
    passages and need none; triples may do so."""
    format: Format = "transcripts"
    """The format of `train` and `dev`; `published` is that of the original OneGen, whose texts with
    linked mentions are `entity_linking`, like ours."""
    base: str = "default"
    """The model to start from: a folder, or `default`."""
    adapter_from: str | None = None
    """A trained OneGen adapter over `base` to start from: a folder, or `default`."""
    method: Method = "lora"
    """What learns: an adapter, the last `adapter.top_layers` layers, or all weights."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The precision of the frozen weights; weights that learn are float32."""
    compile_layers: bool = False
    """Compile the layers: a minute at the start, then faster steps. A CPU needs a C++ compiler."""
    max_passage_tokens: int = 128
    """The longest passage, in tokens."""
    contrastive: Contrastive = "info_nce"
    """The retrieval loss: InfoNCE, or the BPR of the OneGen paper."""
    temperature: Number = 0.05
    """InfoNCE divides cosines by it."""
    bpr_scale: Number = 3.0
    """BPR multiplies cosines by it."""
    language_modeling_weight: Number = 1.0
    """The weight of the language-modelling loss in the sum."""
    contrastive_weight: Number = 1.0
    """The weight of the retrieval loss in the sum; 0 trains a generator alone."""
    cross_device_negatives: bool = False
    """Whether a query is compared with the passages of all processes (InfoNCE)."""
    cross_batch_negatives: int = 0
    """How many passages of earlier batches a query is compared with (InfoNCE)."""
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    """The adapter of `method: lora`."""
    collator: CollatorSettings = field(default_factory=CollatorSettings)
    """How batches are made."""
    trainer: Arguments = field(default_factory=dict)
    """Arguments of `transformers.TrainingArguments`, such as `learning_rate` and `max_steps`."""
    dev: FileName | None = None
    """Development examples, on which both losses and recall@1 are measured every
    `trainer.eval_steps`; `output` then holds the best step."""
    dev_passages: FileName | None = None
    """The corpus of `dev`, where it is not `passages`."""
    dev_metric: DevMetric = "loss"
    """What the best step is chosen by."""
    early_stopping: EarlyStopping | None = None
    """Ends a run that no longer gains on `dev`."""
    license: str = "unknown"
    """The licence that the model card names."""

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Raises InvalidInputError, which names the wrong key."""
        if not path.is_file():
            raise InvalidInputError(f"No recipe {path}; expected a YAML file; check the path")
        try:
            plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidInputError(
                f"{path} is not YAML ({error}); expected YAML; correct the file"
            ) from error
        recipe = build(cls, plain, str(path))
        recipe.check(str(path))
        return recipe

    def check(self, where: str) -> None:
        """Raise InvalidInputError for keys that exclude each other."""
        known = {f.name for f in dataclasses.fields(TrainingArguments)} - set(_OURS)
        require_known(self.trainer, known, f"{where}: trainer")
        self._check_adapter(where)
        if self.method != "lora" and self.dtype != "float32":
            raise InvalidInputError(
                f"{where}: dtype is {self.dtype} with method {self.method}; expected float32, in "
                "which whole weights are trained; compute in bfloat16 with `trainer: {bf16: true}`"
            )
        if self.format not in ("pairs", "triples") and self.passages is None:
            raise InvalidInputError(
                f"{where} has no key 'passages'; expected the corpus of the ids in train; add it"
            )
        if self.compile_layers and self.trainer.get("deepspeed"):
            raise InvalidInputError(
                f"{where}: compile_layers is true with trainer.deepspeed; expected one of them: "
                "compiled layers with ZeRO are untested; leave one out"
            )
        self._check_negatives(where)
        self._check_development(where)

    def _check_adapter(self, where: str) -> None:
        layers = self.adapter.top_layers
        if self.method == "top_layers" and layers < 1:
            raise InvalidInputError(
                f"{where}: adapter.top_layers is {layers} with method top_layers; expected how "
                "many layers learn, 1 or more; set it, or choose method full"
            )
        if self.method != "lora" and self.adapter.frozen:
            raise InvalidInputError(
                f"{where}: adapter.frozen is {self.adapter.frozen} with method {self.method}, "
                "which has no adapter; expected 0, or method lora; change one of them"
            )

    def _check_negatives(self, where: str) -> None:
        size = self.cross_batch_negatives
        if size < 0 or (size and self.contrastive == "bpr"):
            raise InvalidInputError(
                f"{where}: cross_batch_negatives is {size} with contrastive {self.contrastive}; "
                "expected 0, or with info_nce the number of passages; change one of them"
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
