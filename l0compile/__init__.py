"""l0compile makes a trained PyTorch model as much faster as the zeros in it allow, and finds which zeros to have.

The folders are the steps of one flow, in this order; each imports only from those before it:

    ir         a model as data: an ATen graph with facts, its operators and their reference code, conditions, records
    hardware   what a device is, and what kernels take on it
    gates      hard-concrete gates on a model, the budget they are trained under, and their hardening into constants
    attention  sparse attention: patterns, selectors of keys, layers that train; which head of a model gets which
    trainers   gates in the training loops of others
    quantization  a copy of a model that computes with 8 or 16 bits, chosen on calibration data
    frontend   a module, an exported program or a dynamo graph -> ir
    analysis   which channels, heads and blocks of a graph can still matter, and which axes belong together
    rewrite    the graph without the rest, every step exact; the same as an ordinary PyTorch module
    kernels    code for one operator on one device, dense or block-sparse
    lower      the rewritten graph as compiled functions
    runtime    the compiled model, called with torch tensors; on disk; the account of its time
    compiler   the line from module to compiled model, verified; the backend of torch.compile; advice before training
    measurement  latency, with the protocol stored beside it; schedules of kernels, searched on the device
    tasks      models with data, a training loop and a measure of quality
    calibration  whether a classifier's probabilities mean what they say, with intervals; temperature scaling
    studies    budgets and block shapes against latency measured on the device, on one machine or many
    report     what a search found and what became of a model, for people
    cli        all of it from a shell

Nothing heavy is imported before it is used: a name below loads the file it lives in at first access.
"""

import gc
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l0compile import attention as attention
    from l0compile import calibration as calibration
    from l0compile import tasks as tasks
    from l0compile import trainers as trainers
    from l0compile.compiler.advice import Advice as Advice
    from l0compile.compiler.advice import advise as advise
    from l0compile.compiler.compile import compile as compile
    from l0compile.compiler.compile import load as load
    from l0compile.errors import L0CompileError as L0CompileError
    from l0compile.gates import Block as Block
    from l0compile.gates import Budget as Budget
    from l0compile.gates import Feature as Feature
    from l0compile.gates import Head as Head
    from l0compile.gates import Layer as Layer
    from l0compile.gates import Neuron as Neuron
    from l0compile.gates import attach as attach
    from l0compile.gates import harden as harden
    from l0compile.hardware.targets import Target as Target
    from l0compile.hardware.targets import list_targets as list_targets
    from l0compile.hardware.targets import load_target as load_target
    from l0compile.measurement import Measurement as Measurement
    from l0compile.measurement import Protocol as Protocol
    from l0compile.measurement import measure as measure
    from l0compile.quantization import quantize as quantize
    from l0compile.rewrite.twin import compact as compact
    from l0compile.runtime import CompiledModel as CompiledModel
    from l0compile.studies.entry import search as search
    from l0compile.studies.pruning.prices import gate_prices as gate_prices

__version__ = "0.1.0"

_HOME = {
    "L0CompileError": "errors",
    "attach": "gates", "Budget": "gates", "harden": "gates",
    "Feature": "gates", "Neuron": "gates", "Head": "gates", "Block": "gates", "Layer": "gates",
    "Target": "hardware.targets", "load_target": "hardware.targets", "list_targets": "hardware.targets",
    "compact": "rewrite.twin", "CompiledModel": "runtime",
    "compile": "compiler.compile", "load": "runtime",
    "advise": "compiler.advice", "Advice": "compiler.advice",
    "measure": "measurement", "Protocol": "measurement", "Measurement": "measurement",
    "quantize": "quantization",
    "gate_prices": "studies.pruning.prices", "search": "studies.entry",
}  # fmt: skip
"""Public name -> the module that defines it."""

_PUBLIC_MODULES = ("attention", "calibration", "tasks", "trainers")

__all__ = sorted([*_HOME, *_PUBLIC_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PUBLIC_MODULES:
        return _imported(f"l0compile.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'l0compile' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(_imported(f"l0compile.{_HOME[name]}"), name)


def _imported(module: str) -> ModuleType:
    """Import with the collector paused: with a model in memory a collection takes as long as the import."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if collecting:
            gc.enable()


def __dir__() -> list[str]:
    return __all__
