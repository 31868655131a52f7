"""Storages: what can be opened, what can't and what is said then; and patience with one that is away."""

import importlib.util
from pathlib import Path

import optuna
import pytest
import sqlalchemy.exc

from l0compile.errors import ConfigError, L0CompileError, MissingDependency, StorageError
from l0compile.studies.workers import storage
from l0compile.studies.workers.patience import patiently, transient
from l0compile.studies.workers.storage import hidden, open_storage

NOWHERE = "postgresql+psycopg://me:secret@127.0.0.1:1/studies"
needs = {name: importlib.util.find_spec(name) is not None for name in ("psycopg", "grpc")}
AWAY = sqlalchemy.exc.OperationalError("select 1", None, Exception("the server is starting up"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "study.sqlite",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://db/studies",
        "postgresql://db/studies",
        "redis://db",
    ],
)
def test_another_kind_of_url_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match=r"storage: expected .*, got"):
        open_storage(url)


@pytest.mark.parametrize("url", ["grpc://", "grpc://host:port", "grpc://127.0.0.1:1/studies"])
@pytest.mark.skipif(not needs["grpc"], reason="grpcio is not installed: pip install grpcio")
def test_a_malformed_proxy_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="expected grpc://HOST:PORT"):
        open_storage(url)


@pytest.mark.skipif(not needs["psycopg"], reason="psycopg is not installed: pip install psycopg[binary]")
def test_a_database_that_does_not_answer_is_told_without_the_password() -> None:
    with pytest.raises(StorageError, match="check that it runs") as caught:
        open_storage(NOWHERE)
    assert "me:***@127.0.0.1:1" in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize("url", [NOWHERE, "grpc://127.0.0.1:1"])
def test_a_missing_driver_names_what_to_install(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'l0compile\[workers\]'"):
        open_storage(url)


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database" * 100)
    for file in ("text", "no/folder"):
        with pytest.raises(StorageError, match="expected a database that can be read and written"):
            open_storage(f"sqlite:///{tmp_path}/{file}")
    with pytest.raises(ConfigError, match="no such file"):
        open_storage(f"sqlite:///{tmp_path}/none", create=False)
    assert not (tmp_path / "none").exists()


def test_passwords_are_hidden() -> None:
    assert hidden("a://me:secret@host:5/x?y=z") == "a://me:***@host:5/x?y=z"
    assert hidden("a://me@host/x") == "a://me@host/x" and hidden("sqlite:////x/y") == "sqlite:////x/y"


def test_patience_outlasts_a_restart_and_nothing_else() -> None:
    left = [AWAY, AWAY]

    def operation() -> str:
        if left:
            raise left.pop()
        return "here"

    assert patiently(operation, 10.0) == "here"
    with pytest.raises(StorageError, match=r"expected an answer within 0 s, got .*starting up"):
        patiently(lambda: (_ for _ in ()).throw(AWAY), 0.0)
    with pytest.raises(KeyError):
        patiently(lambda: {}["a defect"], 10.0)


def test_what_is_patience_for() -> None:
    wrapped = optuna.exceptions.StorageInternalError("commit")
    wrapped.__cause__ = AWAY
    assert transient(AWAY) and transient(wrapped)
    wrapped.__cause__ = sqlalchemy.exc.PendingRollbackError("the connection broke")
    assert transient(wrapped)
    wrapped.__cause__ = sqlalchemy.exc.ArgumentError("a defect")
    assert not transient(wrapped)
    assert not transient(sqlalchemy.exc.IntegrityError("insert", None, Exception("twice")))
    assert not transient(L0CompileError()) and not transient(optuna.exceptions.UpdateFinishedTrialError())
