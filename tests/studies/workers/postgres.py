"""A PostgreSQL of a test's own: in a temporary folder, on a Unix socket in it, gone with the test."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INSTALL = "install it, for example with `apt-get install postgresql`, and psycopg with `pip install psycopg[binary]`"
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")  # it need not outlive the machine


def missing() -> str | None:
    """Why there can be no PostgreSQL here, None if there can."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return f"psycopg is not installed; {INSTALL}"
    if _programs() is None:
        return f"no PostgreSQL in /usr/lib/postgresql or on the path; {INSTALL}"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres or nobody to run it as"
    return None


@dataclass(frozen=True)
class Postgres:
    """A server that runs. `user`: whose processes it is made of, None for ours."""

    programs: Path
    folder: Path
    user: str | None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://studies@/postgres?host={self.folder}"

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' " + " ".join(f"-c {line}" for line in FAST)
        self._run("pg_ctl", "-w", "-o", options, "-l", f"{self.folder}/log", "start")

    def stop(self) -> None:
        """At once: sessions are ended in the middle of what they do."""
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def make(self) -> None:
        self._run("initdb", "-U", "studies", "-A", "trust", "--no-sync")

    def _run(self, program: str, *args: str) -> None:
        command = [self.programs / program, "-D", self.folder / "data", *args]
        # Into a file: the server inherits the output, and a pipe would stay open for as long as it runs.
        with open(self.folder / "out", "a") as out:
            subprocess.run(
                command, check=True, user=self.user, cwd=self.folder, stdout=out, stderr=out, timeout=60
            )


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A server for as long as the ``with`` lasts."""
    programs, user = _programs(), _user() if os.geteuid() == 0 else None
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="l0-pg-"))  # a socket's path must be short
    try:
        if user is not None:
            shutil.chown(folder, user)
        server = Postgres(programs, folder, user)
        server.make()
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):  # stopped by the test
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _user() -> str | None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)
