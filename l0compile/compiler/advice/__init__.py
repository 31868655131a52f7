"""What could be gated in a model that has no zeros yet, and what it would buy."""

from l0compile.compiler.advice.gates import advise as advise
from l0compile.compiler.advice.options import Advice as Advice
from l0compile.compiler.advice.options import Option as Option
from l0compile.compiler.advice.options import OptionGroup as OptionGroup
