"""l0compile makes a trained PyTorch model as much faster as the zeros in it allow, and finds which zeros to have.

The folders are the steps of one flow, in this order; each imports only from those before it:

    process    what belongs to the whole process: PyTorch's threads, and whether denormals are numbers
    statistics intervals of medians and ratios
    records    what a compiled model remembers about its making: passes, and the fate of each region
    conditions what must hold between the sizes of a call, as data
    structure  how arguments and results nest, with what is no tensor in them
    tensors    what a tensor carries besides its memory: resolved where it enters, or refused by name
    instructions  code for PyTorch, as data
    functions  the user's own code, found by the name of a module or file and of a function in it
    account    where the time of a compiled model goes, layer by layer, and what bounds its speed
    targets    what a device is: vector width, caches, cores, legal block shapes; read from TOML
    costs      what kernels take on a device: measured, remembered, and predicted
    ops        the custom operators that a graph may hold, each with the PyTorch code that defines it
    gates      hard-concrete gates on a model, the budget they are trained under, and their hardening into constants
    trainers   gates in the training loops of others
    capture    the gated module, exported to a graph of ATen operators
    liveness   which channels, heads and blocks of that graph can still matter
    rewrite    the graph without the rest, every step exact
    twin       the rewritten graph as an ordinary PyTorch module, for training on and for other engines
    kernels    code for one operator on one device, dense or block-sparse
    schedule   which kernel variant each region of the graph gets
    lower      the rewritten graph as one compiled function
    artifact   the compiled model on disk
    runtime    the compiled model, called with torch tensors
    assembly   built stages put together, and the account of them
    verification  compiled answers against the model's own, and where the two part ways
    api        the line from module to compiled model in one call
    advice     before training: what could be gated, and what it would buy
    dynamo     the same as a backend of torch.compile
    measure    latency, with the protocol stored beside it
    tune       schedules of kernels, searched on the device
    result     what a search found, as data
    tasks      models with data, a training loop and a measure of quality
    oneshot    pruning without training: what each layer may lose, and the best plan for a time
    workers    many machines in one study
    search     budgets and block shapes against latency measured on the device
    report     what a search found and what became of a model, for people
    cli        all of it from a shell

Nothing heavy is imported before it is used: a name below loads the folder it lives in at first access.
"""

import importlib
import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l0compile.advice import Advice as Advice
    from l0compile.advice import advise as advise
    from l0compile.api import compile as compile
    from l0compile.api import load as load
    from l0compile.errors import L0CompileError as L0CompileError
    from l0compile.gates import Block as Block
    from l0compile.gates import Budget as Budget
    from l0compile.gates import Feature as Feature
    from l0compile.gates import Head as Head
    from l0compile.gates import Layer as Layer
    from l0compile.gates import Neuron as Neuron
    from l0compile.gates import attach as attach
    from l0compile.gates import harden as harden
    from l0compile.measure import Measurement as Measurement
    from l0compile.measure import Protocol as Protocol
    from l0compile.measure import measure as measure
    from l0compile.oneshot.prices import gate_prices as gate_prices
    from l0compile.runtime import CompiledModel as CompiledModel
    from l0compile.search import search as search
    from l0compile.targets import Target as Target
    from l0compile.targets import list_targets as list_targets
    from l0compile.targets import load_target as load_target
    from l0compile.twin import compact as compact

__version__ = "0.1.0"

_HOME = {
    "advise": "advice", "Advice": "advice",
    "attach": "gates", "Budget": "gates", "harden": "gates",
    "Feature": "gates", "Neuron": "gates", "Head": "gates", "Block": "gates", "Layer": "gates",
    "compile": "api", "load": "api", "compact": "twin", "CompiledModel": "runtime",
    "Target": "targets", "load_target": "targets", "list_targets": "targets",
    "gate_prices": "oneshot.prices", "measure": "measure", "Protocol": "measure", "Measurement": "measure",
    "search": "search", "L0CompileError": "errors",
}  # fmt: skip

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'l0compile' has no attribute {name!r}; it has {', '.join(__all__)}")
    home = importlib.import_module(f"l0compile.{_HOME[name]}")
    return home if name == _HOME[name] else getattr(home, name)


def __dir__() -> list[str]:
    return __all__


class _CallableFolder(ModuleType):
    # A folder that is also the public function of the same name, and tells of it to ``help`` and ``inspect``. (A
    # docstring here would be what `__doc__` below is for.)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    # A property of the class: while the folder loads, its function is not there yet.
    @property
    def __wrapped__(self) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        function = self.__wrapped__
        name = function.__name__
        return f"{inspect.getdoc(function)}\n\n    l0compile.{name}{inspect.signature(function)}"


class _Package(ModuleType):
    # `measure` and `search` name a folder and a function. Importing a folder binds it here, over whatever was bound
    # before, so which of the two a user got would depend on what ran earlier; a folder that can be called is both.
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == name:
            value.__class__ = _CallableFolder
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
