"""Which axes of which tensors must lose the same channels, and which channels can go."""

from l0compile.analysis.coupling.axes import Axis as Axis
from l0compile.analysis.coupling.axes import Coupling as Coupling
from l0compile.analysis.coupling.solve import Kept as Kept
from l0compile.analysis.coupling.solve import couple as couple
