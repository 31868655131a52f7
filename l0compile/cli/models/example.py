"""The user's model with its example inputs, whatever form it has on the command line."""

import argparse
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

import l0compile as l0
from l0compile.cli.models import exported, factory, hugging_face
from l0compile.cli.models.kinds import EXPORTED, HUGGING_FACE, kind_of
from l0compile.cli.options import dynamic_shapes
from l0compile.cli.steps import told
from l0compile.errors import ConfigError
from l0compile.runtime import CompiledModel


@dataclass(frozen=True)
class Example:
    """A model in eval mode, and the inputs of a call ``model(*args, **kwargs)``."""

    model: nn.Module | ExportedProgram
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def module(self) -> nn.Module:
        """Return the model in the form that PyTorch calls."""
        return exported.Called(self.model) if isinstance(self.model, ExportedProgram) else self.model


def load_example(name: str, sizes: Mapping[str, int] | None = None, dynamic: Iterable[str] = ()) -> Example:
    """Return a model with inputs of the sizes asked for.

    A size goes to the function's argument of that name, or to the text that is made up for a Hugging Face model
    (``batch`` and ``tokens``). If there is neither, the inputs are repeated or cut along the dimensions of that name.

    Args:
        name: What the command line says.
        sizes: Number by name.
        dynamic: Options such as ``input:0=batch``, which name dimensions.

    Raises:
        ConfigError: The name or a size means nothing, or the model cannot be loaded.
        MissingDependency: The model needs a package that is not installed.
    """
    wanted, kind = dict(sizes or {}), kind_of(name, saved=False)
    if kind == EXPORTED:
        if wanted or dynamic:
            raise ConfigError(
                f"model: {name}: an exported program fixes its sizes; leave --size and --dynamic out"
            )
        found = Example(*exported.load(name))
    elif kind == HUGGING_FACE:
        taken = {key: wanted.pop(key) for key in hugging_face.SIZES if key in wanted}
        found = Example(*hugging_face.load(name, **taken))
    else:
        made, wanted = factory.make(name, wanted)
        found = Example(*made)
    return _resized(found, name, wanted, dynamic) if wanted else found


def compiled(args: argparse.Namespace, example: Example, **options: Any) -> CompiledModel:
    """Compile ``example`` with the options of the command line, and tell the steps."""
    options |= {"target": args.target, "dynamic_shapes": dynamic_shapes(args.dynamic), "engine": args.engine}
    with told():
        return l0.compile(example.model, example.args, example.kwargs, **options)


def measured(name: str, sizes: Mapping[str, int], dynamic: Iterable[str]) -> tuple[Any, ...]:
    """Return (module, args, kwargs) of ``load_example``, in the form that a measuring process asks for."""
    found = load_example(name, sizes, dynamic)
    return found.module(), found.args, found.kwargs


def _resized(example: Example, name: str, sizes: Mapping[str, int], dynamic: Iterable[str]) -> Example:
    dims = dynamic_shapes(dynamic) or {}
    known = {dim for axes in dims.values() for dim in axes.values()}
    if stray := [size for size in sizes if size not in known]:
        raise ConfigError(
            f"model: {name}: nothing in it is called {stray[0]!r}; name a dimension with --dynamic "
            f"INPUT:DIM={stray[0]}, or give the function an argument `{stray[0]}`"
        )
    assert isinstance(example.model, nn.Module)  # an exported program takes no sizes
    bound = inspect.signature(example.model.forward).bind(*example.args, **example.kwargs)
    for given, axes in dims.items():
        tensor = bound.arguments.get(given)
        if not isinstance(tensor, torch.Tensor):
            raise ConfigError(
                f"--dynamic: {given}: expected one of the example tensors, {', '.join(bound.arguments)}"
            )
        for axis, dim in axes.items():
            if dim in sizes:
                places = torch.arange(sizes[dim]) % tensor.shape[axis]
                tensor = tensor.index_select(axis, places)
        bound.arguments[given] = tensor
    return replace(example, args=bound.args, kwargs=bound.kwargs)
