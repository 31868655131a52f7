"""Compare compiled answers with the model's own, and find where the two part ways."""

from l0compile.compiler.verification.answers import (
    TOLERANCES,
    ExampleCall,
    read_calls,
    showing_state,
    tolerance,
    verify,
)
from l0compile.compiler.verification.fault import Flat, locate

__all__ = [
    "TOLERANCES",
    "ExampleCall",
    "Flat",
    "locate",
    "read_calls",
    "showing_state",
    "tolerance",
    "verify",
]
