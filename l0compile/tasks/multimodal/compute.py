"""What a shared transformer computes, in multiply-adds, as the cost of a `Budget` on its heads and neurons."""

from dataclasses import dataclass

from torch import nn

from l0compile.gates import Granularity, Head, Neuron
from l0compile.tasks.multimodal.transformer import SharedTransformer

FEEDS = {
    "layers.*.query": "layers.*.out",
    "layers.*.key": "layers.*.out",
    "layers.*.value": "layers.*.out",
    "layers.*.up": "layers.*.down",
}


@dataclass(frozen=True)
class ComputeGates:
    """Gates on heads and neurons, and what they save.

    gates: for ``attach``. cost: module name -> multiply-adds of one example; gates on modalities and on the classified
    vector cost nothing here, because every layer still reads the features for other tokens. feeds: for `Budget`.
    """

    gates: dict[str, Granularity]
    cost: dict[str, float]
    feeds: dict[str, str]


def compute_gates(model: SharedTransformer, tokens: int) -> ComputeGates:
    """Return gates on every head and neuron, priced by what a closed one saves, attention's own products included.

    Args:
        model: of which layers.
        tokens: in the sequence of one example, [CLS] included.
    """
    cost: dict[str, float] = {"between.*": 0.0, "representation": 0.0}
    square, last = float(model.width**2), len(model.layers) - 1
    for place in range(last + 1):
        asked = 1 if place == last else tokens
        products = float(asked * tokens * model.width)
        cost |= {
            f"layers.{place}.query": asked * square + products,
            f"layers.{place}.key": tokens * square,
            f"layers.{place}.value": tokens * square + products,
            f"layers.{place}.out": asked * square,
            f"layers.{place}.up": 4 * asked * square,
            f"layers.{place}.down": 4 * asked * square,
        }
    gates: dict[str, Granularity] = {"layers.*.out": Head(_heads(model)), "layers.*.down": Neuron()}
    return ComputeGates(gates, cost, dict(FEEDS))


def _heads(model: SharedTransformer) -> int:
    first: nn.Module = model.layers[0]
    heads = first.heads
    assert isinstance(heads, int)
    return heads
