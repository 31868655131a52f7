"""Where a study is stored: a SQLite file, a PostgreSQL database, or a proxy in front of either.

Optuna reads a state, checks it and changes it in one transaction. PostgreSQL locks the row it read. SQLite would let
two processes read the same state before either writes, and give one trial to both; so here every transaction on
SQLite takes the lock before it reads.

Optuna's own heartbeats are off: they stop at the first error of the database, miss a worker that died before its
first heartbeat, mistake a database that was away for dead workers, and don't pass through the proxy. Ours are in
``pulse.py``.
"""

import importlib.util
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from l0compile.errors import ConfigError, MissingDependency, StorageError
from l0compile.studies.workers.patience import PATIENCE_S, pauses

if TYPE_CHECKING:
    import optuna
    import sqlalchemy

KINDS = "sqlite:///FILE, postgresql+psycopg://USER@HOST/DATABASE or grpc://HOST:PORT"
INSTALL = "pip install 'l0compile[workers]'"
BUSY_S = 60
PROXY_PORT = 13000
OPENING_TRIES = 4
# If a host vanishes, TCP takes hours to notice; until then it must not hold a lock or keep a worker waiting.
POSTGRES_LIMITS: dict[str, str] = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "options": "-c idle_in_transaction_session_timeout=30000 -c tcp_keepalives_idle=30 "
    "-c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}


def open_storage(
    url: str, *, create: bool = True, patience_s: float = PATIENCE_S
) -> "optuna.storages.BaseStorage":
    """Open the storage behind ``url`` and check that it can be reached.

    Args:
        url: ``sqlite:///FILE`` (processes of one machine), ``postgresql+psycopg://USER@HOST/DATABASE``, or
            ``grpc://HOST:PORT`` (a proxy, see ``serve_storage``).
        create: create a SQLite file that does not exist; False: raise an error.
        patience_s: how long every connection waits for a PostgreSQL that is away, in seconds.

    Raises:
        ConfigError: the URL is of another kind, the file does not exist, or another version of Optuna made the tables.
        StorageError: the storage can't be reached.
        MissingDependency: the driver is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme == "grpc":
        return _open_proxy(url)
    if scheme == "sqlite":
        return _open_sqlite(url, create)
    if scheme == "postgresql+psycopg":
        return _open_postgres(url, patience_s)
    raise ConfigError(f"storage: expected {KINDS}, got {hidden(url)!r}")


def hidden(url: str) -> str:
    """Return ``url`` without its password, for messages."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}").geturl()


def _open_sqlite(url: str, create: bool) -> "optuna.storages.RDBStorage":
    from sqlalchemy import event

    file = url.removeprefix("sqlite:///").partition("?")[0]
    if not url.startswith("sqlite:///") or file in ("", ":memory:"):
        raise ConfigError(f"storage: expected sqlite:///FILE, which other processes can open, got {url!r}")
    if not create and not Path(file).is_file():
        raise ConfigError(f"storage: expected a study in {file}, got no such file; check the path")
    storage = _open_database(url, {"connect_args": {"timeout": BUSY_S}})
    event.listen(storage.engine, "connect", _leave_transactions_to_us)
    event.listen(storage.engine, "begin", _begin_with_the_lock)
    storage.engine.dispose()  # connections made before the two lines above ignore them
    return storage


def _leave_transactions_to_us(connection: Any, _record: object) -> None:
    connection.isolation_level = None


def _begin_with_the_lock(connection: "sqlalchemy.Connection") -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _open_postgres(url: str, patience_s: float) -> "optuna.storages.RDBStorage":
    from sqlalchemy import event

    if importlib.util.find_spec("psycopg") is None:
        raise MissingDependency(f"storage: PostgreSQL needs the package psycopg: {INSTALL}")
    query = urlsplit(url).query
    limits = {name: value for name, value in POSTGRES_LIMITS.items() if f"{name}=" not in query}
    storage = _open_database(url, {"connect_args": limits, "pool_pre_ping": True})

    def connect(dialect: Any, _record: object, args: Any, options: Any) -> Any:
        deadline = time.monotonic() + patience_s
        for pause in pauses():
            try:
                return dialect.connect(*args, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
        raise AssertionError("pauses never end")

    # Only from now on: a database that can't be reached at first has a wrong address, which is an error at once.
    event.listen(storage.engine, "do_connect", connect)
    return storage


def _open_database(url: str, options: dict[str, Any]) -> "optuna.storages.RDBStorage":
    import optuna
    from sqlalchemy.exc import ArgumentError, DBAPIError

    for tries, pause in enumerate(pauses(), start=1):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except (DBAPIError, optuna.exceptions.StorageInternalError) as error:
            # If processes open a new database at the same moment, all try to create its tables, and one succeeds.
            if tries == OPENING_TRIES:
                reason = " ".join(str(getattr(error, "orig", None) or error.__cause__ or error).split())
                raise StorageError(
                    f"storage {hidden(url)}: expected a database that can be read and written, got {reason}; check "
                    "that it runs, its address and your rights, then start again"
                ) from error
        except (ArgumentError, KeyError, IndexError, ValueError) as error:
            raise ConfigError(f"storage: expected {KINDS}, got {hidden(url)!r}: {error}") from error
        except RuntimeError as error:
            raise ConfigError(f"storage {hidden(url)}: {error}") from error
        time.sleep(pause)
    raise AssertionError("pauses never end")


def _open_proxy(url: str) -> "optuna.storages.GrpcStorageProxy":
    if importlib.util.find_spec("grpc") is None:
        raise MissingDependency(f"storage: a grpc:// storage needs the package grpcio: {INSTALL}")
    import optuna

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PROXY_PORT
    except ValueError as error:
        raise ConfigError(f"storage: expected grpc://HOST:PORT, got {url!r}: {error}") from error
    if host is None or parts.path.strip("/"):
        raise ConfigError(f"storage: expected grpc://HOST:PORT, got {url!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.GrpcStorageProxy(host=host, port=port)
    try:
        storage.wait_server_ready(timeout=10)
    except ConnectionError as error:
        raise StorageError(
            f"storage {url}: expected a proxy that answers, got nothing in 10 s; start one there with "
            f"`l0compile worker --serve STORAGE --port {port}`, or check host and port"
        ) from error
    return storage
