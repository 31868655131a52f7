"""The life of one layer as Markdown: the passes of `compile` run one after another, with what each of them changed."""

import difflib
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

import l0compile as l0
from l0compile.frontend.export import capture
from l0compile.gates.gate import Gate
from l0compile.hardware.targets import load_target
from l0compile.ir.program import Program
from l0compile.kernels.token_tile import token_tile
from l0compile.rewrite.passes import Pass, PassGroup, select
from l0compile.rewrite.pipeline import PIPELINE
from l0compile.rewrite.runner import apply

TARGET = "x86-64-avx512"


class FeedForward(nn.Module):
    """Half of a transformer's layer: [batch, tokens, 64] in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)
        self.norm = nn.LayerNorm(64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.down(nn.functional.gelu(self.up(x))))


def hardened_model() -> nn.Module:
    """Gates on blocks of ``up`` and on the neurons that ``down`` reads, most of them closed."""
    torch.manual_seed(0)
    model = FeedForward()
    l0.attach(model, {"up": l0.Block(4, 1), "down": l0.Neuron()})
    for module in model.modules():
        if isinstance(module, Gate):
            with torch.no_grad():
                module.log_alpha.copy_(_mostly_closed(module.log_alpha))
    return l0.harden(model).eval()


def _mostly_closed(gates: torch.Tensor) -> torch.Tensor:
    """Three of ten are open; neurons go by fours, so that what is left of the blocks beside them is whole."""
    few = torch.rand(gates.numel() // 4 if gates.dim() == 1 else gates.shape) < 0.3
    return torch.where(few.repeat_interleave(4) if gates.dim() == 1 else few, 3.0, -6.0)


def captured() -> Program:
    """The model's graph as it enters the first pass."""
    shapes = {"x": {0: "batch", 1: "tokens"}}
    return capture(hardened_model(), (torch.randn(1, 16, 64),), None, dynamic_shapes=shapes)


def groups() -> list[PassGroup]:
    """What `compile` runs where TVM runs the model on a CPU."""
    return [group for group in PIPELINE if group.name not in ("layout of a GPU", "pytorch")]


def render() -> str:
    """The captured graph, then a section for each group of passes with what each pass changed."""
    program, target = captured(), load_target(TARGET)
    tile = token_tile(target)
    given = {"target": target, "costs": None, "lanes": tile.lanes, "rows": tile.rows}
    parts = ["## As captured", f"```text\n{listing(program)}\n```"]
    for group in groups():
        sections, program = _group(program, group, given)
        parts += sections
    parts += ["## What is written down", *(f"- `{r.name}`: {r.reason}." for r in program.regions)]
    return "\n\n".join(parts) + "\n"


def _group(program: Program, group: PassGroup, given: dict[str, Any]) -> tuple[list[str], Program]:
    """A heading, then for each pass what it says that it does and the difference that it made, and the result."""
    parts, idle = [f"## {group.name.capitalize()}", group.purpose], list[Pass]()
    for step in select([group], **given):
        after = apply(program, step)
        before_text, after_text = listing(program), listing(after)
        if before_text == after_text:
            idle.append(step)
        else:
            parts += [*_idle(idle), f"### {step.name}", _markdown(step.rule)]
            parts.append(f"```diff\n{difference(before_text, after_text)}\n```")
            idle = []
        program = after
    return [*parts, *_idle(idle)], program


def _idle(passes: list[Pass]) -> Iterator[str]:
    if passes:
        yield f"Nothing to do for {', '.join(f'`{step.name}`' for step in passes)}."


def _markdown(text: str) -> str:
    return text.replace("``", "`").replace(":func:", "").replace("*", r"\*")


def difference(before: str, after: str) -> str:
    """All lines of both, with a mark on those of one only."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return "\n".join(line.rstrip() for line in lines if not line.startswith("?"))


def listing(program: Program) -> str:
    """The graph, one call a line, as in ``y = aten.linear(x, up.weight[256, 64])  # [batch, tokens, 256]``."""
    names: dict[fx.Node, str] = {}
    lines = []
    for node in program.graph.nodes:
        if node.op == "placeholder":
            names[node] = str(node.target)
        elif node.op == "get_attr":
            tensor = program.constants[str(node.target)]
            names[node] = f"{node.target}{list(tensor.shape)}"
        elif node.op == "call_function":
            names[node] = node.name
            lines.append((f"{node.name} = {_call(node, names)}", _shape(node, program)))
        else:
            lines.append((f"return {_text(node.args[0][0], names)}", ""))
    return "\n".join(f"{code}  # {shape}" if shape else code for code, shape in lines)


def _call(node: fx.Node, names: dict[fx.Node, str]) -> str:
    target = node.target
    name = str(target).rpartition(".")[0] if isinstance(target, torch._ops.OpOverload) else target.__name__
    return f"{name}({', '.join(_text(arg, names) for arg in node.args)})"


def _text(arg: object, names: dict[fx.Node, str]) -> str:
    if isinstance(arg, fx.Node):
        return names[arg]
    if isinstance(arg, (list, tuple)):
        return f"[{', '.join(_text(item, names) for item in arg)}]"
    return repr(arg)


def _shape(node: fx.Node, program: Program) -> str:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return ""
    text = ", ".join(map(str, value.shape))
    for symbol, label in program.labels.items():
        text = text.replace(symbol, label)
    return f"[{text}]"
