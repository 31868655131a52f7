"""Find the axes that must lose the same channels, and the channels that can go."""

from l0compile.analysis.coupling.axes import Coupling as Coupling
from l0compile.analysis.coupling.axes import TensorAxis as TensorAxis
from l0compile.analysis.coupling.solve import KeptChannels as KeptChannels
from l0compile.analysis.coupling.solve import couple as couple
