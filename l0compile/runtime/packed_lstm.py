"""An LSTM on weights that oneDNN has packed for this machine; PyTorch's own operator packs them again at every call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l0compile.ir.instructions import Code, Instruction

TARGET = "aten.lstm.input"
_LSTM_MODE = 2  # oneDNN's number for an LSTM cell, in PyTorch's binding
_LINES = [16, 1]  # time and batch that the packing is chosen for; others are taken as well


@dataclass(frozen=True)
class PackedLstm:
    """``aten.lstm.input`` for inference.

    Attributes:
        layers: for each layer and direction, the packed input weight and recurrent weight, and their two biases.
    """

    layers: tuple[tuple[tuple[Tensor, ...], ...], ...]
    hidden: int
    batch_first: bool

    def __call__(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the LSTM.

        Args:
            x: [time, batch, features], or [batch, time, features].
            h: [layers * directions, batch, hidden].
            c: as ``h``.

        Returns:
            The outputs of the last layer, with axes as in ``x``, and the last ``h`` and ``c``.
        """
        y = x.transpose(0, 1) if self.batch_first else x
        h, c = h.contiguous(), c.contiguous()  # oneDNN reads them as if they were
        hs: list[Tensor] = []
        cs: list[Tensor] = []
        for layer in self.layers:
            y = y.contiguous()
            made: list[Tensor] = []
            for reverse, weights in enumerate(layer):
                state = h[len(hs)], c[len(cs)]
                part, last_h, last_c, _ = torch.ops.aten.mkldnn_rnn_layer(
                    y, *weights, *state, bool(reverse), [], _LSTM_MODE, self.hidden, len(self.layers),
                    True, len(layer) == 2, self.batch_first, False,
                )  # fmt: skip
                made.append(part)
                hs.append(last_h)
                cs.append(last_c)
            y = made[0] if len(made) == 1 else torch.cat(made, -1)
        h, c = torch.stack(hs), torch.stack(cs)
        return (y.transpose(0, 1) if self.batch_first else y), h, c


@dataclass(frozen=True)
class PackedCall:
    """What stands in for an instruction.

    Attributes:
        originals: name of each packed weight -> what gives the plain one back.
    """

    function: PackedLstm
    args: tuple[Any, ...]
    originals: Mapping[str, Callable[[], Tensor]]


def pack_lstm(code: Code, instruction: Instruction, constants: Mapping[str, Tensor]) -> PackedCall | None:
    """Return the call that stands in for ``instruction``.

    None for what oneDNN does not pack: types other than float32, weights that are no constants, projections,
    training.
    """
    x, state, weights, has_biases, count, _, train, both_ways, batch_first = instruction.args
    names = [code.constant(weight) for weight in weights]
    directions, each = (2 if both_ways else 1), (4 if has_biases else 2)
    if train or None in names or len(names) != count * directions * each:
        return None
    tensors = [constants[str(name)] for name in names]
    if any(tensor.dtype != torch.float32 for tensor in tensors):
        return None
    hidden = int(tensors[1].shape[1])
    cells: list[tuple[Tensor, ...]] = []
    originals: dict[str, Callable[[], Tensor]] = {}
    for first in range(0, len(names), each):
        plain = tensors[first : first + 2]
        packed = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
            *(weight.contiguous() for weight in plain), hidden, len(cells) % directions == 1, True, bool(batch_first),
            [*_LINES, int(plain[0].shape[1])],
        )  # fmt: skip
        biases = tensors[first + 2 : first + 4] if has_biases else [torch.zeros(4 * hidden)] * 2
        cells.append((*packed, *biases))
        for name, weight in zip(names[first : first + 2], packed, strict=True):
            originals[str(name)] = _Unpack(weight)
    layers = tuple(tuple(cells[i : i + directions]) for i in range(0, len(cells), directions))
    function = PackedLstm(layers, hidden, bool(batch_first))
    return PackedCall(function, (x, *state), originals)


@dataclass(frozen=True)
class _Unpack:
    weight: Tensor

    def __call__(self) -> Tensor:
        """[4 * hidden, features] from [1, 1, features, 4, hidden]."""
        plain = self.weight.to_dense()[0, 0].permute(1, 2, 0)
        return plain.reshape(-1, plain.shape[2])
