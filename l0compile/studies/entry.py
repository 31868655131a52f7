"""``l0compile.search``: a search space with a task of ours, or a model with a training loop of one's own."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.gates import Block
from l0compile.studies.result import SearchResult
from l0compile.studies.run import run_search
from l0compile.studies.space.read import read_space
from l0compile.studies.space.space import (
    Effort,
    GateGroup,
    LatencyBudget,
    Limits,
    QualityFloor,
    Space,
    TrainingPlan,
)
from l0compile.studies.study.progress import Progress, RichProgress
from l0compile.studies.study.study import STUDY
from l0compile.tasks import Team, assist, make_task
from l0compile.tasks.own import Args, OwnTask

Patterns = Mapping[str, Block | Sequence[Block]]


@overload
def search(space: Space | str | Path, out: str | Path, **options: Any) -> SearchResult: ...


@overload
def search(
    model: nn.Module,
    train_step: Callable[[nn.Module], Tensor],
    evaluate: Callable[[nn.Module], float],
    space: Space | Patterns,
    target: str = "native",
    *,
    args: Args,
    out: str | Path,
    **options: Any,
) -> SearchResult: ...


def search(*positional: Any, **named: Any) -> SearchResult:
    """Find the best model within a latency budget on this machine, and leave it in the folder `out`.

    Two forms: ``search(space, out, ...)`` searches a space with one of our tasks, see :func:`search_space`;
    ``search(model, train_step, evaluate, space, target, args=..., budget_ms=..., out=...)`` a model of one's own, see
    :func:`search_model`. Both return what they found, and raise the same errors.

    Raises:
        ConfigError: a malformed space, or a study made with another one. DataError: data that is missing or unreadable,
        or a disk that is full. MissingDependency: a package that the task or the budget's reference needs. GateError: a
        pattern that matches nothing. BuildError: no candidate at all could be built.
    """
    first = positional[0] if positional else named.get("model")
    return (search_model if isinstance(first, nn.Module) else search_space)(*positional, **named)


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
    progress: Progress | None = None,
    team: Team | None = None,
) -> SearchResult:
    """Search a space.

    Args:
        space: a search space, or the path of its TOML file.
        out: folder for ``model/`` (the chosen artifact), ``study.sqlite`` (every trial) and ``result.json``.
        text: folder of .txt, .jsonl or .jsonl.gz files instead of the task's default text.
        target: what to compile for; its code has to run here. ``rpc://HOST:PORT/KEY?target=NAME`` times it on a device
            behind a tracker of TVM's RPC, see ``l0compile.measurement.device``.
        quick: two trials and a few steps, to see that everything works; figures mean nothing then.
        resume: continue the study in `out` (after Ctrl-C or a kill): completed trials and fitted finalists are not paid
            for again, and the winner's training, with the zeros of its plan, goes on from where it was a minute before.
        storage: where the study is kept instead, for workers on other machines: ``postgresql+psycopg://...``; study:
            its name there.
        progress: told of every step; default: lines and a bar on standard error.
        team: of the processes that ``torchrun`` started; this is rank 0, and the others call :func:`assist_search`.
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
    """Take part in the trainings of a search whose rank 0 runs :func:`search_space` with the same space and text."""
    space = space if isinstance(space, Space) else read_space(space)
    assist(make_task(space.task, space.options, None if text is None else Path(text)), team)


@dataclass(frozen=True)
class OwnOptions:
    """A model of one's own has no options."""


def search_model(
    model: nn.Module,
    train_step: Callable[[nn.Module], Tensor],
    evaluate: Callable[[nn.Module], float],
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
    resume: bool = False,
    progress: Progress | None = None,
) -> SearchResult:
    """Search what a model of one's own should keep, with its own training step and score, in plain PyTorch.

    Args:
        model: dense and trained; it is copied, never changed.
        train_step: takes a model and returns its loss on the next batch, a scalar to call ``backward`` on; the
            optimiser is ours. Distillation from ``model`` works best.
        evaluate: takes a model in evaluation mode and returns its quality; higher is better.
        space: module-name pattern -> block shapes to choose from, or a Space, whose task is not used.
        target, out, resume, progress: as of :func:`search_space`.
        args: positional example inputs at the size whose latency counts.
        budget_ms: milliseconds a call may take; or drop: the share of the dense quality that may be lost, as 0.01, for
            the quickest model that is good enough. One of them is needed where ``space`` is no Space.
        artifact_mb: millions of bytes that the saved model may have.
        calibration: tuples of arguments like ``args``, without padding, for the statistics of every layer.
        dynamic_shapes: as of ``compile``. effort, training: how long to search and to train.
    """
    found = space if isinstance(space, Space) else _space(space, budget_ms, drop, artifact_mb)
    if effort is not None:
        found = dataclasses.replace(found, effort=effort)
    if training is not None:
        found = dataclasses.replace(found, training=training)
    task = OwnTask(model, args, train_step, evaluate, calibration, dynamic_shapes)
    with _shown(progress, found) as bar:
        return run_search(found, Path(out), task=task, target=target, resume=resume, progress=bar)


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
        quality=None if drop is None else QualityFloor(drop),
        limits=Limits(artifact_mb),
    )


def _shown(progress: Progress | None, space: Space) -> AbstractContextManager[Progress]:
    """Ours, closed in the end, or the caller's, which the caller closes."""
    return RichProgress(space.effort.seconds) if progress is None else nullcontext(progress)
