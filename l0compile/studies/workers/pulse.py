"""Heartbeats: a worker beats for the trial that it runs, and listens for those of other workers.

A heartbeat is a growing number stored with the trial. A worker considers a trial dead if its number stood still while
the worker made `MISSED` heartbeats of its own. No clock of another machine is read. While the storage is away, or
this process is suspended, there are no heartbeats, so nobody is declared dead. A trial without any heartbeat (its
worker died right after asking for it) is judged in the same way.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from l0compile.studies.workers.patience import transient

if TYPE_CHECKING:
    import optuna

HEARTBEAT = "heartbeat"
HEARTBEAT_S = 10.0
MISSED = 6


@dataclass(frozen=True)
class Heard:
    """The last heartbeat heard of a trial (None: none yet), and the seconds of listening since."""

    beat: Mapping[str, Any] | None
    quiet_s: float

    def dead(self, every_s: float) -> bool:
        """Whether too many were missed. The slower of both workers sets the pace: it may be the listener."""
        own = 0.0 if self.beat is None else float(self.beat["every_s"])
        return self.quiet_s >= MISSED * max(own, every_s)


def listen(
    known: Mapping[int, Heard], running: Iterable["optuna.trial.FrozenTrial"], passed_s: float
) -> dict[int, Heard]:
    """Return what is known of each running trial after listening for ``passed_s`` more seconds."""
    heard: dict[int, Heard] = {}
    for trial in running:
        beat, last = trial.user_attrs.get(HEARTBEAT), known.get(trial.number)
        still = last is not None and last.beat == beat
        heard[trial.number] = Heard(beat, last.quiet_s + passed_s if last is not None and still else 0.0)
    return heard


class Pulse:
    """Beats for one trial at a time and listens, in a thread of its own, while the ``with`` block lasts."""

    def __init__(self, study: "optuna.study.Study", every_s: float) -> None:
        self.every_s = every_s
        self._study = study
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._count = 0
        self._held: optuna.trial.Trial | None = None
        self._heard: dict[int, Heard] = {}
        self._at: float | None = None
        self._broken: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(
            timeout=5
        )  # it may wait for a storage that is away; as a daemon it then ends with the process

    def hold(self, trial: "optuna.trial.Trial") -> None:
        """Beat for ``trial`` from now on."""
        self._held = trial
        self._beat(trial)

    def release(self) -> None:
        """Stop beating."""
        self._held = None

    def dead(self) -> tuple[int, ...]:
        """Return the numbers of running trials whose worker is considered dead."""
        if self._broken is not None:
            raise self._broken
        held = self._held
        own = None if held is None else held.number
        return tuple(n for n, heard in self._heard.items() if n != own and heard.dead(self.every_s))

    def _run(self) -> None:
        try:
            while not self._stop.wait(self.every_s):
                self._tick()
        except Exception as error:
            self._broken = error  # the next `dead` raises it: a worker without a pulse must not go on

    def _tick(self) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            held = self._held
            if held is not None:
                # The trial has just ended, or another worker gave it up; `work` finds out which.
                with contextlib.suppress(UpdateFinishedTrialError):
                    self._beat(held)
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        except Exception as error:
            if not transient(error):
                raise
            return
        now = time.monotonic()
        # Only time during which a heartbeat would have been heard counts.
        passed = 0.0 if self._at is None else min(now - self._at, 2 * self.every_s)
        self._at = now
        own = None if held is None else held.number
        self._heard = listen(self._heard, (trial for trial in running if trial.number != own), passed)

    def _beat(self, trial: "optuna.trial.Trial") -> None:
        self._count += 1
        beat = {"worker": self._worker, "count": self._count, "every_s": self.every_s}
        trial.set_user_attr(HEARTBEAT, beat)
