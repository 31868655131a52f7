"""Run dense layers and LSTMs on weights that oneDNN has packed for this machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from l0compile.ir.instructions import Code, Instruction, slots_of
from l0compile.ir.ops.dense import AFTER_SUM
from l0compile.runtime.packed_lstm import TARGET as LSTM
from l0compile.runtime.packed_lstm import pack_lstm

_LINEAR, _CONVOLUTION = "l0compile.dense_linear.default", "l0compile.dense_convolution.default"
# oneDNN's name of an activation, its numbers, and its algorithm. What is not here runs unpacked.
_ATTRIBUTES: dict[str, tuple[str, tuple[float, ...], str]] = {
    "": ("none", (), ""),
    "relu": ("relu", (), ""),
    "gelu": ("gelu", (), "none"),
    "gelu_tanh": ("gelu", (), "tanh"),
    "tanh": ("tanh", (), ""),
    "sigmoid": ("sigmoid", (), ""),
    "silu": ("swish", (), ""),
    "relu6": ("hardtanh", (0.0, 6.0), ""),
    "hardswish": ("hardswish", (), ""),
}


@dataclass
class Prepacked:
    """What stands in for instructions.

    Attributes:
        kernels: instruction number -> (function, its arguments), in place of the instruction's own.
        originals: constants that are held packed only -> a function that gives the plain tensor back.
    """

    kernels: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = field(default_factory=dict)
    originals: dict[str, Callable[[], Tensor]] = field(default_factory=dict)


def prepack(code: Code, constants: Mapping[str, Tensor]) -> Prepacked:
    """Pack the constant weights of all dense layers and LSTMs in ``code``; none if oneDNN is missing."""
    result = Prepacked()
    if not torch.backends.mkldnn.is_available():
        return result
    packed: dict[tuple[Any, ...], Tensor] = {}
    for number, instruction in enumerate(code.instructions):
        if instruction.target == LSTM:
            lstm = pack_lstm(code, instruction, constants)
            if lstm is not None:
                result.kernels[number] = lstm.function, lstm.args
                result.originals |= lstm.originals
        name = code.constant(instruction.args[1]) if instruction.target in (_LINEAR, _CONVOLUTION) else None
        if name is not None and _knows(instruction):
            pack = _linear if instruction.target == _LINEAR else _convolution
            result.kernels[number] = pack(instruction, name, constants[name], packed)
    for key, weight in packed.items():
        name, shape = str(key[0]), constants[str(key[0])].shape
        result.originals[name] = lambda weight=weight, shape=shape: weight.to_dense().reshape(shape)  # type: ignore[misc]
    read = _read(code, result.kernels)
    result.originals = {name: unpack for name, unpack in result.originals.items() if name not in read}
    return result


def _knows(instruction: Instruction) -> bool:
    """Return whether oneDNN has the activation of a dense layer, after a sum if there is one."""
    residual, activation = instruction.args[3], instruction.args[-1]
    if residual is None:
        return activation in _ATTRIBUTES
    return activation in (("",) if instruction.target == _LINEAR else AFTER_SUM)


def _read(code: Code, kernels: Mapping[int, tuple[Any, tuple[Any, ...]]]) -> set[str]:
    """Return the constants that are still read when ``kernels`` stand in for their instructions."""
    slots = set(slots_of(code.outputs))
    for number, instruction in enumerate(code.instructions):
        _, args = kernels.get(number, (None, instruction.args))
        slots |= {*slots_of(args), *slots_of(instruction.kwargs)}
    return {name for number, name in enumerate(code.constants, code.inputs) if number in slots}


def _linear(
    instruction: Instruction, name: str, weight: Tensor, packed: dict[tuple[Any, ...], Tensor]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    x, _, bias, residual, rows, activation = instruction.args
    if (name,) not in packed:
        packed[name,] = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    weight = packed[name,]
    kernel = torch.ops.mkldnn._linear_pointwise
    if residual is not None:
        return kernel.binary, (x, residual, weight, bias, "add")
    return kernel.default, (x, weight, bias, *_ATTRIBUTES[activation])


def _convolution(
    instruction: Instruction, name: str, weight: Tensor, packed: dict[tuple[Any, ...], Tensor]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    x, _, bias, residual, stride, padding, dilation, groups, example, activation = instruction.args
    one_axis = weight.ndim == 3
    if one_axis:  # a convolution over one axis is one over two, the first of size 1
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
        example = (*example[:2], 1, example[2])
    key = (name, stride, padding, dilation, groups)
    if key not in packed:
        plain = (weight.unsqueeze(2) if one_axis else weight).contiguous()
        packed[key] = torch.ops.mkldnn._reorder_convolution_weight(
            plain, padding, stride, dilation, groups, example
        )
    kernel, steps = torch.ops.mkldnn._convolution_pointwise, (padding, stride, dilation, groups)
    if residual is not None:
        unary = _ATTRIBUTES[activation] if activation else (None, (), None)
        args = (x, residual, packed[key], bias, *steps, "add", 1.0, *unary)
        return (_on_two_axes(kernel.binary, 2) if one_axis else _channels_last(kernel.binary._op, 2)), args
    args = (x, packed[key], bias, *steps, *_ATTRIBUTES[activation])
    return (_on_two_axes(kernel.default, 1) if one_axis else _channels_last(kernel.default._op, 1)), args


def _channels_last(kernel: Callable[..., Tensor], tensors: int) -> Callable[..., Tensor]:
    """Return ``kernel`` on images whose channels lie side by side, like those of its result.

    oneDNN would reorder other images at each call, both ways.
    """

    def run(*args: Any) -> Tensor:
        images = [image.contiguous(memory_format=torch.channels_last) for image in args[:tensors]]
        return kernel(*images, *args[tensors:])

    return run


def _on_two_axes(kernel: Callable[..., Tensor], tensors: int) -> Callable[..., Tensor]:
    def run(*args: Any) -> Tensor:
        images = [argument.unsqueeze(2) for argument in args[:tensors]]
        return kernel(*images, *args[tensors:]).squeeze(2)

    return run
