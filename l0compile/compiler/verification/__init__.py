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
from l0compile.compiler.verification.nan_weights import nan_weights

__all__ = [
    "TOLERANCES",
    "CheckedCall",
    "Flat",
    "locate",
    "nan_weights",
    "read_calls",
    "rounds",
    "showing_state",
    "tolerance",
    "verify",
]
