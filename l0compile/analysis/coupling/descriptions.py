"""Describe what holds channels to a reader of the model."""

from torch import fx

from l0compile.ir.nodes import region_name

_PLAIN = {
    "add": "the sum", "sub": "the difference", "mul": "the product", "div": "the quotient", "cat": "the concatenation",
    "linear": "the linear layer", "where": "the choice", "reshape": "the reshape", "index_select": "the selection",
    "group_norm": "the group norm", "instance_norm": "the instance norm", "layer_norm": "the layer norm",
    "batch_norm": "the batch norm", "matmul": "the product of matrices", "mean": "the mean",
}  # fmt: skip


def describe(node: fx.Node) -> str:
    """Describe a node: "the sum 'add_1' in 'layer1.0'", "the input 'x'", "the parameter 'fc.weight'"."""
    if node.op == "placeholder":
        return f"the input '{node.name}'"
    if node.op == "get_attr":
        return f"the parameter '{node.target}'"
    operator = str(node.target).split(".")[-2] if "." in str(node.target) else str(node.target)
    kind = "the convolution" if operator.startswith("conv") else _PLAIN.get(operator, operator)
    place = region_name(node)
    return f"{kind} '{node.name}'" + (f" in '{place}'" if place != node.name else "")
