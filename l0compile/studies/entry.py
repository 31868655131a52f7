"""``l0compile.search``: search a space with one of our tasks, or your own model with your own training step."""

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.gates import Block
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.pruning.level import Numbers
from l0compile.studies.result import SearchResult
from l0compile.studies.run import run_search
from l0compile.studies.space.read import read_space
from l0compile.studies.space.space import Effort, GateGroup, Space, TrainingPlan
from l0compile.studies.study.progress import RichProgress, SearchProgress
from l0compile.studies.study.study import STUDY
from l0compile.tasks import Team, assist, make_task
from l0compile.tasks.own import Args, OwnTask

Patterns = Mapping[str, Block | Sequence[Block]]
TrainStep = Callable[[nn.Module], Tensor]
Score = Callable[[nn.Module], float]
_NUMBERS: tuple[Numbers, ...] = typing.get_args(Numbers)


@overload
def search(
    space: Space | str | Path,
    out: str | Path,
    *,
    text: str | Path | None = None,
    target: str = "native",
    quick: bool = False,
    resume: bool = False,
    storage: str | None = None,
    study: str = STUDY,
    progress: SearchProgress | None = None,
    team: Team | None = None,
) -> SearchResult: ...


@overload
def search(
    model: nn.Module,
    train_step: TrainStep,
    evaluate: Score,
    space: Space | Patterns,
    target: str = "native",
    *,
    args: Args,
    out: str | Path,
    budget_ms: float | None = None,
    drop: float | None = None,
    artifact_mb: float | None = None,
    calibration: Sequence[Args] | None = None,
    dynamic_shapes: Any = None,
    effort: Effort | None = None,
    training: TrainingPlan | None = None,
    precision: str | Sequence[str] | None = None,
    resume: bool = False,
    progress: SearchProgress | None = None,
) -> SearchResult: ...


def search(  # type: ignore[misc]  # the first two positions differ in the two forms
    model: nn.Module | Space | str | Path | None = None,
    train_step: TrainStep | str | Path | None = None,
    evaluate: Score | None = None,
    space: Space | Patterns | str | Path | None = None,
    target: str = "native",
    *,
    args: Args | None = None,
    out: str | Path | None = None,
    budget_ms: float | None = None,
    drop: float | None = None,
    artifact_mb: float | None = None,
    calibration: Sequence[Args] | None = None,
    dynamic_shapes: Any = None,
    effort: Effort | None = None,
    training: TrainingPlan | None = None,
    precision: str | Sequence[str] | None = None,
    text: str | Path | None = None,
    quick: bool | None = None,
    resume: bool = False,
    storage: str | None = None,
    study: str | None = None,
    progress: SearchProgress | None = None,
    team: Team | None = None,
) -> SearchResult:
    """Find the best model within a latency budget on this machine, and leave it in the folder ``out``.

    There are two forms: ``search(space, out, ...)`` searches a space with one of our tasks, see :func:`search_space`.
    ``search(model, train_step, evaluate, space, target, args=..., budget_ms=..., out=...)`` searches your own model,
    see :func:`search_model`. Each takes the arguments of its function.

    Raises:
        ConfigError: the space is malformed, or the study was made with another one.
        InfeasibleError: no model can keep a limit of the space.
        DataError: data is missing or unreadable.
        StorageError: the disk is full, or the study can't be read.
        DeviceError: there is no such device.
        MissingDependency: the task or the budget's reference needs a package.
        GateError: a pattern matches nothing.
        BuildError: no candidate could be built.
    """
    of_models = {
        "train_step": train_step, "evaluate": evaluate, "space": space, "args": args, "out": out,
        "budget_ms": budget_ms, "drop": drop, "artifact_mb": artifact_mb, "calibration": calibration,
        "dynamic_shapes": dynamic_shapes, "effort": effort, "training": training,
        "precision": precision,
    }  # fmt: skip
    of_spaces = {"text": text, "quick": quick, "storage": storage, "study": study, "team": team}
    if isinstance(model, nn.Module):
        given = _given(of_models | of_spaces)
        return search_model(model, target=target, resume=resume, progress=progress, **given)
    of_models["space"] = space if model is None else model
    of_models["out"] = out if train_step is None else train_step
    given = _given(of_models | {"train_step": None} | of_spaces)
    return search_space(target=target, resume=resume, progress=progress, **given)


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that the caller gave; Python then refuses those that belong to the other form."""
    return {name: value for name, value in arguments.items() if value is not None}


def search_space(
    space: Space | str | Path,
    out: str | Path,
    *,
    text: str | Path | None = None,
    target: str = "native",
    quick: bool = False,
    resume: bool = False,
    storage: str | None = None,
    study: str = STUDY,
    progress: SearchProgress | None = None,
    team: Team | None = None,
) -> SearchResult:
    """Search a space with the task that it names.

    Args:
        space: a search space, or the path of its TOML file.
        out: folder for ``model/`` (the chosen artifact), ``study.sqlite`` (every trial) and ``result.json``.
        text: folder of .txt, .jsonl or .jsonl.gz files to use instead of the task's own text.
        target: what to compile for; this machine has to be able to run it. ``rpc://HOST:PORT/KEY?target=NAME`` times
            models on a device behind a tracker of TVM's RPC, see ``l0compile.measurement.device``.
        quick: run two trials and a few steps, to see that everything works; the figures mean nothing.
        resume: continue the study in ``out`` after Ctrl-C or a kill. Completed trials and fitted finalists are kept,
            and the winner's training continues from its last checkpoint, at most a minute old.
        storage: URL of a study that workers on other machines share, such as ``postgresql+psycopg://...``.
        study: name of the study there.
        progress: hears of every step; default: lines and a bar on standard error.
        team: the processes that ``torchrun`` started; this one is rank 0, the others call :func:`assist_search`.

    Returns:
        What the search found.

    Raises:
        L0CompileError: as in :func:`search`.
    """
    space = space if isinstance(space, Space) else read_space(space)
    folder = None if text is None else Path(text)
    with _shown(progress, space) as bar:
        return run_search(
            space,
            Path(out),
            text=folder,
            target=target,
            quick=quick,
            resume=resume,
            storage=storage,
            study=study,
            progress=bar,
            team=team,
        )


def assist_search(space: Space | str | Path, team: Team, *, text: str | Path | None = None) -> None:
    """Help with the trainings of a search whose rank 0 runs :func:`search_space`.

    Args:
        space: the same space as there.
        team: the processes that ``torchrun`` started.
        text: the same folder as there.
    """
    space = space if isinstance(space, Space) else read_space(space)
    assist(make_task(space.task, space.options, None if text is None else Path(text)), team)


@dataclass(frozen=True)
class OwnOptions:
    """The task options of your own model: there are none."""


def search_model(
    model: nn.Module,
    train_step: TrainStep,
    evaluate: Score,
    space: Space | Patterns,
    target: str = "native",
    *,
    args: Args,
    out: str | Path,
    budget_ms: float | None = None,
    drop: float | None = None,
    artifact_mb: float | None = None,
    calibration: Sequence[Args] | None = None,
    dynamic_shapes: Any = None,
    effort: Effort | None = None,
    training: TrainingPlan | None = None,
    precision: str | Sequence[str] | None = None,
    resume: bool = False,
    progress: SearchProgress | None = None,
) -> SearchResult:
    """Search your own model with your own training step and score, in plain PyTorch.

    Args:
        model: dense and trained; it is copied, never changed.
        train_step: takes a model and returns its loss on the next batch, a scalar to call ``backward`` on; the
            optimiser is ours. Distillation from ``model`` works best.
        evaluate: takes a model in evaluation mode and returns its quality; higher is better.
        space: module-name pattern -> block shapes to choose from, or a Space, whose task is not used.
        target: as in :func:`search_space`.
        args: positional example inputs, at the size whose latency counts.
        out: as in :func:`search_space`.
        budget_ms: the milliseconds that a call may take.
        drop: instead, the share of the dense quality that may be lost, such as 0.01, for the fastest possible model.
        artifact_mb: the most that the saved model may have, in millions of bytes.
        calibration: tuples of arguments like ``args``, without padding, for the statistics of every layer.
        dynamic_shapes: as in ``compile``.
        effort: how long to search.
        training: how to train.
        precision: one or several of "float32", "bfloat16" and "int8", to choose from for each layer; blocks
            have whole words for columns then: four numbers of int8, two of bfloat16. Default: that of a ``Space``.
        resume: as in :func:`search_space`.
        progress: as in :func:`search_space`.

    Returns:
        What the search found.

    Raises:
        ConfigError: not exactly one of ``budget_ms`` and ``drop`` is given with patterns, or no such precision.
        L0CompileError: as in :func:`search`.
    """
    found = space if isinstance(space, Space) else _space(space, budget_ms, drop, artifact_mb)
    if effort is not None:
        found = dataclasses.replace(found, effort=effort)
    if training is not None:
        found = dataclasses.replace(found, training=training)
    if precision is not None:
        found = dataclasses.replace(found, precision=_precisions(precision))
    task = OwnTask(model, args, train_step, evaluate, calibration, dynamic_shapes)
    with _shown(progress, found) as bar:
        return run_search(found, Path(out), task=task, target=target, resume=resume, progress=bar)


def _precisions(given: str | Sequence[str]) -> tuple[Numbers, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names or len(set(names)) < len(names) or not set(names) <= set(_NUMBERS):
        raise ConfigError(
            f"search: precision: expected one or several of {', '.join(_NUMBERS)}, each once, got {given!r}"
        )
    return tuple(name for name in _NUMBERS if name in names)


def _space(
    patterns: Patterns, budget_ms: float | None, drop: float | None, artifact_mb: float | None
) -> Space:
    if (budget_ms is None) == (drop is None):
        raise ConfigError(f"search: expected one of budget_ms and drop, got {budget_ms!r} and {drop!r}")
    if budget_ms is not None and not budget_ms > 0:
        raise ConfigError(f"search: budget_ms: expected milliseconds above 0, got {budget_ms!r}")
    if drop is not None and not 0 < drop <= 1:
        raise ConfigError(f"search: drop: expected a share above 0, up to 1, got {drop!r}")
    if artifact_mb is not None and not artifact_mb > 0:
        raise ConfigError(f"search: artifact_mb: expected megabytes above 0, got {artifact_mb!r}")
    groups = []
    for pattern, blocks in patterns.items():
        given = (blocks,) if isinstance(blocks, Block) else tuple(blocks)
        if not given or not all(isinstance(block, Block) for block in given):
            raise ConfigError(
                f"search: space: {pattern!r}: expected Block(rows, columns) or several, got {blocks!r}"
            )
        shapes = tuple((block.rows, block.cols) for block in given)
        groups.append(GateGroup(pattern, "block", (pattern,), (0.0, 1.0), shapes))
    if not groups:
        raise ConfigError("search: space: expected a pattern of modules with block shapes, got none")
    return Space(
        "model",
        "own",
        OwnOptions(),
        tuple(groups),
        LatencyBudget(None, budget_ms),
        quality=None if drop is None else QualityTarget(drop),
        limits={} if artifact_mb is None else {"artifact_mb": artifact_mb},
    )


def _shown(progress: SearchProgress | None, space: Space) -> AbstractContextManager[SearchProgress]:
    """Return a bar of ours, which is closed in the end, or the caller's, which the caller closes."""
    return RichProgress(space.effort.seconds) if progress is None else nullcontext(progress)
