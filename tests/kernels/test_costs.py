"""The shipped cost records against the code of the kernels: none goes stale without notice."""

from collections import Counter

import pytest

from l0compile.errors import ConfigError
from l0compile.hardware.costs import shipped_records
from l0compile.hardware.targets import Core
from l0compile.kernels.costs import costed_kernel

MEASURED = {"attention": 6, "linear": 745, "norm": 3, "pack": 6}
"""Shipped records of each kernel that were measured with its code as it is. The others only help to predict."""


def test_shipped_records_hold_for_the_code_as_it_is() -> None:
    places = [(record.key.work.op, record.key.place.versions) for record in shipped_records()]
    current = Counter(op for op, text in places if text.endswith(f"; {costed_kernel(op).stamp(Core())}"))
    assert dict(current) == MEASURED, (
        "the code of a kernel changed, so its shipped records count as measured no more. If the kernels come out the "
        "same, run `python benchmarks/restamp.py CHECKOUT_BEFORE --write`; if they do not, measure again with "
        "`l0compile tune ... --export` on the machines of targets/*.costs.jsonl, or correct MEASURED and say so in the "
        "commit"
    )


def test_an_unknown_kernel_has_no_costs() -> None:
    with pytest.raises(ConfigError, match=r"expected one of the kernels linear, .* got 'sorting'"):
        costed_kernel("sorting")
    with pytest.raises(ConfigError, match="got 'conv'"):
        costed_kernel("conv")
