"""The supervised process's state machine: starts, back-off, hangs, stops. No process and no waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldau_operator.adapters.lifecycle import Command, Lifecycle, Patience, Phase, say_exit
from moldau_operator.seams.platform import NodeState


def serving(now: int = 0) -> Lifecycle:
    """A process that serves."""
    life = Lifecycle()
    assert life.start(now) == [Command.SPAWN]
    life.spawned(now)
    life.answered(now, NodeState.SERVING)
    return life


def until_spawn(life: Lifecycle, now: int) -> int:
    """When it is started again."""
    while Command.SPAWN not in life.tick(now):
        now += max(life.next_tick_ms(now), 1)
    return now


def test_a_start_goes_from_down_over_starting_to_what_the_node_says() -> None:
    """starting, recovering, serving."""
    life = Lifecycle()
    states = [life.state]
    life.start(0)
    life.spawned(0)
    states.append(life.state)
    for state in (NodeState.RECOVERING, NodeState.SERVING):
        life.answered(10, state, "logs 3/9")
        states.append(life.state)
    assert states == [NodeState.DOWN, NodeState.STARTING, NodeState.RECOVERING, NodeState.SERVING]
    assert life.message == ""


def test_a_crash_is_answered_at_once_and_crashes_in_a_row_ever_later() -> None:
    """100 ms, doubling, never above 10 s; a while of health makes it forget."""
    life, now, pauses = serving(), 0, []
    for _ in range(10):
        life.exited(now, -9)
        assert (life.state, life.message) == (NodeState.DOWN, "was killed by signal 9")
        again = until_spawn(life, now)
        pauses.append(again - now)
        now = again
        life.spawned(now)
        life.answered(now, NodeState.SERVING)
    assert pauses == [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]
    life.tick(now + life.patience.healthy_ms)
    life.exited(now, 1)
    assert until_spawn(life, now) - now == 100
    assert life.restarts == 10


def test_a_process_that_never_serves_is_hopeless_after_three_failures() -> None:
    """It is tried further, but whoever waits for it is told."""
    life, now = Lifecycle(), 0
    life.start(now)
    hopeless = []
    for _ in range(3):
        life.spawned(now)
        life.exited(now, 1)
        hopeless.append(life.hopeless)
        now = until_spawn(life, now)
    assert hopeless == [False, False, True]


def test_a_process_that_served_once_is_not_hopeless_for_crashing() -> None:
    """Only a start that cannot succeed is."""
    life, now = serving(), 0
    for _ in range(5):
        life.exited(now, 1)
        now = until_spawn(life, now)
        life.spawned(now)
    assert not life.hopeless


@pytest.mark.parametrize("status", [2, 5])
def test_an_exit_that_will_repeat_is_hopeless_at_once(status: int) -> None:
    """Refused settings and an unusable data directory: the exit statuses say so."""
    life = serving()
    life.exited(0, status, "moldau broker: no such setting")
    assert life.hopeless
    assert life.message.endswith("moldau broker: no such setting")


def test_a_new_start_forgets_that_it_was_hopeless() -> None:
    """Somebody fixed the settings."""
    life = serving()
    life.exited(0, 2)
    assert life.start(5) == [Command.SPAWN]
    assert not life.hopeless


def test_a_hung_process_is_down_after_two_questions_and_killed_after_seven() -> None:
    """Then it is started again like after any failure."""
    life = serving()
    commands: list[Command] = []
    states = []
    for _ in range(7):
        life.missed(0)
        states.append(life.state)
        commands += life.tick(0)
    assert states == [NodeState.SERVING] + [NodeState.DOWN] * 6
    assert commands == [Command.KILL]
    life.exited(1, -9)
    assert life.message == "left 7 health questions unanswered, so it was killed"
    assert until_spawn(life, 1) == 101


def test_a_pause_that_ends_in_time_costs_nothing() -> None:
    """SIGSTOP, SIGCONT: down, then serving again, same process."""
    life = serving()
    for _ in range(6):
        life.missed(0)
    life.answered(0, NodeState.SERVING)
    assert (life.state, life.tick(0), life.restarts) == (NodeState.SERVING, [], 0)


def test_silence_before_the_first_answer_is_a_slow_start_for_a_minute() -> None:
    """Recovery answers meanwhile; silence for longer is a hang."""
    life = Lifecycle()
    life.start(0)
    life.spawned(0)
    for _ in range(50):
        life.missed(0)
    assert (life.state, life.tick(59_999)) == (NodeState.STARTING, [])
    assert life.tick(60_000) == [Command.KILL]


def test_a_long_recovery_is_not_a_hang() -> None:
    """As long as it answers."""
    life = Lifecycle()
    life.start(0)
    life.spawned(0)
    for now in range(0, 3_600_000, 1_000):
        life.answered(now, NodeState.RECOVERING, "logs 3/9")
        assert life.tick(now) == []
    assert (life.state, life.message) == (NodeState.RECOVERING, "logs 3/9")


def test_a_stop_is_polite_for_thirty_seconds() -> None:
    """SIGTERM, then SIGKILL, and no further start."""
    life = serving()
    assert life.stop(0) == [Command.TERMINATE]
    assert life.state is NodeState.DRAINING
    assert life.tick(29_999) == []
    assert life.tick(30_000) == [Command.KILL]
    life.exited(30_001, -9)
    assert (life.phase, life.state, life.tick(10**9)) == (Phase.STOPPED, NodeState.DOWN, [])


def test_a_stop_of_a_node_that_does_not_answer_is_polite_for_five() -> None:
    """It probably never will."""
    life = serving()
    life.missed(0)
    life.missed(0)
    assert life.stop(0) == [Command.TERMINATE]
    assert (life.tick(4_999), life.tick(5_000)) == ([], [Command.KILL])


def test_a_stop_while_waiting_for_a_restart_just_stops() -> None:
    """Nothing runs, so nothing is signalled."""
    life = serving()
    life.exited(0, 1)
    assert (life.stop(1), life.phase) == ([], Phase.STOPPED)


def test_a_restart_stops_and_starts_without_a_pause() -> None:
    """It is no failure."""
    life = serving()
    assert life.restart(0) == [Command.TERMINATE]
    life.exited(5, 0)
    assert life.tick(5) == [Command.SPAWN]
    assert not life.hopeless


def test_a_stop_during_a_restart_wins() -> None:
    """The last wish counts."""
    life = serving()
    life.restart(0)
    life.stop(1)
    life.exited(5, 0)
    assert (life.phase, life.tick(5)) == (Phase.STOPPED, [])


def test_probes_are_frequent_only_while_starting() -> None:
    """A serving node is asked once a second."""
    life = Lifecycle()
    life.start(0)
    life.spawned(0)
    assert life.probe_after_ms() == Patience().probe_starting_ms
    life.answered(0, NodeState.SERVING)
    assert life.probe_after_ms() == Patience().probe_ms


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-15, "was killed by signal 15"),
        (1, "stopped with exit status 1"),
        (2, "stopped with exit status 2: its settings are refused"),
        (4, "stopped with exit status 4: one of its ports is taken"),
    ],
)
def test_exit_statuses_are_said_in_words(status: int, words: str) -> None:
    """The documented ones mean something."""
    assert say_exit(status) == words


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["start", "restart", "stop", "kill", "tick", "spawned", "failed", "exited", "answered", "missed"]
        ),
        st.integers(0, 70_000),
        st.sampled_from([-9, 0, 1, 2]),
        st.sampled_from(list(NodeState)),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_order_of_events_breaks_the_machine(steps: list[tuple[str, int, int, NodeState]]) -> None:
    """Whatever happens: legal phases only, at most one process, none wanted after a stop."""
    life, now, alive, asked = Lifecycle(), 0, False, False
    for step, elapsed, status, state in steps:
        now += elapsed
        commands: list[Command] = []
        match step:
            case "start" | "restart" | "stop" | "kill" | "tick":
                commands = getattr(life, step)(now)
                asked = step in {"start", "restart"} or (asked and step != "stop")
            case "spawned" | "failed" if Command.SPAWN in life.tick(now):
                if step == "spawned":
                    life.spawned(now)
                    alive = True
                else:
                    life.spawn_failed(now, "no port")
            case "exited" if alive:
                life.exited(now, status)
                alive = False
            case "answered":
                life.answered(now, state)
            case "missed":
                life.missed(now)
        assert alive is (life.phase in {Phase.RUNNING, Phase.STOPPING})
        assert not (alive and Command.SPAWN in commands)
        assert asked or life.phase in {Phase.STOPPED, Phase.STOPPING}
        assert alive or life.state is NodeState.DOWN
