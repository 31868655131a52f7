"""Sampling of neighbours, so that a step on a large graph reads a part of it (Hamilton et al., NeurIPS 2017)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.errors import ConfigError
from l0compile.tasks.graph.neighbours import Neighbours


@dataclass(frozen=True)
class NeighbourSample:
    """Some nodes with sampled neighbours, as layers read them.

    Attributes:
        nodes: int64 [n], the nodes whose features the first layer reads. The first ones are those of the next layer,
            and so on; the very first are those that were asked for.
        lists: (neighbours, starts) for each layer, the first one first: rows of what the layer reads.
    """

    nodes: Tensor
    lists: tuple[tuple[Tensor, Tensor], ...]


class Sampler:
    """Draws neighbours uniformly *with* replacement, for all nodes of a layer at once.

    Every node gets exactly as many draws as its layer's fanout, so that shapes depend on the number of nodes alone: a
    model for a batch can be compiled once. The mean over the draws has the mean over all neighbours as its expectation.
    A node that is drawn twice is computed twice.

    Args:
        neighbours: of all nodes.
        fanouts: draws for a node of each layer, the first layer first.

    Raises:
        ConfigError: there is no fanout, or one below 1.
    """

    def __init__(self, neighbours: Neighbours, fanouts: Sequence[int]) -> None:
        if not fanouts or min(fanouts) < 1:
            raise ConfigError(
                f"Sampler: fanouts: expected a number above 0 for each layer, got {list(fanouts)}"
            )
        self.neighbours, self.fanouts = neighbours, tuple(fanouts)
        self._degrees = neighbours.degrees()

    def sample(self, nodes: Tensor, generator: torch.Generator) -> NeighbourSample:
        """Draw neighbours of ``nodes``, int64 [n], for all layers; the same for the same state of the generator."""
        lists = []
        for fanout in reversed(self.fanouts):
            count = len(nodes)
            drawn = self._draw(nodes, fanout, generator)
            places = torch.arange(count, count * (fanout + 1))
            lists.append((places, torch.arange(0, count * fanout, fanout)))
            nodes = torch.cat([nodes, drawn])
        return NeighbourSample(nodes, tuple(reversed(lists)))

    def batches(self, nodes: Tensor, size: int, seed: int) -> Iterator[tuple[Tensor, NeighbourSample]]:
        """Yield ``size`` of ``nodes`` at a time with their sample: one shuffled pass, the last batch may be smaller."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(nodes), generator=generator)
        for chosen in order.split(size):
            yield nodes[chosen], self.sample(nodes[chosen], generator)

    def _draw(self, nodes: Tensor, fanout: int, generator: torch.Generator) -> Tensor:
        """Return int64 [n * fanout], the draws of each node one after another."""
        degrees = self._degrees[nodes].unsqueeze(1)
        # In double precision: float32 could not name every neighbour of a node with more than 16 million.
        where = torch.rand(len(nodes), fanout, generator=generator, dtype=torch.float64) * degrees
        places = self.neighbours.starts[nodes].unsqueeze(1) + torch.minimum(where.long(), degrees - 1)
        return self.neighbours.of[places.reshape(-1)]
