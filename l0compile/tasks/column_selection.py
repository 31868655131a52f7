"""Which columns of a table a model needs: gates on columns, trained down to a number of them, over several seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from l0compile.errors import ConfigError
from l0compile.gates import Feature, Gate
from l0compile.tasks.classification import Classification
from l0compile.tasks.gated_training import train_gated


class TableTask(Protocol):
    """A `Classification` of tables. columns: their names, in the order of the gates. column_vectors: the module whose
    output has one vector for each column, [B, width, columns]."""

    columns: tuple[str, ...]
    column_vectors: str


@dataclass(frozen=True)
class ColumnSelection:
    """Which columns stayed.

    columns: names. values: for each seed, the gate of each column; 0 where it is closed. qualities: of each seed's
    model on held-out data. dense: the same without gates.
    """

    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    qualities: tuple[float, ...]
    dense: tuple[float, ...]

    @property
    def share(self) -> tuple[float, ...]:
        """The share of seeds that keep each column, in [0, 1]."""
        return tuple(sum(value != 0.0 for value in of) / len(of) for of in zip(*self.values, strict=True))

    @property
    def stability(self) -> float | None:
        """How much the seeds agree: 1 for the same columns, about 0 for chance; None if it has no meaning.

        It is ``1 - mean_f(m / (m - 1) p_f (1 - p_f)) / (k / d (1 - k / d))`` with m seeds, d columns, k kept on
        average and p the `share` (Nogueira, Sechidis and Brown, JMLR 18, 2018, definition 4). It has no meaning with
        one seed, or where all or none of the columns stay.
        """
        seeds, columns = len(self.values), len(self.columns)
        kept = sum(self.share) / columns
        if seeds < 2 or not 0.0 < kept < 1.0:
            return None
        variance = sum(p * (1.0 - p) for p in self.share) * seeds / (seeds - 1) / columns
        return 1.0 - variance / (kept * (1.0 - kept))

    @property
    def overlap(self) -> float | None:
        """The mean, over pairs of seeds, of what both keep over what either keeps, in [0, 1]; None with one seed."""
        sets = [{place for place, value in enumerate(of) if value != 0.0} for of in self.values]
        found = [len(one & other) / len(one | other) for one, other in combinations(sets, 2) if one | other]
        return sum(found) / len(found) if found else None


def select_columns(
    task: Classification, keep: int, *, seeds: int = 5, told: Callable[[str], None] = lambda _: None
) -> ColumnSelection:
    """Train a model on ``keep`` columns of its own choice, for each of several seeds.

    A model is trained with all columns first; then gates on the columns close down to ``keep``, and the weights adapt.
    A closed column is not read by the compiled model.

    Args:
        task: of tables; it has what `TableTask` says.
        keep: how many columns may stay.
        seeds: how many models.
        told: hears of each model.

    Raises:
        ConfigError: the task is none of tables, or a number is out of range.
    """
    columns, module = getattr(task, "columns", None), getattr(task, "column_vectors", None)
    if columns is None or module is None:
        raise ConfigError(
            f'select_columns: expected a task with the attributes columns and column_vectors, as "adult" has, got '
            f"{type(task).__name__}"
        )
    if not 1 <= keep <= len(columns) or seeds < 1:
        raise ConfigError(
            f"select_columns: expected to keep 1 to {len(columns)} columns with 1 seed or more, got keep={keep}, "
            f"seeds={seeds}"
        )
    values, qualities, dense = [], [], []
    for seed in range(seeds):
        model = task.train_dense(seed)
        dense.append(task.quality(model, "held_out"))
        train_gated(task, model, {module: Feature(len(columns))}, keep / len(columns), task.gate_recipe(seed))
        gate = model.get_submodule(f"{module}.l0_feature")
        assert isinstance(gate, Gate)
        values.append(tuple(gate.z.tolist()))
        qualities.append(task.quality(model, "held_out"))
        kept = [name for name, value in zip(columns, values[-1], strict=True) if value]
        told(
            f"seed {seed}: {task.quality_name} {qualities[-1]:.4f}, of all columns {dense[-1]:.4f}: {', '.join(kept)}"
        )
    return ColumnSelection(tuple(columns), tuple(values), tuple(qualities), tuple(dense))
