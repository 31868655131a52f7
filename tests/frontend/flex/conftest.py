"""What the tests of flex_attention share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    """Eager flex_attention compiles each call, and keeps it in a cache that all tests would share."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
