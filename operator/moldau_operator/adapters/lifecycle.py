"""When a supervised process is started, called hung, stopped or killed. Pure: no asyncio, no clock, no signals.

A state machine fed with what happened (`spawned`, `exited`, `answered`, `missed`, `tick`, ...); every method
gives the commands to carry out. Times are monotonic milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from moldau_operator.seams.platform import NodeState


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a supervisor waits for what.

    Attributes:
        backoff_ms_min, backoff_ms_max: pause before a restart: doubles with each failure in a row. The first
            is short because most crashes are single; the last bounds log growth and CPU of a crash loop.
        healthy_ms: serving for this long makes earlier failures forgotten.
        probe_starting_ms, probe_ms: between two questions, while starting and afterwards.
        probe_timeout_ms: for one answer.
        misses_down: unanswered questions in a row after which the node counts as down.
        misses_hung: after which it is killed: about 20 s, so a stopped process (SIGSTOP), a dead disk or an
            endless loop, not a pause of a loaded laptop.
        young_ms: after a start, during which silence is not worth a second question over HTTP: a start takes
            0.3 s, and one that takes longer has something to say, such as how far recovery is.
        start_ms: for the first answer; recovery may take longer, but it answers meanwhile.
        stop_ms: for a stop in good order, then it is killed; `stop_hung_ms` for one that does not answer.
        hopeless_failures: failures in a row, without ever serving, after which it is called hopeless.
    """

    backoff_ms_min: int = 100
    backoff_ms_max: int = 10_000
    healthy_ms: int = 30_000
    probe_starting_ms: int = 50
    probe_ms: int = 1_000
    probe_timeout_ms: int = 2_000
    misses_down: int = 2
    misses_hung: int = 7
    young_ms: int = 2_000
    start_ms: int = 60_000
    stop_ms: int = 30_000
    stop_hung_ms: int = 5_000
    hopeless_failures: int = 3


class Command(Enum):
    """What the driver should do now."""

    SPAWN = auto()
    TERMINATE = auto()
    KILL = auto()


class Phase(Enum):
    """What the supervisor is doing about the process."""

    WAITING = auto()
    RUNNING = auto()
    STOPPING = auto()
    STOPPED = auto()


_LEGAL: Final = {
    Phase.STOPPED: {Phase.WAITING},
    Phase.WAITING: {Phase.RUNNING, Phase.STOPPED},
    Phase.RUNNING: {Phase.STOPPING, Phase.WAITING},
    Phase.STOPPING: {Phase.STOPPED, Phase.WAITING},
}

FINAL_EXITS: Final = {
    2: "its settings are refused",
    5: "its data directory cannot be used",
}
"""Exit statuses of a broker after which the same start fails the same way (`moldau_broker.server.exit_codes`)."""

_EXIT_WORDS: Final = {
    **FINAL_EXITS,
    3: "another process owns its data directory",
    4: "one of its ports is taken",
}


class Lifecycle:
    """One process. Read `state`, `phase`, `restarts`, `message` and `hopeless` at any time."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.phase = Phase.STOPPED
        self.state = NodeState.DOWN
        self.restarts = 0
        self.message = ""
        self.hopeless = False
        self._failures = 0
        self._start_at = 0
        self._kill_at = 0
        self._stop_ms = 0
        self._started_at = 0
        self._serving_since: int | None = None
        self._misses = 0
        self._answered = False
        self._condemned = ""
        self._again = False
        self._ever_served = False
        self._ever_started = False

    def start(self, now: int) -> list[Command]:
        """Run it and keep it running. While it waits after a failure: run it now."""
        if self.phase is Phase.STOPPING:
            self._again = True
            return []
        if self.phase is Phase.RUNNING:
            return []
        self._failures = 0
        self.hopeless = False
        self.message = ""
        self._wait(now)
        return self.tick(now)

    def restart(self, now: int) -> list[Command]:
        """Stop it in good order, then run it again."""
        if self.phase is not Phase.RUNNING:
            return self.start(now)
        self._again = True
        return self._begin_stop(now)

    def stop(self, now: int) -> list[Command]:
        """Stop it in good order and leave it stopped."""
        self._again = False
        if self.phase is Phase.RUNNING:
            return self._begin_stop(now)
        if self.phase is Phase.WAITING:
            self._become(Phase.STOPPED)
        return []

    def kill(self, now: int) -> list[Command]:
        """Stop waiting for a good order."""
        self._kill_at = now
        return [Command.KILL] if self.phase in {Phase.RUNNING, Phase.STOPPING} else []

    def tick(self, now: int) -> list[Command]:
        """Time passed."""
        if self.phase is Phase.WAITING and now >= self._start_at:
            return [Command.SPAWN]
        if self.phase is Phase.RUNNING:
            self._notice_health(now)
            if not self._answered and now - self._started_at >= self.patience.start_ms:
                return self._condemn(f"gave no answer for {self.patience.start_ms // 1000} s after its start")
            if self._misses >= self.patience.misses_hung and self._answered:
                return self._condemn(f"left {self._misses} health questions unanswered")
        if self.phase is Phase.STOPPING and now >= self._kill_at:
            self._kill_at = now + self._stop_ms
            return self._condemn(f"did not stop within {self._stop_ms // 1000} s")
        return []

    def spawned(self, now: int) -> None:
        """The process runs."""
        self._become(Phase.RUNNING)
        self.state = NodeState.STARTING
        if self._ever_started:
            self.restarts += 1
        self._ever_started = True
        self._started_at = now
        self._serving_since = None
        self._misses = 0
        self._answered = False
        self._condemned = ""

    def spawn_failed(self, now: int, reason: str) -> None:
        """The process could not be started at all."""
        self._fail(now, reason)

    def exited(self, now: int, status: int, last_words: str = "") -> None:
        """The process is gone.

        Args:
            status: negative for a signal, as `subprocess` gives it.
            last_words: the last line it wrote, which usually says why.
        """
        stopping = self.phase is Phase.STOPPING
        self.state = NodeState.DOWN
        self._serving_since = None
        if stopping:
            again, self._again = self._again, False
            if again:
                self._failures = 0
                self._wait(now)
            else:
                self._become(Phase.STOPPED)
            return
        if status in FINAL_EXITS:
            self.hopeless = True
        self._fail(now, self._condemned or say_exit(status, last_words))

    def answered(self, now: int, state: NodeState, detail: str = "") -> None:
        """It said how it is."""
        if self.phase not in {Phase.RUNNING, Phase.STOPPING}:
            return
        self._misses = 0
        self._answered = True
        self.state = NodeState.DRAINING if self.phase is Phase.STOPPING else state
        self.message = detail if state is not NodeState.SERVING else ""
        if state is NodeState.SERVING and self.phase is Phase.RUNNING:
            self._ever_served = True
            self.hopeless = False
            if self._serving_since is None:
                self._serving_since = now
        else:
            self._serving_since = None

    def missed(self, now: int) -> None:
        """It left a question unanswered. Before its first answer that is no news."""
        del now
        if self.phase is not Phase.RUNNING or not self._answered:
            return
        self._misses += 1
        if self._misses >= self.patience.misses_down:
            self.state = NodeState.DOWN
            self._serving_since = None
            self.message = "runs, but does not answer"

    def probe_after_ms(self) -> int:
        """How long to wait before the next question."""
        settled = self.phase is Phase.RUNNING and self.state is NodeState.SERVING
        return self.patience.probe_ms if settled or self._misses else self.patience.probe_starting_ms

    def next_tick_ms(self, now: int) -> int:
        """How long nothing will happen by time alone."""
        if self.phase is Phase.WAITING:
            return max(self._start_at - now, 0)
        if self.phase is Phase.STOPPING:
            return max(self._kill_at - now, 0)
        return 1_000

    def _condemn(self, why: str) -> list[Command]:
        self._condemned = self.message = f"{why}, so it was killed"
        return [Command.KILL]

    def _begin_stop(self, now: int) -> list[Command]:
        self._become(Phase.STOPPING)
        self.state = NodeState.DRAINING
        hung = self._misses >= self.patience.misses_down
        self._stop_ms = self.patience.stop_hung_ms if hung else self.patience.stop_ms
        self._kill_at = now + self._stop_ms
        return [Command.TERMINATE]

    def _wait(self, start_at: int) -> None:
        if self.phase is not Phase.WAITING:
            self._become(Phase.WAITING)
        self._start_at = start_at

    def _fail(self, now: int, words: str) -> None:
        self.state = NodeState.DOWN
        self.message = words
        self._failures += 1
        if not self._ever_served and self._failures >= self.patience.hopeless_failures:
            self.hopeless = True
        doublings = min(self._failures - 1, 20)
        self._wait(now + min(self.patience.backoff_ms_min << doublings, self.patience.backoff_ms_max))

    def _notice_health(self, now: int) -> None:
        if self._serving_since is not None and now - self._serving_since >= self.patience.healthy_ms:
            self._failures = 0

    def _become(self, phase: Phase) -> None:
        assert phase in _LEGAL[self.phase], f"{self.phase.name} -> {phase.name}"
        self.phase = phase


def say_exit(status: int, last_words: str = "") -> str:
    """An exit status in words."""
    if status < 0:
        return f"was killed by signal {-status}"
    words = ": ".join(part for part in (_EXIT_WORDS.get(status), last_words) if part)
    return f"stopped with exit status {status}" + (f": {words}" if words else "")
