"""Tasks by name: registered ones, and those that a function of the user makes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.frontend.user_functions import call_function
from l0compile.ir.codec import decode
from l0compile.tasks.own import OwnTask
from l0compile.tasks.task import Task

Factory = Callable[..., Task]
_TASKS: dict[str, tuple[type[Any], Factory]] = {}
_F = TypeVar("_F", bound=Factory)


def register_task(name: str, options: type[Any]) -> Callable[[_F], _F]:
    """Decorate a class so that search spaces know it as a task.

    Args:
        name: of the task.
        options: its frozen options dataclass.

    Raises:
        ConfigError: another task has this name.
    """

    def register(factory: _F) -> _F:
        if name in _TASKS and _TASKS[name][1] is not factory:
            raise ConfigError(f"task: {name!r} is registered twice; choose another name")
        _TASKS[name] = (options, factory)
        return factory

    return register


@dataclass(frozen=True)
class Arguments:
    """The options of a task that a function of the user makes: the function's keyword arguments, as JSON values."""

    values: Mapping[str, Any]


def list_tasks() -> tuple[str, ...]:
    """Return the names that a search space may use."""
    return tuple(sorted(_TASKS))


def task_options(name: str, values: Mapping[str, Any], where: str = "task") -> Any:
    """Check the options of a task.

    Args:
        name: of the task, or FILE.py:FUNCTION.
        values: the options, as in the TOML file.
        where: what error messages call the table.

    Returns:
        The task's options dataclass, or `Arguments`.

    Raises:
        ConfigError: the name is unknown, or a key or a value is wrong.
    """
    if ":" in name:
        return _arguments(values, where)
    if name not in _TASKS:
        raise ConfigError(f"{where}.name: expected one of {', '.join(list_tasks())}, got {name!r}")
    file, _, path = where.rpartition(": ")
    return decode(values, _TASKS[name][0], file, ConfigError, path=path)


def make_task(name: str, options: Any, text: Path | None = None) -> Task:
    """Make a task and load its data.

    Args:
        name: of the task; or ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``, a function that makes one.
        options: from `task_options`.
        text: folder of text to use instead of the task's own.

    Raises:
        ConfigError: the function does not exist, raises, or makes no task; or ``text`` is given to it.
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
    if isinstance(made, OwnTask):
        made.maker = (f"{__name__}:dense_and_example", {"name": name, "arguments": dict(options.values)})
    return made


def dense_and_example(name: str, arguments: Mapping[str, Any]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return, in another process, the dense model and the example of the task that the function ``name`` makes."""
    task = make_task(name, Arguments(arguments))
    return task.dense(), task.example()


_PARTS = tuple(part for part in vars(Task) if not part.startswith("_"))


def _arguments(values: Mapping[str, Any], where: str) -> Arguments:
    try:
        return Arguments(json.loads(json.dumps(values)))
    except TypeError as error:
        raise ConfigError(f"{where}: expected texts, numbers, lists and tables, got {error}") from error
