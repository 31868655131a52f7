"""Dense layers on weights that oneDNN has packed for this machine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from l0compile.instructions import Code, Instruction, Slot, slots_of

_LINEAR, _CONVOLUTION = "l0compile.dense_linear.default", "l0compile.dense_convolution.default"
# oneDNN's name of an activation, and its algorithm.
_ATTRIBUTES = {
    "": ("none", ""),
    "relu": ("relu", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "tanh": ("tanh", ""),
    "sigmoid": ("sigmoid", ""),
    "silu": ("swish", ""),
    "relu6": ("hardtanh", ""),
    "hardswish": ("hardswish", ""),
}


@dataclass
class Prepacked:
    """kernels: instruction number -> (function, its arguments) in place of the instruction's own.

    originals: constants that are held packed only -> a function that gives the plain tensor back.
    """

    kernels: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = field(default_factory=dict)
    originals: dict[str, Callable[[], Tensor]] = field(default_factory=dict)


def prepack(code: Code, constants: Mapping[str, Tensor]) -> Prepacked:
    """Pack the weights of all dense layers in ``code`` that have a constant one; nothing where oneDNN is missing."""
    result = Prepacked()
    if not torch.backends.mkldnn.is_available():
        return result
    packed: dict[tuple[Any, ...], Tensor] = {}
    for number, instruction in enumerate(code.instructions):
        if instruction.target not in (_LINEAR, _CONVOLUTION):
            continue
        name = _constant_name(code, instruction.args[1])
        if name is None:
            continue
        pack = _linear if instruction.target == _LINEAR else _convolution
        result.kernels[number] = pack(instruction, name, constants[name], packed)
    for key, weight in packed.items():
        name, shape = str(key[0]), constants[str(key[0])].shape
        if not _read_elsewhere(code, name):
            result.originals[name] = lambda weight=weight, shape=shape: weight.to_dense().reshape(shape)  # type: ignore[misc]
    return result


def _constant_name(code: Code, argument: Any) -> str | None:
    number = argument.number - code.inputs if isinstance(argument, Slot) else -1
    return code.constants[number] if 0 <= number < len(code.constants) else None


def _read_elsewhere(code: Code, name: str) -> bool:
    """Whether anything but the weight of a dense layer reads a constant."""
    slot = code.inputs + code.constants.index(name)
    for instruction in code.instructions:
        rest: Sequence[Any] = instruction.args
        if instruction.target in (_LINEAR, _CONVOLUTION):
            rest = (instruction.args[0], *instruction.args[2:])
        if slot in (*slots_of(rest), *slots_of(instruction.kwargs)):
            return True
    return slot in slots_of(code.outputs)


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
    attribute, algorithm = _ATTRIBUTES[activation]
    return kernel.default, (x, weight, bias, attribute, _bounds(activation), algorithm)


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
    attribute, algorithm = _ATTRIBUTES[activation]
    if residual is not None:
        unary = (attribute, _bounds(activation), algorithm) if activation else (None, (), None)
        args = (x, residual, packed[key], bias, *steps, "add", 1.0, *unary)
        return (_on_two_axes(kernel.binary, 2) if one_axis else kernel.binary), args
    args = (x, packed[key], bias, *steps, attribute, _bounds(activation), algorithm)
    return (_on_two_axes(kernel.default, 1) if one_axis else kernel.default), args


def _bounds(activation: str) -> tuple[float, ...]:
    return (0.0, 6.0) if activation == "relu6" else ()


def _on_two_axes(kernel: Callable[..., Tensor], tensors: int) -> Callable[..., Tensor]:
    def run(*args: Any) -> Tensor:
        images = [argument.unsqueeze(2) for argument in args[:tensors]]
        return kernel(*images, *args[tensors:]).squeeze(2)

    return run
