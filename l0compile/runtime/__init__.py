"""Call a compiled model; needs no frontend, rewrite or search."""

from l0compile.runtime.account import Explanation as Explanation
from l0compile.runtime.account import Profile as Profile
from l0compile.runtime.cuda import CudaStage as CudaStage
from l0compile.runtime.memory import release as release
from l0compile.runtime.model import STATE as STATE
from l0compile.runtime.model import CompiledModel as CompiledModel
from l0compile.runtime.model import check_threads as check_threads
from l0compile.runtime.model import load as load
from l0compile.runtime.parameters import Parameters as Parameters
from l0compile.runtime.plan import StagePlan as StagePlan
from l0compile.runtime.plan import Step as Step
from l0compile.runtime.race import race as race
from l0compile.runtime.race import without as without
from l0compile.runtime.signature import Derived as Derived
from l0compile.runtime.signature import InputSpec as InputSpec
from l0compile.runtime.signature import Signature as Signature
from l0compile.runtime.torch_stage import TorchStage as TorchStage
from l0compile.runtime.tvm_stage import TvmStage as TvmStage
