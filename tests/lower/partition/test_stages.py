"""split(): few stages, in an order that respects the graph, with sizes read from tensors that each stage has."""

from typing import Any

import pytest
import torch
from torch import nn

from l0compile.frontend.export import capture
from l0compile.hardware.targets import Core
from l0compile.ir.program import Program
from l0compile.lower.partition.island_work import is_small
from l0compile.lower.partition.stages import Stage, split


class Branches(nn.Module):
    """Two branches, each with an island (cumsum) of its own, five stages if cut along the trace."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = torch.cumsum(self.a(x), 1)
        low, high = torch.cumsum(self.b(x).view(x.shape[0], -1, 8), 1).split(4, -1)
        return self.out(left * torch.cat([high, low], -1)).reshape(x.shape[0] * x.shape[1], 3)


def captured() -> Program:
    return capture(Branches().eval(), (torch.randn(2, 5, 6),), dynamic_shapes={"x": {0: "n", 1: "t"}})


def refuse(program: Program, *words: str) -> dict[str, str]:
    names = [n.name for n in program.graph.nodes if any(word in str(n.target) for word in words)]
    return dict.fromkeys(names, "refused here")


def run(program: Program, stages: tuple[Stage, ...], *inputs: torch.Tensor) -> Any:
    values: dict[str, Any] = dict(zip((node.name for node in program.placeholders), inputs, strict=True))
    for stage in stages:
        results = stage.program.module()(*(values[name] for name in stage.inputs))
        values.update(zip(stage.outputs, results, strict=True))
    flat: Any = program.output.args[0]
    return [values[node.name] for node in flat]


@pytest.mark.parametrize("words", [("cumsum",), ("cumsum", "split"), ("mul",), ("linear",), ("cat", "split")])
def test_stages_compute_what_the_program_does(words: tuple[str, ...]) -> None:
    program = captured()
    stages = split(program, refuse(program, *words))
    x = torch.randn(3, 4, 6)
    torch.testing.assert_close(run(program, stages, x), list(program.module()(x)))
    for stage in stages:
        refused = [operator.name for operator in stage.record.operators if operator.reason]
        assert stage.engine == "torch" or not refused


def test_islands_of_parallel_branches_merge() -> None:
    program = captured()
    stages = split(program, refuse(program, "cumsum"))
    assert [stage.engine for stage in stages] == ["tvm", "torch", "tvm"]


def test_nothing_heavy_means_no_stage_of_its_own() -> None:
    program = captured()
    assert [stage.engine for stage in split(program, refuse(program, "linear"))] == ["torch"]


def test_nothing_refused_is_one_stage_of_the_program_itself() -> None:
    program = captured()
    (stage,) = split(program, {})
    assert stage.engine == "tvm" and stage.program is program


def test_work_of_an_island() -> None:
    small = capture(nn.Linear(8, 8).eval(), (torch.randn(2, 8),))
    large = capture(nn.Linear(512, 512).eval(), (torch.randn(256, 512),))
    assert is_small(small, Core()) and not is_small(large, Core())
