"""Patience with a storage that is away for a moment, such as a database or a proxy that restarts."""

import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from l0compile.errors import StorageError

PATIENCE_S = 120.0
LONGEST_PAUSE_S = 5.0
_T = TypeVar("_T")


def patiently(operation: Callable[[], _T], patience_s: float = PATIENCE_S) -> _T:
    """Run ``operation``, and repeat it with growing pauses while the storage is away.

    It may run again after it took effect (the answer may be lost, not the request), so repeating it must do no harm.

    Args:
        operation: what to run.
        patience_s: how long to go on trying, in seconds.

    Returns:
        Its result.

    Raises:
        StorageError: the storage stayed away for ``patience_s`` seconds.
    """
    deadline = time.monotonic() + patience_s
    for pause in pauses():
        try:
            return operation()
        except Exception as error:
            if not transient(error):
                raise
            if time.monotonic() + pause > deadline:
                raise StorageError(
                    f"storage: expected an answer within {patience_s:g} s, got {_reason(error)}; start the worker "
                    "again when the storage is back: completed trials are kept"
                ) from error
        time.sleep(pause)
    raise AssertionError("pauses never end")


def transient(error: BaseException) -> bool:
    """Whether the storage is away or busy, rather than the request being wrong."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError

    if isinstance(error, StorageInternalError):
        # Optuna gets the second when it repeats a query on a connection that broke during the first.
        return isinstance(error.__cause__, DBAPIError | PendingRollbackError)
    # A proxy whose database is away reports an unknown error, so the status code says too little.
    return (isinstance(error, DBAPIError) and not isinstance(error, IntegrityError)) or _from_proxy(error)


def pauses() -> Iterator[float]:
    """Yield seconds between tries, without end; random, so that workers don't return to a server all at once."""
    longest = 0.1
    while True:
        yield longest * random.uniform(0.5, 1.0)
        longest = min(2 * longest, LONGEST_PAUSE_S)


def _from_proxy(error: BaseException) -> bool:
    grpc = sys.modules.get("grpc")  # if it was never loaded, no error can come from it
    return grpc is not None and isinstance(error, grpc.RpcError)


def _reason(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())
