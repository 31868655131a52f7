"""The task of a graph that is too large to train on at once: every step reads sampled neighbours of some nodes."""

from collections.abc import Iterator, Sequence
from typing import Any

from l0compile.tasks.classification import Labelled
from l0compile.tasks.graph.nodes import NodeData
from l0compile.tasks.graph.sampling import Sampler
from l0compile.tasks.graph.task import GraphOptions, GraphTask
from l0compile.tasks.training import Schedule


class SampledTask(GraphTask):
    """A `Task` of GraphSAGE on one large graph. It trains on samples, and is judged on all neighbours of all nodes.

    Args:
        data: the graph, without loops.
        options: of model and training; an epoch is one pass over the training nodes.
        fanouts: draws for a node of each layer, the first layer first.
        batch: nodes of a step.
        name: of the task.
    """

    def __init__(
        self,
        data: NodeData,
        options: GraphOptions,
        *,
        fanouts: Sequence[int] = (10, 10),
        batch: int = 1024,
        name: str = "graph",
    ) -> None:
        super().__init__(data, options, name=name)
        self.sampler, self.batch = Sampler(data.neighbours, fanouts), batch

    def recipe(self, seed: int) -> Schedule:
        steps = self.options.epochs * -(-len(self.data.parts["train"]) // self.batch)
        return Schedule(steps, self.batch, self.options.weight_rate, seed=seed, average=0.95)

    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        """Yield ``size`` training nodes at a time, with the features of their sample."""
        for nodes, sample in self.sampler.batches(self.data.parts["train"], size, seed):
            lists = [tensor for pair in sample.lists for tensor in pair]
            yield Labelled((self.data.features[sample.nodes], *lists), self.data.labels[nodes])

    def dynamic_shapes(self) -> Any:
        return {"x": {0: "nodes"}, "neighbours": {0: "edges"}, "starts": {0: "nodes"}}

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "fanouts": list(self.sampler.fanouts), "batch": self.batch}
