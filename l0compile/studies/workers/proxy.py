"""A proxy in front of a storage: workers need one open port and no rights in the database."""

import importlib.util
import socket
import warnings

from l0compile.errors import ConfigError, MissingDependency
from l0compile.studies.workers.storage import INSTALL, PROXY_PORT, open_storage

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_storage(url: str, *, host: str = "127.0.0.1", port: int = PROXY_PORT) -> None:
    """Serve the storage ``url`` at ``grpc://host:port`` until the process is interrupted.

    There is no password and no encryption: whoever reaches the port can read and write every study. By default only
    programs on this machine reach it.

    Args:
        url: of the storage, see ``open_storage``.
        host: the address to listen on.
        port: the port to listen on.

    Raises:
        ConfigError: the address can't be listened on, or ``url`` is itself a proxy.
        MissingDependency: grpcio is not installed.
        StorageError: the storage can't be reached.
    """
    if url.startswith("grpc:"):
        raise ConfigError(f"--serve: expected the database itself, got the proxy {url}")
    if importlib.util.find_spec("grpc") is None:
        raise MissingDependency(f"--serve: needs the package grpcio: {INSTALL}")
    import optuna

    storage = optuna.storages.get_storage(open_storage(url))  # adds the cache that the server needs
    _check_free(host, port)
    address = f"[{host}]" if ":" in host else host
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.run_grpc_proxy_server(storage, host=address, port=port)


def _check_free(host: str, port: int) -> None:
    # gRPC would share the port of another proxy, and half of the workers would reach the wrong study.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--serve: expected a free port at an address of this machine, got {host}:{port}: {error}; choose "
            "another --port or --host"
        ) from error
