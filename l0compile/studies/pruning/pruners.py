"""Ways to prune one layer, found by name.

To add one, write a class with ``version`` and ``prune`` and add a line to `PRUNERS`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from l0compile.studies.pruning.curvature import Curvature
from l0compile.studies.pruning.prune import ROUNDS, PruningPath, prune


class Pruner(Protocol):
    """A way to prune a layer: it decides which blocks go at each density, and what the layer then loses."""

    @property
    def version(self) -> tuple[Any, ...]:
        """Part of the key of every cached path: change it when the same layer gets another path."""

    def prune(self, weight: Tensor, curvature: Curvature, block: tuple[int, int]) -> PruningPath:
        """Return the path of ``weight`` [out, in] float32 in blocks of shape ``block``."""


class BlockSurgeon:
    """Optimal Brain Surgeon on blocks, see ``prune.py``."""

    version = (4, ROUNDS)

    def prune(self, weight: Tensor, curvature: Curvature, block: tuple[int, int]) -> PruningPath:
        """Return the path of least loss, block by block."""
        return prune(weight, curvature, block)


DEFAULT_PRUNER = "surgeon"
PRUNERS: Mapping[str, Pruner] = {DEFAULT_PRUNER: BlockSurgeon()}
