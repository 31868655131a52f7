"""Program, Editor and infer_shapes."""

import pytest
import torch
from torch import Tensor, nn

from l0compile.errors import RewriteError
from l0compile.frontend.export import capture
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, region_name, same_size, shape
from l0compile.ir.program import Program
from l0compile.ir.shapes import infer_shapes

aten = torch.ops.aten


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Net().eval(), (torch.randn(3, 4),), dynamic_shapes={0: "batch"})


def test_edit_leaves_the_program_alone(program: Program) -> None:
    text = str(program.graph)
    graph, constants = program.edit()
    constants.clear()
    for node in reversed(list(graph.nodes)):
        graph.erase_node(node)
    assert str(program.graph) == text and len(program.constants) == 4
    module = program.module()
    module.graph.erase_node(next(iter(reversed(module.graph.nodes))))
    assert str(program.graph) == text


def test_infer_shapes_repairs_meta(program: Program) -> None:
    editor = Editor(program)
    relu = next(node for node in editor.graph.nodes if is_op(node, aten.relu.default))
    expected = shape(relu)
    relu.meta["val"] = None
    infer_shapes(editor.current())
    assert all(map(same_size, shape(relu), expected)) and not isinstance(expected[0], int)


def test_infer_shapes_names_the_node_at_fault(program: Program) -> None:
    editor = Editor(program)
    linear = next(node for node in editor.graph.nodes if is_op(node, aten.linear.default))
    linear.update_arg(1, editor.add_constant("wrong", torch.zeros(6, 5), linear))
    with pytest.raises(RewriteError, match=rf"{linear.name} \(aten.linear.default\): does not accept"):
        infer_shapes(editor.current())


def test_editor_constants_never_collide(program: Program) -> None:
    editor = Editor(program)
    anchor = program_node(editor)
    names = [str(editor.add_constant("first.weight", torch.zeros(1), anchor).target) for _ in range(3)]
    nested = str(editor.add_constant("first", torch.zeros(1), anchor).target)
    assert len({*names, nested, *program.constants}) == 4 + 4
    editor.current().module()
    assert "first.weight_1" not in program.constants


def test_editor_returns_the_same_program_when_nothing_changed(program: Program) -> None:
    assert Editor(program).finish() is program


def test_finish_drops_unused_nodes_and_constants(program: Program) -> None:
    editor = Editor(program)
    relu = next(node for node in editor.graph.nodes if is_op(node, aten.relu.default))
    other = editor.add_constant("other", torch.zeros(6), relu)
    editor.replace(relu, editor.call(aten.expand.default, (other, editor.sizes(shape(relu))), before=relu))
    result = editor.finish()
    assert set(result.constants) == {"second.weight", "second.bias", "other"}
    assert [node.name for node in result.placeholders] == ["x"]
    torch.testing.assert_close(
        result.run(torch.randn(5, 4)), program.constants["second.bias"].expand(5, 2), rtol=1e-6, atol=1e-6
    )


def test_sizes_read_symbols_from_inputs(program: Program) -> None:
    editor = Editor(program)
    relu = next(node for node in editor.graph.nodes if is_op(node, aten.relu.default))
    batch, width = editor.sizes(shape(relu)) or []
    assert is_op(batch, aten.sym_size.int) and width == 6
    assert editor.sizes([shape(relu)[0] * 2]) is None
    assert (editor.sizes(shape(relu)) or [])[0] is batch


def test_node_questions(program: Program) -> None:
    linears = [node for node in program.graph.nodes if is_op(node, aten.linear.default)]
    assert [region_name(node) for node in linears] == ["first", "second"]
    gelu = program.graph.find_nodes(op="call_function", target=aten.relu.default)[0]
    assert list(arguments(gelu)) == ["self"]
    assert set(arguments(linears[0])) == {"input", "weight", "bias"}


def program_node(editor: Editor) -> torch.fx.Node:
    return next(node for node in editor.graph.nodes if node.op == "call_function")
