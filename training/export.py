"""Turn a training checkpoint into a OneGen checkpoint that can be shipped: adapter in fp16.

python training/export.py runs/default/checkpoint-100 onegen_model/default_checkpoint
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from onegen_model.checkpoint import ADAPTER_FILE, Base, CheckpointConfig
from onegen_model.template import Template
from onegen_model.weights import default_base_file, file_sha256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--max-passage-tokens", type=int, default=128)
    args = parser.parse_args()
    args.target.mkdir(parents=True, exist_ok=True)
    tensors = load_file(args.source / ADAPTER_FILE)
    half = {name: tensor.to(torch.float16) for name, tensor in tensors.items()}
    save_file(half, args.target / ADAPTER_FILE)
    config = json.loads((args.source / "adapter_config.json").read_text(encoding="utf-8"))
    # The base is named by its digest in onegen.json; a path of this machine means nothing elsewhere.
    config["base_model_name_or_path"] = "SmolLM2-135M-Instruct"
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (args.target / "adapter_config.json").write_text(text, encoding="utf-8")
    base = Base("default", file_sha256(default_base_file()))
    CheckpointConfig(Template(), args.max_passage_tokens, base).write(args.target)


if __name__ == "__main__":
    main()
