"""The names that a compacted model's tensors get: those of the model they come from."""

import re
from collections.abc import Container, Iterable, Mapping

import torch

_PARAMETRISED = re.compile(r"(?:(.*)\.)?parametrizations\.([^.]+)\.original\d*")


def original_names(constants: Iterable[str], model: Iterable[str]) -> dict[str, str]:
    """Constant -> a name for it; each name once, and none a prefix of another.

    A constant that a pass derived from the tensor ``up.weight`` is called ``up.weight_1`` or the like, and gets the
    name ``up.weight``. So does ``up.weight_orig`` of torch.nn.utils.prune and
    ``up.parametrizations.weight.original0``: they are gone, and what they made is a plain tensor.
    """
    known = set(model)
    names: dict[str, str] = {}
    # What kept its name first, so that a copy of it cannot take that away.
    for constant in sorted(constants, key=lambda name: name not in known):
        names[constant] = _free(_name(constant, known), set(names.values()))
    return names


def tied(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[str]]:
    """Name -> the other names of the same memory, for tensors that have several."""
    groups: dict[tuple[int, tuple[int, ...], torch.dtype], list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault((tensor.data_ptr(), tuple(tensor.shape), tensor.dtype), []).append(name)
    several = [group for group in groups.values() if len(group) > 1]
    return {name: [other for other in group if other != name] for group in several for name in group}


def source_of(constant: str, known: Container[str]) -> str:
    """The tensor of the model, by name, that a constant was derived from; ``constant`` itself when none is known.

    The bias that a layer without one was given comes from its weight, and a masked weight from the weight.
    """
    if constant in known:
        return constant
    stem = constant
    while stem not in known and re.search(r"_\d+$", stem):
        stem = stem.rpartition("_")[0]
    masked = stem.removesuffix("_mask")
    for derived in (f"{masked}_orig", masked, stem, stem.removesuffix("_bias")):
        if derived in known:
            return derived
    return constant


def _name(constant: str, known: Container[str]) -> str:
    source = source_of(constant, known)
    parametrised = _PARAMETRISED.fullmatch(source)
    name = ".".join(filter(None, parametrised.groups())) if parametrised else source
    name = name.removesuffix("_orig") if source.endswith("_orig") and f"{source[:-5]}_mask" in known else name
    added_bias = source != constant and re.search(r"weight(_orig|_mask)?_bias(_\d+)*$", constant)
    return name.removesuffix("weight") + "bias" if added_bias else name


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 0
    while any(_clash(candidate, other) for other in taken):
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _clash(left: str, right: str) -> bool:
    return left == right or left.startswith(right + ".") or right.startswith(left + ".")
