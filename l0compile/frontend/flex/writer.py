"""Adding what a call of flex_attention becomes to the graph of a program that is being captured."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental import _config
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from l0compile.ir.editor import unused_name
from l0compile.ir.nodes import example_size


class GraphWriter:
    """Adds nodes to the end of a graph, and tells which of its nodes have a value already.

    Attributes:
        masks: what was evaluated for masks of the graph, for layers that have equal ones.
    """

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor]) -> None:
        self._graph, self._constants = graph, constants
        self._marked = 0
        self._values: dict[fx.Node, Any] = {}
        self._added: dict[int, tuple[fx.Node, Tensor]] = {}
        self.masks: dict[Any, Any] = {}
        self._fixed, self._fixed_but_for_sizes = set[fx.Node](), set[fx.Node]()
        self._source: Mapping[str, Any] = {}

    @contextmanager
    def on_behalf_of(self, node: fx.Node) -> Iterator[None]:
        """Let what is added in the block come from the module of ``node``."""
        before = self._source
        # PyTorch compiles a call of flex_attention by itself: the line that it names is in generated code.
        self._source = {key: node.meta[key] for key in ("nn_module_stack",) if key in node.meta}
        try:
            yield
        finally:
            self._source = before

    def constant(self, name: str, tensor: Tensor) -> fx.Node:
        """Add a constant, once for each tensor object."""
        if id(tensor) in self._added:
            return self._added[id(tensor)][0]
        key = unused_name(name, self._constants)
        self._constants[key] = tensor.detach().contiguous()
        node = self._graph.create_node("get_attr", key)
        node.meta["val"] = self._mode().from_tensor(self._constants[key], static_shapes=True)
        self._added[id(tensor)] = node, tensor  # an id is only unique while its object lives
        return node

    def call(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Add an operator."""
        node = self._graph.call_function(target, args, kwargs)
        node.meta.update(self._source)
        with self._faking():
            values = fx.map_arg((args, kwargs), lambda arg: arg.meta["val"])
            node.meta["val"] = target(*values[0], **values[1])
        return node

    def trace(self, function: Callable[..., Any], *operands: Any) -> Any:
        """Add the operators of a function of tensors.

        Args:
            function: gives a tensor, or nested tuples of tensors.
            operands: nodes, or numbers.

        Returns:
            Nodes in the structure of what ``function`` gives.
        """
        nodes = [operand for operand in operands if isinstance(operand, fx.Node)]
        spec = list[pytree.TreeSpec]()

        def flat(*values: Any) -> list[Any]:
            given = iter(values)
            result = function(*(next(given) if isinstance(one, fx.Node) else one for one in operands))
            leaves, found = pytree.tree_flatten(result)
            spec.append(found)
            return leaves

        with self._faking():
            traced = make_fx(flat)(*(node.meta["val"] for node in nodes))
        made: dict[fx.Node, fx.Node] = {}
        inputs, results = iter(nodes), list[Any]()
        for node in traced.graph.nodes:
            if node.op == "placeholder":
                made[node] = next(inputs)
            elif node.op == "output":
                results = [made[result] for result in pytree.tree_leaves(node.args[0])]
            else:
                assert node.op == "call_function", f"{node.op} {node.target} in a traced function"
                made[node] = self._graph.node_copy(node, lambda old: made[old])
                made[node].meta = {"val": node.meta["val"], **self._source}
        return pytree.tree_unflatten(results, spec[-1])

    def value(self, operand: Any, sizes: bool = False) -> Any:
        """The value of a node that follows from constants alone; None if it depends on inputs.

        Args:
            operand: a node; a number is its own value.
            sizes: take the sizes of the example for those that may vary.
        """
        if not isinstance(operand, fx.Node):
            return operand
        self._mark()
        if operand not in (self._fixed_but_for_sizes if sizes else self._fixed):
            return None
        if operand not in self._values:
            self._values[operand] = self._evaluate(operand, {})
        return self._values[operand]

    def _mark(self) -> None:
        """Note of each new node whether it follows from constants; in order, because a chain of nodes may be long."""
        for node in islice(self._graph.nodes, self._marked, None):
            self._marked += 1
            target: Any = node.target
            if isinstance(node.meta.get("val"), torch.SymInt):
                self._fixed_but_for_sizes.add(node)
            random = isinstance(target, OpOverload) and torch.Tag.nondeterministic_seeded in target.tags
            if node.op == "get_attr" or (node.op == "call_function" and not random):
                for found in (self._fixed, self._fixed_but_for_sizes):
                    if all(source in found for source in node.all_input_nodes):
                        found.add(node)

    def _evaluate(self, node: fx.Node, known: dict[fx.Node, Any]) -> Any:
        if node.op == "get_attr":
            return self._constants[str(node.target)]
        if isinstance(node.meta.get("val"), torch.SymInt):
            return example_size(node.meta["val"])
        if node not in known:
            for source in node.all_input_nodes:
                known[source] = self._evaluate(source, known)
            target: Any = node.target
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: known[source])
            with torch.no_grad():
                known[node] = target(*args, **kwargs)
        return known[node]

    def _mode(self) -> FakeTensorMode:
        for node in self._graph.nodes:
            value = node.meta.get("val")
            if isinstance(value, FakeTensor):
                return value.fake_mode
        return FakeTensorMode(allow_non_fake_inputs=True)

    @contextmanager
    def _faking(self) -> Iterator[None]:
        """Compute shapes: symbolic ones stay so, and no guard is added."""
        mode = self._mode()
        with torch.no_grad(), enable_python_dispatcher(), mode:
            if mode.shape_env is None:
                yield
                return
            with mode.shape_env.suppress_guards(), _config.patch(backed_size_oblivious=True):
                yield
