"""A Hugging Face Trainer around `Objective`, and the adapter it trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import Trainer
from transformers.pytorch_utils import Conv1D

from onegen_model.finetune.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOSS_PARTS = ("language_modeling_loss", "contrastive_loss")


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """LoRA over the last `top_layers` layers (0: all); the new token rows train along.

    With `top_layers` the layers below see no gradient at all, which halves the cost of a step on
    a CPU; the token rows then learn through the output head they are tied to.
    """

    rank: int = 16
    alpha: int = 32
    top_layers: int = 0


def add_adapter(
    network: "PreTrainedModel", token_ids: list[int], settings: AdapterSettings
) -> "PreTrainedModel":
    """Wrap the network: only LoRA matrices and the rows of `token_ids` require gradients."""
    layers = network.config.num_hidden_layers
    only_top = 0 < settings.top_layers < layers
    rows = {
        _leaf_name(network, module): token_ids
        for module in (network.get_input_embeddings(), network.get_output_embeddings())
    }
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=_linear_in_top(network, settings.top_layers) if only_top else "all-linear",
        task_type="CAUSAL_LM",
        trainable_token_indices=rows,
    )
    adapted = cast("PreTrainedModel", get_peft_model(network, config))
    if only_top:
        adapted.get_input_embeddings().register_forward_hook(_detach)
    return adapted


def _linear_in_top(network: "PreTrainedModel", top_layers: int) -> str:
    """A pattern for the linear modules of the last layers (PEFT matches it against full names)."""
    layers = network.config.num_hidden_layers
    top = "|".join(map(str, range(layers - top_layers, layers)))
    leaves = {
        name.rsplit(".", 1)[-1]
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not network.get_output_embeddings()
    }
    return rf".*\.({top})\..*({'|'.join(sorted(leaves))})"


def _leaf_name(network: nn.Module, module: nn.Module) -> str:
    name = next(name for name, candidate in network.named_modules() if candidate is module)
    return str(name).rsplit(".", 1)[-1]


def _detach(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return output.detach()


class JointTrainer(Trainer):
    """Logs both losses apart and saves the adapter alone, without the embedding matrices."""

    # Each batch returns its own mean; the Trainer must not rescale it for accumulation.
    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sums = dict.fromkeys(LOSS_PARTS, 0.0)
        self._count = 0

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        outputs = model(**inputs)
        if model.training:
            self._count += 1
            for part in LOSS_PARTS:
                self._sums[part] += outputs[part].item()
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._count:
            logs |= {part: round(self._sums[part] / self._count, 4) for part in LOSS_PARTS}
            self._sums, self._count = dict.fromkeys(LOSS_PARTS, 0.0), 0
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        save_adapter(self.accelerator.unwrap_model(self.model), folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_adapter(self.accelerator.unwrap_model(self.model), Path(resume_from_checkpoint))


def save_adapter(objective: Objective, folder: Path) -> None:
    """Write LoRA matrices and token rows; `save_embedding_layers` would add whole matrices."""
    objective.network.save_pretrained(str(folder), save_embedding_layers=False)


def load_adapter(objective: Objective, folder: Path) -> None:
    """Put a saved adapter's values into a network that carries the same adapter."""
    network: Any = objective.network
    network.load_adapter(str(folder), adapter_name=network.active_adapter, is_trainable=True)
