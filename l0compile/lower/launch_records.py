"""What the account of a compiled model says of its kernels, and the order of the constants that its code takes."""

from collections.abc import Mapping

from l0compile.ir.nodes import region_name
from l0compile.ir.program import Program
from l0compile.ir.records import Launch
from l0compile.kernels import kernel_call, kernel_of


def parameter_names(program: Program) -> tuple[str, ...]:
    """Return the names of the constants that the machine code of ``program`` takes, in order."""
    return tuple(dict.fromkeys(str(node.target) for node in program.graph.nodes if node.op == "get_attr"))


def launches(program: Program, functions: Mapping[str, str], kind: str = "llvm") -> tuple[Launch, ...]:
    """Return the launches of our kernels in order.

    Args:
        program: A packed program.
        functions: Node -> name of the function that launches its kernel.
        kind: Of the target.
    """
    found = []
    for node in program.graph.nodes:
        if node.name in functions:
            call = kernel_call(node, kind)
            assert call is not None
            # A change of layout carries the region of a neighbouring layer, but is not part of the work of that layer.
            region = None if kernel_of(call.spec, kind).moves else node.meta.get("region")
            found.append(Launch(functions[node.name], region, region_name(node)))
    return tuple(found)
