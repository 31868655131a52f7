"""Calling a compiled model; free of capture, rewrite and search."""

from l0compile.account import Explanation as Explanation
from l0compile.account import Profile as Profile
from l0compile.runtime.model import CompiledModel as CompiledModel
from l0compile.runtime.signature import InputSpec as InputSpec
from l0compile.runtime.signature import Signature as Signature
