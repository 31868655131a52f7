"""Workers in processes of their own: killed, served by a proxy, on a database that restarts."""

import importlib.util
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fleet
import optuna
import postgres
import pytest

from l0compile.cli import main
from l0compile.studies.fit.search_job import objective_of
from l0compile.studies.workers.jobs import join_study
from l0compile.studies.workers.retry import RETRY_OF
from l0compile.studies.workers.storage import open_storage
from l0compile.studies.workers.worker import work

Cli = Callable[..., tuple[int, str, str]]
needs_postgres = pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))
needs_grpc = pytest.mark.skipif(
    importlib.util.find_spec("grpc") is None, reason="grpcio is not installed: pip install grpcio"
)


def job(trials: int, seconds: float = 0.0) -> dict[str, Any]:
    return {"kind": "simulated", "trials": trials, "seconds": seconds, "heartbeat_s": 0.15}


@pytest.fixture
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as started:
        yield started


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.sqlite"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*argv: str) -> tuple[int, str, str]:
        code = main(argv)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check(account: dict[str, int], wanted: int, workers: int, kills: int) -> None:
    assert account["lost"] == account["twice"] == account["workers that failed"] == 0, account
    assert account["kills"] == kills, account
    assert wanted <= account["complete"] < wanted + workers, account


def test_the_trial_of_a_killed_worker_is_tried_again_by_another(url: str) -> None:
    # Enough trials that the other worker is still at work when it hears that this one is gone, even if that began late.
    study = fleet.new_study(url, job(12, 0.4))
    book = fleet.Book(study)
    with fleet.fleet(url, 2) as crew:
        killed = None
        while killed is None and crew.alive():
            killed = fleet.kill_while_it_works(study, crew, 0)
        crew.join(60)
        assert crew.codes() == [0, 0]
    assert killed is not None
    (again,) = [trial for trial in study.trials if trial.user_attrs.get(RETRY_OF) == killed.number][:1]
    assert again.state.name == "COMPLETE" and again.params == killed.params
    account = book.account()
    assert account["lost"] == account["twice"] == 0 and 12 <= account["complete"] <= 13, account


def test_the_command_completes_a_study_and_says_so(url: str, cli: Cli) -> None:
    fleet.new_study(url, job(3))
    code, out, err = cli("worker", "--storage", url, "--json")
    assert code == 0 and err.count("  trial ") == 3
    assert json.loads(out) == {"storage": url, "study": "l0compile", "completed": 3, "wanted": 3}


def test_the_command_says_what_is_wrong(url: str, tmp_path: Path, cli: Cli) -> None:
    def told(*argv: str) -> str:
        code, _, err = cli("worker", *argv)
        assert code == 1 and "Traceback" not in err
        return err

    assert "--storage" in told() and "--storage" in told("--storage", url, "--serve", url)
    assert "no such file" in told("--storage", url) and not (tmp_path / "study.sqlite").exists()
    study = fleet.new_study(url, job(1))
    assert "got these: 'l0compile'" in told("--storage", url, "--study", "other")
    study.set_user_attr("job", {"kind": "quantum", "trials": 1})
    assert "expected one of" in told("--storage", url) and "quantum" in told("--storage", url)
    study.set_user_attr("job", {"kind": "simulated", "trials": 0})
    assert "trials: expected a whole number above 0, got 0" in told("--storage", url)
    study.set_user_attr("job", {"kind": "simulated", "trials": 1, "heartbeat_s": 0})
    assert "heartbeat_s" in told("--storage", url)
    optuna.create_study(storage=open_storage(url), study_name="bare")
    assert "expected a job" in told("--storage", url, "--study", "bare")


@needs_grpc
def test_workers_behind_a_proxy(url: str, cli: Cli) -> None:
    fleet.new_study(url, job(4))
    port = free_port()
    proxy = fleet.spawn("worker", "--serve", url, "--port", str(port))
    try:
        code, out, _ = cli("worker", "--storage", f"grpc://127.0.0.1:{port}", "--json")
        assert code == 0 and json.loads(out)["completed"] == 4
        code, _, err = cli("worker", "--serve", url, "--port", str(port))
        assert code == 1 and "expected a free port" in err
    finally:
        proxy.terminate()
        proxy.join(timeout=10)
    assert proxy.exitcode == 130
    assert len(join_study(open_storage(url), "l0compile").trials) == 4


@needs_grpc
def test_a_proxy_for_other_machines_warns(url: str, cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = cli("worker", "--serve", url, "--host", "127.0.0.2", "--port", port)
    assert code == 1 and "everyone who reaches 127.0.0.2" in err and "expected a free port" in err


@needs_postgres
def test_a_database_that_restarts_costs_no_trial(server: postgres.Postgres, tmp_path: Path) -> None:
    fleet.new_study(server.url, job(6))
    study = join_study(open_storage(server.url), "l0compile")
    evaluate = objective_of(job(6), tmp_path)

    def restarting(trial: optuna.trial.Trial) -> float:
        if trial.number == 2:
            server.stop()
            server.start()
        return evaluate(trial)

    assert work(study, restarting, 6, heartbeat_s=0.15) == 6
    assert sum(trial.state.name == "COMPLETE" for trial in study.trials) == 6


@needs_postgres
@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_count_nothing_twice(server: postgres.Postgres) -> None:
    account = fleet.run_with_kills(server.url, job(500, 0.4), workers=4, kills=50, timeout_s=400)
    check(account, wanted=500, workers=4, kills=50)
    assert account["retries"] > 0
