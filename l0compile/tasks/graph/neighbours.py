"""The edges of a graph as lists of neighbours, one list for each node."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from l0compile.errors import DataError


@dataclass(frozen=True)
class Neighbours:
    """The lists of neighbours of all nodes in one tensor (compressed sparse rows).

    No list is empty: a node without neighbours is its own, so that every mean over neighbours exists.

    Attributes:
        of: int64 [edges], the neighbours of node 0, then those of node 1, and so on; ascending within a list.
        starts: int64 [nodes], where each list starts.
    """

    of: Tensor
    starts: Tensor

    @classmethod
    def from_edges(cls, edges: Tensor, nodes: int, *, both: bool = True, loops: bool = False) -> "Neighbours":
        """Make the lists of a graph.

        Args:
            edges: integers [2, edges], from whom and to whom; an edge adds the first to the list of the second.
            nodes: number of nodes.
            both: add the second to the list of the first as well.
            loops: every node is in its own list, once.

        Raises:
            DataError: an edge is of a node that does not exist.
        """
        if edges.ndim != 2 or edges.shape[0] != 2:
            raise DataError(f"graph: edges: expected shape [2, edges], got {list(edges.shape)}")
        if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < nodes:
            low, high = int(edges.min()), int(edges.max())
            raise DataError(f"graph: edges: expected nodes from 0 to {nodes - 1}, got {low} to {high}")
        ends = edges.numpy().astype(np.int64)
        if loops:
            ends = ends[:, ends[0] != ends[1]]
        keys = [ends[1] * nodes + ends[0]]
        if both:
            keys.append(ends[0] * nodes + ends[1])
        if loops:
            keys.append(np.arange(nodes) * (nodes + 1))
        return cls.from_keys(np.concatenate(keys), nodes)

    @classmethod
    def from_keys(cls, keys: np.ndarray, nodes: int) -> "Neighbours":
        """Make the lists of edges as numbers, node * nodes + neighbour, int64 [edges], which are sorted in place."""
        keys.sort()
        starts = np.searchsorted(keys, np.arange(nodes, dtype=np.int64) * nodes)
        sizes = np.diff(starts, append=len(keys))
        if lonely := np.flatnonzero(sizes == 0).tolist():
            keys = np.insert(keys, starts[lonely], np.array(lonely, dtype=np.int64) * (nodes + 1))
            sizes[lonely] = 1
            starts = np.cumsum(sizes) - sizes
        keys %= nodes
        return cls(torch.from_numpy(keys), torch.from_numpy(starts.astype(np.int64)))

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return len(self.starts)

    @property
    def edges(self) -> int:
        """The number of entries of all lists."""
        return len(self.of)

    def degrees(self) -> Tensor:
        """Return the length of each list, int64 [nodes]."""
        return torch.diff(self.starts, append=torch.tensor([self.edges]))

    def symmetric_weights(self) -> Tensor:
        """Return 1 / sqrt(d_i d_j) of each entry j of the list of i, float32 [edges].

        With loops and edges both ways this is the propagation of a GCN (Kipf & Welling, ICLR 2017, equation 2).
        """
        degrees = self.degrees()
        root = degrees.double().rsqrt()
        return (root.repeat_interleave(degrees) * root[self.of]).float()

    def part(self, first: int, last: int) -> "Neighbours":
        """Return the lists of the nodes from ``first`` to before ``last``; their entries keep their numbers."""
        starts = self.starts[first:last]
        end = int(self.starts[last]) if last < self.nodes else self.edges
        begin = int(starts[0]) if len(starts) else end
        return Neighbours(self.of[begin:end], starts - begin)
