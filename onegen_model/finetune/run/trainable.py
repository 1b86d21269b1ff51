"""Trained parameters: an adapter, the last layers, or all weights; saving and loading them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    TrainableTokensConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from onegen_model.checkpoint.config import ADAPTER_FILE
from onegen_model.errors import InvalidInputError
from onegen_model.finetune.settings import CHECKED, require_at_least

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Method = Literal["lora", "top_layers", "full"]
TRAINED_FILE = "trained.safetensors"


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """LoRA over the last `top_layers` layers (0: all); the rows of new tokens are trained too.

    With `top_layers` the layers below have no gradient, which halves the cost of a step on a CPU;
    the token rows then learn through the output head. If that is not tied to the input embeddings,
    the input rows do not change. The same holds with `frozen`.
    """

    __pydantic_config__ = CHECKED

    rank: int = 16
    """The rank of the LoRA matrices, 1 or more."""
    alpha: int = 32
    """LoRA adds its product times `alpha / rank`; 1 or more."""
    top_layers: int = 0
    """How many of the last layers learn; 0: all."""
    frozen: int = 0
    """How many of the first layers keep the values of `adapter_from`, which saves their backward
    pass."""

    def __post_init__(self) -> None:
        for name, least in (("rank", 1), ("alpha", 1), ("top_layers", 0), ("frozen", 0)):
            require_at_least(least, name, getattr(self, name))


def require_known_layers(network: "PreTrainedModel", settings: AdapterSettings) -> None:
    """Raise InvalidInputError for settings that name more layers than the network has."""
    layers = len(stack(network)[0])
    if settings.frozen >= layers:
        raise InvalidInputError(
            f"adapter.frozen is {settings.frozen}, and the network has {layers} layers; expected "
            f"at most {layers - 1}, so that one learns; lower it"
        )
    if settings.top_layers > layers:
        raise InvalidInputError(
            f"adapter.top_layers is {settings.top_layers}, and the network has {layers} layers; "
            f"expected at most {layers}, or 0 for all of them; lower it"
        )


def prepare_to_learn(
    network: "PreTrainedModel", token_ids: list[int], method: Method, settings: AdapterSettings
) -> "PreTrainedModel":
    """The network in which exactly the parameters of `method` require gradients."""
    if method == "lora":
        return add_adapter(network, token_ids, settings)
    if method == "top_layers":
        return open_top_layers(network, token_ids, settings.top_layers)
    return network.requires_grad_(True)


def add_adapter(
    network: "PreTrainedModel", token_ids: list[int], settings: AdapterSettings
) -> "PreTrainedModel":
    """Wrap the network: only LoRA matrices and the rows of `token_ids` require gradients."""
    layers = network.config.num_hidden_layers
    only_top = 0 < settings.top_layers < layers
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=_linear_in_top(network, settings.top_layers) if only_top else "all-linear",
        task_type="CAUSAL_LM",
        trainable_token_indices=dict.fromkeys(_embedding_names(network), token_ids),
    )
    adapted = cast("PreTrainedModel", get_peft_model(network, config))
    if only_top:
        _cut_behind_input(adapted)
    return adapted


def freeze_layers(network: "PreTrainedModel", count: int) -> None:
    """Stop the first `count` layers of an adapted network from learning.

    Their part of the adapter is merged, which saves its products, and is saved as it was.
    """
    layers, _ = stack(network)
    for layer in list(layers)[:count]:
        layer.requires_grad_(False)
        for module in layer.modules():
            if isinstance(module, LoraLayer):
                module.merge()
    _cut_behind_input(network)


def open_top_layers(
    network: "PreTrainedModel", token_ids: list[int], top_layers: int
) -> "PreTrainedModel":
    """Wrap the network: the last layers, what follows them and the rows of `token_ids` learn."""
    layers, behind = stack(network)
    names = _embedding_names(network)
    # PEFT finds the head that is tied to the input rows itself, and fails on one named twice.
    tied = network.get_output_embeddings().weight is network.get_input_embeddings().weight
    config = TrainableTokensConfig(
        token_indices=token_ids,
        target_modules=names[:1] if tied else names,
        task_type="CAUSAL_LM",
    )
    wrapped = cast("PreTrainedModel", get_peft_model(network, config))
    for module in (*list(layers)[-top_layers:], *behind):
        module.requires_grad_(True)
    if top_layers < len(layers):
        _cut_behind_input(wrapped)
    return wrapped


def stack(network: "PreTrainedModel") -> tuple[nn.ModuleList, list[nn.Module]]:
    """The layers, and what follows them in the decoder."""
    children = list(network.get_decoder().children())
    at = next(
        n
        for n, child in enumerate(children)
        if isinstance(child, nn.ModuleList) and len(child) == network.config.num_hidden_layers
    )
    return cast(nn.ModuleList, children[at]), children[at + 1 :]


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


def _embedding_names(network: "PreTrainedModel") -> list[str]:
    """The last parts of the names of input and output embeddings."""
    modules = (network.get_input_embeddings(), network.get_output_embeddings())
    names = [next(n for n, m in network.named_modules() if m is module) for module in modules]
    return [str(name).rsplit(".", 1)[-1] for name in names]


def _cut_behind_input(network: "PreTrainedModel") -> None:
    """Let no gradient into the input embeddings; tied rows still get that of the output head."""
    inputs, outputs = network.get_input_embeddings(), network.get_output_embeddings()
    inputs.register_forward_hook(_detach)
    if _weight(inputs) is not _weight(outputs):
        # DDP waits for the gradient of every parameter that requires one.
        inputs.requires_grad_(False)


def _weight(embeddings: nn.Module) -> nn.Parameter:
    """The matrix of an embedding module, also of one that PEFT has wrapped."""
    named = embeddings.named_parameters()
    return next(value for name, value in named if name.rsplit(".", 1)[-1] == "weight")


def _detach(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return output.detach()


def has_adapter(network: nn.Module) -> bool:
    """Whether the trained parameters are a LoRA adapter, which is saved without its base."""
    return isinstance(network, PeftModel) and network.active_peft_config.peft_type == "LORA"


def save_trained(
    network: "PreTrainedModel", folder: Path, state: Mapping[str, Tensor] | None = None
) -> None:
    """Write the trained parameters alone; `state` replaces the network's own values."""
    if has_adapter(network):
        # `save_embedding_layers` would add the whole embedding matrices.
        options: dict[str, Any] = {} if state is None else {"state_dict": dict(state)}
        network.save_pretrained(str(folder), save_embedding_layers=False, **options)
        return
    folder.mkdir(parents=True, exist_ok=True)
    values = dict(network.named_parameters()) if state is None else state
    learnt = [name for name, value in network.named_parameters() if value.requires_grad]
    tensors = {name: values[name].detach().cpu().contiguous() for name in learnt}
    save_file(tensors, folder / TRAINED_FILE)


def load_trained(network: "PreTrainedModel", folder: Path) -> None:
    """Put saved values into a network that was prepared in the same way."""
    if has_adapter(network):
        adapted: Any = network
        values = _with_new_rows(adapted, load_file(folder / ADAPTER_FILE), folder)
        set_peft_model_state_dict(adapted, values, adapter_name=adapted.active_adapter)
        return
    parameters = dict(network.named_parameters())
    for name, value in load_file(folder / TRAINED_FILE).items():
        parameters[name].data.copy_(value)


def _with_new_rows(adapted: Any, saved: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The values of a saved adapter, with the first rows of tokens that it does not know."""
    old = PeftConfig.from_pretrained(str(folder)).trainable_token_indices or {}
    new = adapted.active_peft_config.trainable_token_indices or {}
    current = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    for name in filter(is_token_rows, saved):
        module = next(one for one in new if f".{one}." in name)
        rows = current[name].clone()
        for at, token in enumerate(old[module]):
            rows[new[module].index(token)] = saved[name][at]
        saved[name] = rows
    return saved


def is_token_rows(name: str) -> bool:
    """Whether a tensor of an adapter holds the rows of the control tokens."""
    return name.endswith("trainable_tokens_delta")


def learning_shapes(network: "PreTrainedModel") -> dict[str, tuple[int, ...]]:
    """The shapes that `save_trained` would write."""
    if has_adapter(network):
        values: dict[str, Tensor] = get_peft_model_state_dict(network, save_embedding_layers=False)
    else:
        values = {name: value for name, value in network.named_parameters() if value.requires_grad}
    return {name: tuple(value.shape) for name, value in values.items()}


def saved_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shapes that `save_trained` has written."""
    with safe_open(file, "pt") as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def merged(network: "PreTrainedModel") -> "PreTrainedModel":
    """A plain network with the trained values; the wrapped network is consumed."""
    if not isinstance(network, PeftModel):
        return network
    whole: PreTrainedModel = network.merge_and_unload()
    return whole
