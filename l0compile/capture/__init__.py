"""nn.Module or ExportedProgram in, :class:`Program` out: one flat ATen graph with gates intact."""

from l0compile.capture.control_flow import ControlFlow as ControlFlow
from l0compile.capture.editor import Editor as Editor
from l0compile.capture.export import capture as capture
from l0compile.capture.program import Program as Program
from l0compile.capture.program import copy_graph as copy_graph
from l0compile.capture.shapes import infer_shapes as infer_shapes
from l0compile.capture.state import State as State
from l0compile.capture.state import unchanged as unchanged
from l0compile.capture.state import watched_numbers as watched_numbers
from l0compile.capture.tensors import dense_weights as dense_weights
from l0compile.records import PassRecord as PassRecord
from l0compile.records import Region as Region
