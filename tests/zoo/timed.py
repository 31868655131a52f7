"""A model of the zoo as the benchmark times it: larger, positional inputs, sizes fixed.

``python -m tests.zoo.timed bert "90% block" FOLDER`` compiles one into a folder and prints how as a line of JSON.
"""

import argparse
import json
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import l0compile as l0
from tests.zoo import MODELS
from tests.zoo.check import SETTINGS, pruned

SCALE = 4


class Positional(nn.Module):
    """A model called with tensors only, returning tensors only: what every engine takes."""

    def __init__(self, model: nn.Module, names: list[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        positional = tensors[: len(tensors) - len(self.names)]
        keywords = dict(zip(self.names, tensors[len(positional) :], strict=True))
        leaves = pytree.tree_leaves(self.model(*positional, **keywords))
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))


def make(name: str, setting: str = "dense") -> tuple[nn.Module, tuple[Any, ...]]:
    """The model and its inputs, for ``l0compile.measurement.Workload``."""
    zoo = MODELS[name]
    args, kwargs = zoo.inputs(zoo.timed)
    model = pruned(zoo, next(s for s in SETTINGS if str(s) == setting), SCALE)
    return Positional(model, [*kwargs]).eval(), (*args, *kwargs.values())


def main() -> None:
    """Compile one model at one setting, and say which engine was chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=[*MODELS])
    parser.add_argument("setting", choices=[str(setting) for setting in SETTINGS])
    parser.add_argument("folder")
    options = parser.parse_args()
    model, inputs = make(options.model, options.setting)
    with torch.no_grad():
        compiled = l0.compile(model, inputs)
    compiled.save(options.folder)
    choice = compiled.explain().choice
    print(json.dumps({"engine": choice.engine if choice else "tvm"}), flush=True)


if __name__ == "__main__":
    main()
