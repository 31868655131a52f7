"""Prune a model with Torch-Pruning, in an environment that has it, and save the result.

    python torch_pruning_run.py resnet50|bert RATIO FOLDER

``benchmarks/compaction.py`` runs this with the interpreter that it is given.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch_pruning
from safetensors.torch import save_file
from torch import nn

from harness.structured import full


def main() -> None:
    """Prune by magnitude, layer by layer, and save the parameters (and the numbers of heads)."""
    name, ratio, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    model, args = full(name)
    settings: dict[str, Any] = {"pruning_ratio": ratio, "global_pruning": False}
    attentions = {n: m for n, m in model.named_modules() if hasattr(m, "num_attention_heads")}
    if name == "resnet50":
        settings["ignored_layers"] = [model.fc]
    else:
        settings |= _heads_and_neurons(model, attentions, ratio)
    importance = torch_pruning.importance.MagnitudeImportance(p=2)
    pruner = torch_pruning.pruner.MetaPruner(model, args[0], importance=importance, **settings)
    pruner.step()
    heads = {n: m.query.out_features // m.attention_head_size for n, m in attentions.items()}
    (folder / "heads.json").write_text(json.dumps(heads), encoding="utf-8")
    state = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    save_file(state, folder / "pruned.safetensors")


def _heads_and_neurons(model: nn.Module, attentions: dict[str, Any], ratio: float) -> dict[str, Any]:
    """Prune whole heads and feed-forward neurons at the given ratio, but not the hidden width."""
    hidden = [m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.endswith("output.dense")]
    norms = [m for m in model.modules() if isinstance(m, (nn.Embedding, nn.LayerNorm))]
    heads = {p: m.num_attention_heads for m in attentions.values() for p in (m.query, m.key, m.value)}
    return {
        "ignored_layers": [*hidden, *norms],
        "num_heads": heads,
        "prune_num_heads": True,
        "prune_head_dims": False,
        "head_pruning_ratio": ratio,
    }


if __name__ == "__main__":
    main()
