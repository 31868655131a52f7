"""Find the elements of every tensor that are known before running, and those of the others that are read."""

from l0compile.analysis.liveness.analysis import Liveness as Liveness
from l0compile.analysis.liveness.analysis import analyse as analyse
from l0compile.analysis.liveness.lattice import Fact as Fact
from l0compile.analysis.liveness.table import Transfer as Transfer
from l0compile.analysis.liveness.table import register as register
from l0compile.analysis.liveness.table import supported as supported
