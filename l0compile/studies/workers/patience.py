"""Patience with a storage that is away for a moment: a database that restarts, a proxy that is started again."""

import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from l0compile.errors import DataError

PATIENCE_S = 120.0
LONGEST_PAUSE_S = 5.0
T = TypeVar("T")


def patiently(operation: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """The result of `operation`, tried again with growing pauses while the storage is away.

    It may run more than once although it took effect (the answer, not the request, may have been lost), so it must be
    one that does no harm when repeated. Raises DataError when the storage stays away for `patience_s` seconds.
    """
    deadline = time.monotonic() + patience_s
    for pause in pauses():
        try:
            return operation()
        except Exception as error:
            if not transient(error):
                raise
            if time.monotonic() + pause > deadline:
                raise DataError(
                    f"storage: expected an answer within {patience_s:g} s, got {_reason(error)}; start the worker "
                    "again when the storage is back: completed trials are kept"
                ) from error
        time.sleep(pause)
    raise AssertionError("pauses never end")


def transient(error: BaseException) -> bool:
    """Whether this is the storage being away or busy, rather than anything wrong with what it was asked."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError

    if isinstance(error, StorageInternalError):
        # The second is what Optuna meets when it repeats a query on a connection that broke during the first.
        return isinstance(error.__cause__, DBAPIError | PendingRollbackError)
    # A proxy whose own database is away reports an unknown error, so the status code says too little.
    return (isinstance(error, DBAPIError) and not isinstance(error, IntegrityError)) or _from_proxy(error)


def pauses() -> Iterator[float]:
    """Seconds between tries, without end. Random, so that workers that lost one server do not return all at once."""
    longest = 0.1
    while True:
        yield longest * random.uniform(0.5, 1.0)
        longest = min(2 * longest, LONGEST_PAUSE_S)


def _from_proxy(error: BaseException) -> bool:
    grpc = sys.modules.get("grpc")  # where it was never loaded, no error can come from it
    return grpc is not None and isinstance(error, grpc.RpcError)


def _reason(error: BaseException) -> str:
    return " ".join(str(error.__cause__ or error).split())
