"""What a search needs to know about a model.

The protocol that every task implements, and the registry of tasks by name.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.functions import call_function

Part = Literal["validation", "held_out"]


class Task(Protocol):
    """A dense model with data, a distillation loss and a measure of quality; `batch` is the task's own type.

    A class that implements it takes a frozen options dataclass (keyword `options`) and `text` (folder or None).
    """

    @property
    def quality_name(self) -> str:
        """What `quality` is, in a few words for tables; higher is better."""

    @property
    def source(self) -> str:
        """Where the data is from, in words."""

    def dense(self) -> nn.Module:
        """A new copy of the pretrained dense model, in evaluation mode."""

    def example(self) -> tuple[Tensor, ...]:
        """Positional inputs at the size whose latency counts."""

    def workload(self) -> tuple[str, dict[str, Any]] | None:
        """("package.module:function", JSON keyword arguments) making (dense model, example) in another process.

        None where no other process can make it.
        """

    def dynamic_shapes(self) -> Any:
        """The compile option: sizes that the compiled model is to accept at run time.

        None for those of the example only.
        """

    def calibration(self) -> Iterator[Any]:
        """Batches without padding, for activation statistics; the same ones on every call."""

    def batches(self, size: int, seed: int) -> Iterator[Any]:
        """One shuffled pass over the training data in batches of about `size` items."""

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """The model's output [items, width] for a batch, with gradient where enabled."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Scalar distance of `model` from the dense model on a batch, differentiable."""

    def quality(self, model: Callable[..., Tensor], part: Part) -> float:
        """How close `model`, called as the dense model is, comes to it on data that training never saw."""


Factory = Callable[..., Task]
_TASKS: dict[str, tuple[type[Any], Factory]] = {}
_F = TypeVar("_F", bound=Factory)


def register_task(name: str, options: type[Any]) -> Callable[[_F], _F]:
    """Class decorator: make a task known to search spaces by `name`.

    `options` is its frozen options dataclass.
    """

    def register(factory: _F) -> _F:
        if name in _TASKS and _TASKS[name][1] is not factory:
            raise ConfigError(f"task: {name!r} is registered twice; choose another name")
        _TASKS[name] = (options, factory)
        return factory

    return register


@dataclass(frozen=True)
class Arguments:
    """Options of a task that a function of the user's makes: its keyword arguments, JSON values."""

    values: Mapping[str, Any]


def list_tasks() -> tuple[str, ...]:
    """Names that a search space may use."""
    return tuple(sorted(_TASKS))


def task_options(name: str, values: Mapping[str, Any], where: str = "task") -> Any:
    """The checked options of task `name`. Raises ConfigError naming the key, what was expected and what came."""
    if ":" in name:
        return _arguments(values, where)
    if name not in _TASKS:
        raise ConfigError(f"{where}.name: expected one of {', '.join(list_tasks())}, got {name!r}")
    kind = _TASKS[name][0]
    hints = typing.get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(
                f"{where}.{key}: unknown key; task {name!r} has {', '.join(sorted(fields)) or 'no options'}"
            )
        wanted = typing.get_args(hints[key]) if isinstance(hints[key], types.UnionType) else (hints[key],)
        allowed = wanted + ((int,) if float in wanted else ())
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise ConfigError(
                f"{where}.{key}: expected {' or '.join(kind.__name__ for kind in wanted)}, got {value!r}"
            )
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from error


def make_task(name: str, options: Any, text: Path | None = None) -> Task:
    """The task `name` with its data loaded; `options` from `task_options`.

    A name with a colon is that of a function, ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``, which makes the task.
    `text` overrides where text comes from. Raises ConfigError for such a function that is not there, raises, or makes
    no task; and for `text` given to one.
    """
    if ":" not in name:
        return _TASKS[name][1](options=options, text=text)
    if text is not None:
        raise ConfigError(f"task: {name} brings its own data; leave --text out")
    made: Task = call_function(name, "task", **options.values)
    missing = [part for part in _PARTS if not hasattr(made, part)]
    if missing:
        raise ConfigError(
            f"task: {name}: expected a l0compile.tasks.OwnTask or another Task, got {type(made).__name__} without "
            f"{', '.join(missing)}"
        )
    return made


_PARTS = tuple(part for part in vars(Task) if not part.startswith("_"))


def _arguments(values: Mapping[str, Any], where: str) -> Arguments:
    try:
        return Arguments(json.loads(json.dumps(values)))
    except TypeError as error:
        raise ConfigError(f"{where}: expected texts, numbers, lists and tables, got {error}") from error
