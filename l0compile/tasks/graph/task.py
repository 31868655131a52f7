"""The task "cora", and the same for any graph that fits into memory: every step reads the whole graph."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.tasks.classification import Classification, Labelled, Part
from l0compile.tasks.graph.citations import load_cora
from l0compile.tasks.graph.models import GCN, GraphSAGE
from l0compile.tasks.graph.nodes import NodeData
from l0compile.tasks.graph.sparse_features import SparseFeatures
from l0compile.tasks.registry import register_task
from l0compile.tasks.training import Schedule

# Features of which fewer are not zero than this share are added up one by one in training.
_SPARSE = 0.1


@dataclass(frozen=True)
class GraphOptions:
    """Options of a task on a graph.

    model: ``"gcn"`` or ``"sage"``. width: of the embedding that is classified. dropout: probability that a feature is
    dropped before each layer. epochs: steps of dense training, each over the whole graph. weight_rate: the peak
    learning rate. weight_decay: half of it times the squares of all weights but the classifier's is added to the loss.
    """

    model: Literal["gcn", "sage"] = "gcn"
    width: int = 64
    dropout: float = 0.5
    epochs: int = 200
    weight_rate: float = 0.01
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        for name, least, most in (
            ("width", 4, 65536), ("epochs", 1, 100_000), ("dropout", 0.0, 0.95), ("weight_rate", 1e-8, 1.0),
            ("weight_decay", 0.0, 10.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name}: expected {least} to {most}, got {value}")


class GraphTask(Classification):
    """A `Task` on the nodes of one graph. Each batch is the whole graph, with the nodes that have labels in ``rows``.

    Args:
        data: the graph; its neighbours have loops for a GCN.
        options: of model and training.
        model: makes a model to train instead of the task's own.
        inputs: what that model takes; default: features, neighbours and starts (see `Neighbours`), and for
            ``options.model = "gcn"`` the weights of the neighbours.
        name: of the task.
    """

    representation = "embedding"

    def __init__(
        self,
        data: NodeData,
        options: GraphOptions | None = None,
        *,
        model: Callable[[], nn.Module] | None = None,
        inputs: tuple[Tensor, ...] | None = None,
        name: str = "graph",
    ) -> None:
        self.options, self.data, self.name = options or GraphOptions(), data, name
        self.classes, self.source = data.classes, data.source
        self._made_by = model
        self._inputs = inputs or _inputs(data, self.options)
        few = float((data.features != 0).double().mean()) < _SPARSE
        self._sparse = SparseFeatures.of(data.features) if few and inputs is None else None

    def build(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            if self._made_by is not None:
                return self._made_by().eval()
            return _model(self.options, self.data.features.shape[1], len(self.classes)).eval()

    def recipe(self, seed: int) -> Schedule:
        return Schedule(
            steps=self.options.epochs, batch=len(self.data.parts["train"]), weight_rate=self.options.weight_rate,
            seed=seed, average=0.95,
        )  # fmt: skip

    def gate_recipe(self, seed: int) -> Schedule:
        dense = self.recipe(seed)
        return replace(dense, steps=2 * dense.steps)

    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        """Yield the whole graph once, whatever the size."""
        yield from self.evaluation("train")

    def evaluation(self, part: Part) -> Iterator[Labelled]:
        rows = self.data.parts[part]
        yield Labelled(self._inputs, self.data.labels[rows], rows)

    def loss(self, model: nn.Module, batch: Labelled) -> Tensor:
        """Return the mean cross entropy; in training, plus the decay of weights as Kipf & Welling have it."""
        found = nn.functional.cross_entropy(self._trained_on(model, batch), batch.labels)
        if not model.training or not self.options.weight_decay:
            return found
        squares = [
            parameter.square().sum()
            for name, parameter in model.named_parameters()
            if parameter.ndim > 1 and ".l0_" not in name and not name.startswith("classify.")
        ]
        return found + 0.5 * self.options.weight_decay * sum(squares, torch.zeros(()))

    def _trained_on(self, model: nn.Module, batch: Labelled) -> Tensor:
        """Return the logits of a batch, by a GCN in training from the features that are not zero."""
        if self._sparse is None or not isinstance(model, GCN) or not model.training or _watched(model.first):
            return self.predict(model, batch)
        logits = model.of_sparse(self._sparse, *batch.inputs[1:])
        return logits if batch.rows is None else logits[batch.rows]

    def example(self) -> tuple[Tensor, ...]:
        return self._inputs

    def workload(self) -> tuple[str, dict[str, Any]] | None:
        return None

    def facts(self) -> dict[str, Any]:
        made = {} if self._made_by is None else {"made_by": str(self._made_by)}
        return {"task": self.name, **asdict(self.options), "data": self.data.digest, **made}


@register_task("cora", GraphOptions)
class CoraTask(GraphTask):
    """The `Task` of Cora. ``text`` is the folder of ``cora.npz``, if that is not below ``$L0COMPILE_DATA``."""

    def __init__(self, options: GraphOptions, text: Path | None = None) -> None:
        super().__init__(load_cora(text, loops=options.model == "gcn"), options, name="cora")
        self._folder = text

    def workload(self) -> tuple[str, dict[str, Any]]:
        folder = None if self._folder is None else str(self._folder.resolve())
        return f"{__name__}:cora_workload", {"options": asdict(self.options), "folder": folder}


def cora_workload(options: dict[str, Any], folder: str | None) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make a dense model of the same shape and the whole graph, in a process that times engines."""
    task = CoraTask(GraphOptions(**options), None if folder is None else Path(folder))
    return task.build(0), task.example()


def _watched(layer: nn.Module) -> bool:
    """Whether something, such as a gate on its input, has to see the calls of the layer."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in layer.modules())


def _inputs(data: NodeData, options: GraphOptions) -> tuple[Tensor, ...]:
    lists = data.neighbours
    weights = (lists.symmetric_weights(),) if options.model == "gcn" else ()
    return data.features, lists.of, lists.starts, *weights


def _model(options: GraphOptions, features: int, classes: int) -> nn.Module:
    made = GCN if options.model == "gcn" else GraphSAGE
    return made(features, options.width, classes, options.dropout)
