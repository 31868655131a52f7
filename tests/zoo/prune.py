"""Zeros as pruning leaves them: units of coupled channels, or blocks of weights."""

import re
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import torch
from torch import Tensor, nn

Style = Literal["structured", "block"]
BLOCKS = ((4, 1), (4, 4))


@dataclass(frozen=True)
class Coupled:
    """Channels that die together: a head, a key/value group, a neuron, a convolution's channel.

    A member names a module or a parameter; ``*`` stands for one part of a dotted name, and the same parts are put into
    every member, so one ``Coupled`` describes all layers. Two suffixes: ``@1`` is the axis of the channels where it is
    not the usual one, ``/3`` says that three such tensors are packed along that axis, as in a query-key-value layer.
    A member with more channels than there are units has that many times more in each: ``units`` heads of 16 channels.

    Attributes:
        out: members whose output channels die, weight rows and bias.
        into: members whose input channels die.
        norms: norms of those channels. Every second layer keeps its norm alive, so that dead channels become
            constants there, which is what a mask on convolution weights alone leaves.
        units: how many there are; None: as many as the first member has output channels.
        together: the patterns do not name layers to take one by one: all that match die at the same indices.
    """

    out: tuple[str, ...]
    into: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    units: int | None = None
    together: bool = False


@dataclass(frozen=True)
class Whole:
    """Whole modules that die, this share of those that ``pattern`` matches: experts, layers."""

    pattern: str


Group = Coupled | Whole


def prune(
    model: nn.Module, fraction: float, style: Style, groups: tuple[Group, ...], seed: int = 0
) -> nn.Module:
    """Put zeros into ``model`` in place: this share of each group's units, or of the blocks of each linear layer.

    Blocks are 4x1 and 4x4 by turns, in linear layers and ungrouped convolutions (there for each place of
    the window). At least one unit of a group stays.
    """
    with torch.no_grad():
        if style == "block":
            _prune_blocks(model, fraction, seed)
        elif fraction:
            for group in groups:
                if isinstance(group, Whole):
                    _prune_whole(model, group, fraction, seed)
                else:
                    _prune_group(model, group, fraction, seed)
    return model


def _prune_group(model: nn.Module, group: Coupled, fraction: float, seed: int) -> None:
    names = [name for name, _ in [*model.named_modules(), *model.named_parameters()]]
    layers = [()] if group.together else _layers(names, group.out[0])
    for number, layer in enumerate(layers):
        out, into, norms = (
            [name for member in members for name in _expand(names, member, layer, group.together)]
            for members in (group.out, group.into, group.norms)
        )
        first, axis = _tensors(model, out[0], "out")[0]
        units = group.units or first.shape[axis]
        dead = _choose(units, fraction, seed + crc32(out[0].encode()))
        alive_norms = not group.together and number % 2 == 1
        for name in [*out, *([] if alive_norms else norms)]:
            _zero(model, name, "out", dead)
        for name in into:
            _zero(model, name, "in", dead)


def _prune_whole(model: nn.Module, group: Whole, fraction: float, seed: int) -> None:
    names = _expand([name for name, _ in model.named_modules()], group.pattern, (), True)
    for name, dead in zip(names, _choose(len(names), fraction, seed).tolist(), strict=True):
        for parameter in model.get_submodule(name).parameters():
            parameter.mul_(0.0 if dead else 1.0)


def _layers(names: list[str], member: str) -> list[tuple[str, ...]]:
    """What ``*`` stands for in each layer."""
    pattern = re.compile(re.escape(_bare(member)).replace(r"\*", r"([^.]+)"))
    found = [match.groups() for match in map(pattern.fullmatch, names) if match]
    if not found:
        raise LookupError(f"{member}: no module or parameter of that name; there are {', '.join(names)}")
    return found


def _expand(names: list[str], member: str, layer: tuple[str, ...], together: bool) -> list[str]:
    expanded = []
    for parts in _layers(names, member) if together else [layer]:
        name = member
        for part in parts[: member.count("*")]:
            name = name.replace("*", part, 1)
        expanded.append(name)
    return expanded


def _bare(member: str) -> str:
    return re.split("[@/]", member)[0]


def _choose(units: int, fraction: float, seed: int) -> Tensor:
    count = min(round(units * fraction), units - 1)
    dead = torch.zeros(units, dtype=torch.bool)
    dead[torch.randperm(units, generator=torch.Generator().manual_seed(seed))[:count]] = True
    return dead


def _zero(model: nn.Module, member: str, side: str, dead: Tensor) -> None:
    packed = int(match[1]) if (match := re.search(r"/(\d+)", member)) else 1
    for tensor, axis in _tensors(model, member, side):
        each, rest = divmod(tensor.shape[axis], len(dead) * packed)
        if rest:
            raise ValueError(f"{member}: {len(dead)} units cannot share {tensor.shape[axis]} channels")
        mask = dead.repeat_interleave(each).repeat(packed)
        tensor.index_fill_(axis, mask.nonzero().flatten(), 0.0)


def _tensors(model: nn.Module, member: str, side: str) -> list[tuple[Tensor, int]]:
    """The tensors that hold a member's channels, each with the axis they lie on."""
    name = _bare(member)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    if name in parameters:
        given = re.search(r"@(\d+)", member)
        return [(parameters[name], int(given[1]) if given else parameters[name].dim() - 1)]
    module = model.get_submodule(name)
    swapped = isinstance(module, nn.ConvTranspose2d | nn.Embedding) or type(module).__name__ == "Conv1D"
    if side == "in":
        return [(module.weight, 0 if swapped else 1)]
    bias = getattr(module, "bias", None)
    return [(module.weight, 1 if swapped else 0), *([(bias, 0)] if bias is not None else [])]


def _prune_blocks(model: nn.Module, fraction: float, seed: int) -> None:
    seen: set[int] = set()
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        transposed = type(module).__name__ == "Conv1D"
        convolution = isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups == 1
        if not (isinstance(module, nn.Linear) or transposed or convolution) or id(weight) in seen:
            continue
        # A convolution is a linear layer for each place of its window, side by side.
        matrix = weight.t() if transposed else weight.movedim(1, -1)
        rows, columns = matrix.shape[0], matrix[0].numel()
        r, c = BLOCKS[len(seen) % 2]
        seen.add(id(weight))
        blocks = (-(-rows // r), -(-columns // c))
        dead = _choose(blocks[0] * blocks[1], fraction, seed + crc32(name.encode())).reshape(blocks)
        mask = dead.repeat_interleave(r, 0)[:rows].repeat_interleave(c, 1)[:, :columns]
        matrix.masked_fill_(mask.reshape(matrix.shape), 0.0)
