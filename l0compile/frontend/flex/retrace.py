"""What PyTorch keeps of earlier calls of flex_attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

from torch._C._dynamo.eval_frame import reset_code
from torch.nn.attention.flex_attention import flex_attention


@contextmanager
def forgetting_earlier_calls() -> Iterator[None]:
    """Trace the block without what Dynamo has compiled for earlier calls of flex_attention, and leave nothing behind.

    Outside of torch.compile flex_attention compiles each call for itself and keeps the result with its guards. Tracing
    meets guards of calls with other arguments, whose failure PyTorch 2.13 cannot always explain: it raises TypeError.
    """
    for code in _compiled():
        reset_code(code)
    try:
        yield
    finally:
        for code in _compiled():
            reset_code(code)


def _compiled() -> list[CodeType]:
    return [constant for constant in flex_attention.__code__.co_consts if isinstance(constant, CodeType)]
