"""capture(): what the graph holds, dynamic sizes from 1 upward, kwargs and pytrees, and its errors."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._guards import CompileContext, CompileId, compile_context
from torch.export import Dim

import l0compile as l0
from l0compile.errors import CaptureError, InputError
from l0compile.frontend import export
from l0compile.frontend.export import capture
from l0compile.ir.nodes import is_op, is_static
from l0compile.ir.program import Program

aten = torch.ops.aten


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)
        self.register_buffer("shift", torch.ones(8))

    def forward(self, x: Tensor, scale: Tensor | None = None) -> dict[str, Tensor]:
        batch, tokens, width = x.shape
        h = self.down(nn.functional.gelu(self.up(self.norm(x)))) + self.shift
        h = h.view(batch, tokens, 2, 4).reshape(batch, tokens, width)
        return {"out": h if scale is None else h * scale, "sum": h.sum(1)}


@pytest.fixture
def block() -> Block:
    torch.manual_seed(0)
    return Block().eval()


def same(program: Program, model: nn.Module, *args: Any, **kwargs: Any) -> None:
    torch.testing.assert_close(program.run(*args, **kwargs), model(*args, **kwargs), rtol=1e-5, atol=1e-6)


def test_graph_form(block: Block) -> None:
    program = capture(block, (torch.randn(2, 3, 8),))
    assert [node.name for node in program.placeholders] == ["x"]
    assert {"up.weight", "up.bias", "down.weight", "norm.weight", "shift"} <= set(program.constants)
    assert not any(tensor.requires_grad for tensor in program.constants.values())
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"aten.linear.default", "aten.layer_norm.default", "aten.gelu.default"} <= targets
    assert not any("assert" in target for target in targets)
    assert all("val" in node.meta for node in program.graph.nodes if node.op != "output")
    assert isinstance(program.output.args[0], tuple) and len(program.output.args[0]) == 2
    assert program.symbols == {}
    same(program, block, torch.randn(2, 3, 8))


@pytest.mark.parametrize(
    ("example", "shapes"),
    [
        ((1, 1), {0: "batch", 1: "seq"}),
        ((4, 4), {"x": {0: "batch", 1: "seq"}}),
        ((1, 3), ({0: Dim.DYNAMIC, 1: Dim("seq", min=1, max=64)},)),
        ((2, 3), {0: {0: "batch", 1: Dim.AUTO}}),
    ],
    ids=["dims", "by name", "torch", "by position"],
)
def test_dynamic_sizes_from_one_upward(block: Block, example: tuple[int, int], shapes: Any) -> None:
    program = capture(block, (torch.randn(*example, 8),), dynamic_shapes=shapes)
    assert len(program.symbols) == 2
    assert all(low == 1 for low, _ in program.symbols.values())
    for size in ((1, 1), (1, 5), (3, 1), (5, 7)):
        same(program, block, torch.randn(*size, 8))


def test_sizes_that_turn_out_to_be_fixed_are_numbers_everywhere() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(8, 3)).eval()
    program = capture(model, (torch.randn(2, 8),), dynamic_shapes=({0: Dim.AUTO, 1: Dim.AUTO},))
    assert len(program.symbols) == 1
    assert all(is_static(node.meta["val"].shape[-1]) for node in program.graph.nodes if node.op != "output")
    compiled = l0.compile(model, (torch.randn(2, 8),), dynamic_shapes=({0: Dim.AUTO, 1: Dim.AUTO},))
    x = torch.randn(5, 8)
    torch.testing.assert_close(compiled(x), model(x).detach())


def test_labels_and_ranges(block: Block) -> None:
    program = capture(block, (torch.randn(2, 3, 8),), dynamic_shapes=({1: Dim("tokens", min=2, max=64)},))
    ((symbol, label),) = program.labels.items()
    assert label == "tokens" and program.symbols[symbol] == (1, 64)


def test_equal_names_are_one_symbol() -> None:
    class Add(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            return a.sum(1), b.sum(1)

    model = Add().eval()
    args = (torch.randn(1, 4), torch.randn(1, 6))
    one = capture(model, args, dynamic_shapes={"a": {0: "n"}, "b": {0: "n"}})
    two = capture(model, args, dynamic_shapes={"a": {0: "n"}, "b": {0: "m"}})
    assert list(one.labels.values()) == ["n"] and sorted(two.labels.values()) == ["m", "n"]
    assert not model._forward_pre_hooks


def test_size_one_stays_refused_where_the_model_treats_it_apart() -> None:
    class Squeezes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.squeeze(0) * 2

    program = capture(Squeezes().eval(), (torch.randn(3, 4),), dynamic_shapes={0: "batch"})
    assert [low for low, _ in program.symbols.values()] == [2]


def test_kwargs_in_any_order_and_wrong_structure(block: Block) -> None:
    x, scale = torch.randn(2, 3, 8), torch.randn(8)
    program = capture(block, (), {"x": x, "scale": scale})
    same(program, block, scale=scale, x=x)
    with pytest.raises(InputError, match=r"expected the structure"):
        program.run(x)


def test_exported_program(block: Block) -> None:
    x = torch.randn(2, 3, 8)
    exported = torch.export.export(block, (x,), dynamic_shapes=({0: Dim.DYNAMIC},))
    program = capture(exported)
    same(program, block, torch.randn(5, 3, 8))
    with pytest.raises(CaptureError, match=r"already fixes"):
        capture(exported, dynamic_shapes={0: "batch"})


def test_tied_weights_are_one_constant() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    model[1].weight = model[0].weight
    program = capture(model, (torch.randn(2, 4),))
    weights = [node.args[1].target for node in program.graph.nodes if is_op(node, aten.linear.default)]
    assert len(set(weights)) == 1 and len(program.constants) == 3


def test_gates_survive() -> None:
    from l0compile.gates import Neuron, attach

    model = attach(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), {"2": Neuron()}).eval()
    program = capture(model, (torch.randn(3, 4),))
    assert any(is_op(node, torch.ops.l0compile.gate.default) for node in program.graph.nodes)
    same(program, model, torch.randn(3, 4))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(Chooses())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Chooses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.calls


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Branches(), r"module inner.0 \(Chooses\), test_export.py:\d+: `return x \+ 1 if.*torch.where"),
        (Counts(), r"calls.*side effects.*return the new value"),
        (nn.Linear(4, 4, device="meta"), r"weight.*meta device"),
    ],
    ids=["branch", "mutation", "meta"],
)
def test_errors_name_the_place_and_the_way_out(model: nn.Module, words: str) -> None:
    with pytest.raises(CaptureError, match=words):
        capture(model.eval(), (torch.randn(2, 4),))


def test_training_mode_and_wrong_arguments(block: Block) -> None:
    with pytest.raises(CaptureError, match=r"call model.eval\(\)"):
        capture(block.train(), (torch.randn(2, 3, 8),))
    with pytest.raises(CaptureError, match=r"do not fit Block\.forward"):
        capture(block.eval(), (1, 2, 3))
    with pytest.raises(CaptureError, match=r"expected an nn\.Module"):
        capture("model")  # type: ignore[arg-type]


def test_what_is_no_tuple_of_inputs(block: Block) -> None:
    x = torch.randn(2, 3, 8)
    for args, kwargs, words in (
        (x, None, r"expected a tuple of them, got a Tensor; write \(x,\) for a single one"),
        ({"x": x}, None, "got a dict; give it as kwargs="),
        ((), [x], "expected kwargs to be a dict by argument name, got a list"),
        (
            (x.numpy(),),
            None,
            r"example input \[0\]: expected a torch.Tensor, got a NumPy array; torch.from_numpy",
        ),
    ):
        with pytest.raises(CaptureError, match=words):
            l0.compile(block.eval(), args, kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"y": {0: "batch"}}, r"expected arguments of the call \(x\), got \['y'\]"),
        ({0: "batch", 7: "seq"}, "dimension 7"),
        ({0: "n", 1: "n"}, "'n' is 2 at x dimension 0 but 3 at x dimension 1"),
        (3, "expected a dict by argument name"),
        (({0: "a"}, None, None), "at most 1 entries"),
        (({2: "width"},), "drop it from dynamic_shapes"),
    ],
)
def test_dynamic_shapes_errors(block: Block, shapes: Any, words: str) -> None:
    with pytest.raises(CaptureError, match=words):
        capture(block, (torch.randn(2, 3, 8),), dynamic_shapes=shapes)


def test_single_spec_needs_a_single_argument(block: Block) -> None:
    with pytest.raises(CaptureError, match=r"fits a model with one argument"):
        capture(block, (torch.randn(2, 3, 8), torch.randn(8)), dynamic_shapes={0: "batch"})


def test_example_is_not_changed_by_enlarging(block: Block) -> None:
    x = torch.randn(1, 1, 8)
    before = x.clone()
    capture(block, (x,), dynamic_shapes={0: "batch"})
    assert torch.equal(x, before)


def test_a_failed_capture_leaves_no_mark_on_the_example() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(4, 3) * 2

    model, x = Fixed().eval(), torch.randn(4, 3)
    with pytest.raises(CaptureError, match="drop it from dynamic_shapes"):
        capture(model, (x,), dynamic_shapes={0: "batch"})
    assert not capture(model, (x,)).symbols


def test_random_results_are_refused() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x)

    with pytest.raises(CaptureError, match=r"test_export.py.*the random operator aten\.randn_like"):
        capture(Noisy().eval(), (torch.randn(2, 4),))


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # depends on values: traced a second time, with what is known
            return x
        raise ValueError("never")


def test_a_failed_capture_leaves_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    depth = torch._C._len_torch_function_stack()
    with pytest.raises(CaptureError):
        capture(Raises().eval(), (torch.randn(2, 3),))
    assert torch._C._len_torch_function_stack() == depth
    assert capfd.readouterr() == ("", "")


def test_no_second_attempt_while_dynamo_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would free the entry in dynamo's cache that the outer compilation is about to write."""
    attempts: list[bool] = []
    traced = export._traced
    monkeypatch.setattr(
        export, "_traced", lambda *a, strict: attempts.append(strict) or traced(*a, strict=strict)
    )
    outer = compile_context(CompileContext(CompileId(frame_id=0, frame_compile_id=0)))
    with outer, pytest.raises(CaptureError):
        capture(Raises().eval(), (torch.randn(2, 3),))
    assert attempts == [False]
    with pytest.raises(CaptureError):
        capture(Raises().eval(), (torch.randn(2, 3),))
    assert attempts == [False, False, True]
