"""What could be gated in a model without zeros, and what that would buy."""

from l0compile.compiler.advice.gates import advise as advise
from l0compile.compiler.advice.options import Advice as Advice
from l0compile.compiler.advice.options import Option as Option
from l0compile.compiler.advice.options import OptionGroup as OptionGroup
