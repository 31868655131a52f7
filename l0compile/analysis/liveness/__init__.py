"""Which elements of every tensor are known before running, and which of the others anything reads."""

from l0compile.analysis.liveness.analysis import Liveness as Liveness
from l0compile.analysis.liveness.analysis import analyse as analyse
from l0compile.analysis.liveness.lattice import Fact as Fact
from l0compile.analysis.liveness.table import Transfer as Transfer
from l0compile.analysis.liveness.table import register as register
from l0compile.analysis.liveness.table import supported as supported
