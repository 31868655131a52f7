"""Find layers that a GPU would compute faster in its 2:4 format: two zeros in each four neighbours of a row.

Layers of 16-bit numbers that fit exactly are stored so where that is predicted to pay (``choose_formats``). The others
are told of: zeros that training or pruning left one by one, which no block format gains from, may nearly fit.
"""

from dataclasses import replace
from math import prod

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from l0compile.hardware.costs import GpuModel, KernelWorkload
from l0compile.hardware.costs.gpu import TWO_OF_FOUR
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import example_size, shape
from l0compile.ir.program import Program
from l0compile.kernels.cuda.architecture import has_ampere_instructions
from l0compile.rewrite.linear_layers import linear_weight, narrow_weight
from l0compile.rewrite.regions import region_of
from l0compile.runtime.account.predicted import PredictedTime
from l0compile.runtime.account.two_of_four import TwoOfFour

_TYPES = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.int8: "int8"}
_NEARLY = 0.9
"""Share of the groups that have to fit for a layer to be told of."""
_GAIN = 0.95
"""The most that the time with 2:4 may be of the time now: less is not worth another format."""


def layers_in_two_of_four(dense: Program, predicted: PredictedTime, model: GpuModel) -> tuple[TwoOfFour, ...]:
    """The layers for which 2:4 is predicted to be faster than what was chosen, and whose zeros fit it, or nearly.

    Args:
        dense: the optimised program whose weights are dense.
        predicted: what its kernels take in the formats that were chosen.
        model: of the card.
    """
    if not has_ampere_instructions(model.target):
        return ()
    editor, now = Editor(dense), {part.name: part.ms for part in predicted.parts}
    found = [_layer(editor, node, now, model) for node in editor.graph.nodes]
    return tuple(one for one in found if one is not None)


def _layer(editor: Editor, node: fx.Node, now: dict[str, float], model: GpuModel) -> TwoOfFour | None:
    found = linear_weight(editor, node)
    weight, name = found[0] if found else narrow_weight(editor, node), region_of(node)
    precision = None if weight is None else _TYPES.get(weight.dtype)
    if weight is None or precision is None or name not in now or not weight.numel():
        return None
    groups, more = fit(weight)
    if groups < _NEARLY:
        return None
    n, k = map(int, weight.shape)
    tokens = prod(map(example_size, shape(node)[:-1]))
    work = KernelWorkload("linear", (n, k), tokens=tokens, dtype=precision)
    faster = model.predict(replace(work, variant=TWO_OF_FOUR))
    if faster is None or faster.mid > _GAIN * now[name]:
        return None
    return TwoOfFour(name, precision, groups, more, now[name], faster.mid)


def fit(weight: Tensor) -> tuple[float, float]:
    """How a weight [n, k] fits 2:4.

    Returns:
        (share of the groups of four neighbours in a row with at least two zeros, share of the nonzero weights that are
        more than two of their group); what fills the last group of a row is zero.
    """
    nonzero = F.pad(weight != 0, (0, -weight.shape[1] % 4)).reshape(-1, 4).sum(1)
    total = int(nonzero.sum())
    more = int((nonzero - 2).clamp(min=0).sum())
    return float((nonzero <= 2).double().mean()), more / total if total else 0.0
