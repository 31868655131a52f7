"""Program -> relax.IRModule -> machine code for one target."""

from l0compile.lower.build import build as build
from l0compile.lower.build import scheduled as scheduled
from l0compile.lower.operands import dtype_name as dtype_name
from l0compile.lower.stage_build import BuiltStage as BuiltStage
from l0compile.lower.stage_build import lower as lower
from l0compile.lower.stage_build import lower_torch as lower_torch
from l0compile.lower.stage_build import provable_bounds as provable_bounds
from l0compile.lower.translate import Translation as Translation
from l0compile.lower.translate import translate as translate
