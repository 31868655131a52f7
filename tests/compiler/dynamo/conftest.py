"""Dynamo starts anew for every test, and so does what the backend says once."""

from collections.abc import Iterator

import pytest
import torch

from l0compile.compiler.dynamo import training


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    training.warn_of_training.cache_clear()
    yield
    torch._dynamo.reset()
