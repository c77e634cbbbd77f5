"""A broker's life as it tells it: registering, heartbeats, being let go, and whatever the network makes of it."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.broker_session import (
    TRANSITIONS,
    BrokerSession,
    BrokerState,
    SessionTimes,
    is_awaited,
)
from moldau_broker.testing.control import ControlBench
from moldau_broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from moldau_broker.wire.messages.broker_registration import (
    BrokerRegistrationRequest,
    BrokerRegistrationResponse,
)
from moldau_broker.wire.schema import Struct

TIMES = SessionTimes()


class Life:
    """A session and its clock."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.session = BrokerSession(
            BrokerRegistrationRequest(broker_id=1, previous_broker_epoch=3), TIMES, self.now_ms, Random(0)
        )

    def step(self, offset: int = -1) -> Struct | None:
        return self.session.step(self.now_ms, offset)

    def next(self, offset: int = -1) -> Struct:
        """The next request, as soon as it is due."""
        deadline_ms = self.session.next_deadline_ms
        assert deadline_ms is not None
        self.now_ms = max(self.now_ms, deadline_ms)
        request = self.step(offset)
        assert request is not None
        return request

    def answer(self, request: Struct, response: Struct | None) -> None:
        self.session.on_answer(self.now_ms, request, response)

    def register(self, epoch: int = 10) -> None:
        request = self.next()
        assert isinstance(request, BrokerRegistrationRequest)
        self.answer(request, BrokerRegistrationResponse(broker_epoch=epoch))

    def heartbeat(self, offset: int = 10, **answer: object) -> BrokerHeartbeatRequest:
        request = self.next(offset)
        assert isinstance(request, BrokerHeartbeatRequest)
        self.answer(request, BrokerHeartbeatResponse(**answer))  # type: ignore[arg-type]
        return request


@pytest.fixture
def life() -> Life:
    """A broker that just started."""
    return Life()


def test_broker_registers_at_once_then_heartbeats_at_once(life: Life) -> None:
    """Start-up waits for no interval."""
    register = life.step()
    assert isinstance(register, BrokerRegistrationRequest)
    assert register.previous_broker_epoch == 3
    assert life.step() is None
    life.answer(register, BrokerRegistrationResponse(broker_epoch=10))
    assert life.session.state is BrokerState.FENCED
    heartbeat = life.step(9)
    assert isinstance(heartbeat, BrokerHeartbeatRequest)
    assert (heartbeat.broker_epoch, heartbeat.current_metadata_offset) == (10, 9)


def test_fenced_broker_says_at_once_that_it_caught_up(life: Life) -> None:
    """The next heartbeat would be half a second away."""
    life.register()
    life.heartbeat(9, is_fenced=True)
    assert life.step(9) is None
    caught_up = life.step(10)
    assert isinstance(caught_up, BrokerHeartbeatRequest)
    life.answer(caught_up, BrokerHeartbeatResponse(is_fenced=False))
    assert life.session.state is BrokerState.ACTIVE
    assert life.session.next_deadline_ms == life.now_ms + TIMES.heartbeat_ms


def test_caught_up_broker_that_stays_fenced_does_not_spin(life: Life) -> None:
    """It asks again soon, not at once."""
    life.register()
    life.heartbeat(10, is_fenced=True)
    assert life.step(10) is None
    assert life.session.next_deadline_ms == life.now_ms + TIMES.eager_ms


def test_active_broker_that_was_fenced_knows_it(life: Life) -> None:
    """And is active again as soon as the controller says so."""
    life.register()
    life.heartbeat(is_fenced=False)
    life.heartbeat(is_fenced=True)
    assert life.session.state is BrokerState.FENCED
    life.heartbeat(is_fenced=False)
    assert life.session.state is BrokerState.ACTIVE


@pytest.mark.parametrize("error", [ErrorCode.STALE_BROKER_EPOCH, ErrorCode.BROKER_ID_NOT_REGISTERED])
def test_broker_without_its_epoch_registers_anew(life: Life, error: ErrorCode) -> None:
    """Naming its last epoch: the process lost nothing since."""
    life.register()
    life.heartbeat(is_fenced=False)
    life.heartbeat(error_code=error)
    assert life.session.state is BrokerState.NOT_REGISTERED
    again = life.step()
    assert isinstance(again, BrokerRegistrationRequest)
    assert again.previous_broker_epoch == 10


def test_no_answer_is_retried_with_growing_waits(life: Life) -> None:
    """Doubled up to a second, a fifth more or less; an answer begins anew."""
    waits = []
    for _ in range(8):
        request = life.next()
        life.answer(request, None)
        waits.append(life.session.next_deadline_ms - life.now_ms)  # type: ignore[operator]
    expected = [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]
    assert all(0.8 * want <= wait <= 1.2 * want for want, wait in zip(expected, waits, strict=True))
    life.register()
    life.answer(life.next(), None)
    assert life.session.next_deadline_ms - life.now_ms <= 60  # type: ignore[operator]


def test_refused_registration_is_named_and_retried(life: Life) -> None:
    """Until it succeeds."""
    request = life.next()
    life.answer(request, BrokerRegistrationResponse(error_code=ErrorCode.DUPLICATE_BROKER_REGISTRATION))
    assert life.session.problem is ErrorCode.DUPLICATE_BROKER_REGISTRATION
    life.register()
    assert life.session.problem is None


def test_request_without_answer_is_given_up_and_its_late_answer_ignored(life: Life) -> None:
    """An old grant to shut down must not stop a broker that lives on."""
    life.register()
    lost = life.next(9)
    assert life.session.next_deadline_ms == life.now_ms + TIMES.answer_ms_max
    life.now_ms += TIMES.answer_ms_max
    assert life.step(9) is None
    again = life.next(9)
    life.answer(lost, BrokerHeartbeatResponse(is_fenced=False))
    assert life.session.state is BrokerState.FENCED
    life.answer(again, BrokerHeartbeatResponse(is_fenced=False))
    assert life.session.state is BrokerState.ACTIVE


def test_broker_says_at_once_that_it_wants_to_stop_and_waits_for_the_grant(life: Life) -> None:
    """Asking often meanwhile; then it says nothing more."""
    life.register()
    life.heartbeat(is_fenced=False)
    life.session.want_shut_down(life.now_ms)
    request = life.step(10)
    assert isinstance(request, BrokerHeartbeatRequest)
    assert request.want_shut_down
    life.answer(request, BrokerHeartbeatResponse(is_fenced=False))
    assert life.session.state is BrokerState.LEAVING
    assert life.session.next_deadline_ms == life.now_ms + TIMES.eager_ms
    life.heartbeat(is_fenced=True, should_shut_down=True)
    assert life.session.state is BrokerState.SHUTTING_DOWN
    assert life.session.next_deadline_ms is None
    assert life.step(10) is None


def test_broker_tells_at_once_what_it_knows_while_another_one_leaves(life: Life) -> None:
    """Whose shutdown is granted when all know who leads now; without that it waits for its interval."""
    life.register()
    life.heartbeat(10, is_fenced=False)
    assert life.step(11) is None
    told = life.session.step(life.now_ms, 11, awaited=True)
    assert isinstance(told, BrokerHeartbeatRequest)
    assert told.current_metadata_offset == 11
    life.answer(told, BrokerHeartbeatResponse(is_fenced=False))
    assert life.session.step(life.now_ms, 11, awaited=True) is None
    bench = ControlBench()
    bench.add_brokers(1, 2)
    bench.create_topic("t", [[1, 2]])
    assert not is_awaited(bench.image)
    bench.heartbeat(1, want_shut_down=True)
    assert is_awaited(bench.image)
    bench.kill(1)
    assert not is_awaited(bench.image)


def test_broker_that_is_not_registered_may_stop_at_once(life: Life) -> None:
    """Before it registered, and after it lost its epoch."""
    life.session.want_shut_down(life.now_ms)
    assert life.session.state is BrokerState.SHUTTING_DOWN
    other = Life()
    other.register()
    other.session.want_shut_down(other.now_ms)
    other.heartbeat(error_code=ErrorCode.STALE_BROKER_EPOCH)
    assert other.session.state is BrokerState.SHUTTING_DOWN


def test_answer_to_a_registration_after_the_wish_to_stop_changes_nothing(life: Life) -> None:
    """The controller fences it again by its silence."""
    request = life.next()
    life.session.want_shut_down(life.now_ms)
    life.answer(request, BrokerRegistrationResponse(broker_epoch=10))
    assert life.session.state is BrokerState.SHUTTING_DOWN


def test_new_controller_hears_of_the_broker_at_once(life: Life) -> None:
    """Its answer alone counts, not that of the one before."""
    life.register()
    life.heartbeat(is_fenced=False)
    lost = life.next(10)
    life.session.controller_changed(life.now_ms)
    again = life.step(10)
    assert again is not None
    life.answer(lost, BrokerHeartbeatResponse(error_code=ErrorCode.STALE_BROKER_EPOCH))
    assert life.session.state is BrokerState.ACTIVE


def test_every_state_can_end(life: Life) -> None:
    """From each state there is a way to SHUTTING_DOWN."""
    ends = {BrokerState.SHUTTING_DOWN}
    while more := {state for state in BrokerState if state not in ends and TRANSITIONS[state] & ends}:
        ends |= more
    assert ends == set(BrokerState)
