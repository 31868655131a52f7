"""Compare compiled answers with the model's own, and find where the two part ways."""

from l0compile.compiler.verification.answers import (
    TOLERANCES,
    CheckedCall,
    read_calls,
    rounds,
    showing_state,
    tolerance,
    verify,
)
from l0compile.compiler.verification.fault import Flat, locate

__all__ = [
    "TOLERANCES",
    "CheckedCall",
    "Flat",
    "locate",
    "read_calls",
    "rounds",
    "showing_state",
    "tolerance",
    "verify",
]
