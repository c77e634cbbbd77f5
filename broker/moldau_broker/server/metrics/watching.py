"""What has to be looked at all the time for metrics to be true when somebody scrapes; some microseconds a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moldau_broker.raft.state import Role
from moldau_broker.server.metrics.elections import ElectionCounter
from moldau_broker.server.metrics.ownership import LOOK_MS, Ownership
from moldau_broker.server.metrics.rates import SAMPLE_MS, LogRates

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker
    from moldau_broker.server.membership import Membership


class Watching:
    """Looks twice a second.

    Attributes:
        ownership: which series this node tells.
        elections: counted while it is the controller.
        rates: of the metadata log.
    """

    def __init__(self, broker: Broker, member: Membership) -> None:
        self._broker = broker
        self._member = member
        self._stopped = False
        self._sampled_ms: int | None = None
        self.ownership = Ownership(
            broker.replicas, broker.metadata, broker.controller, lambda: member.is_forgotten, broker.clock
        )
        self.elections = ElectionCounter(lambda: broker.controller.is_active)
        self.rates = LogRates()

    def start(self) -> None:
        """Begin."""
        self._broker.metadata.subscribe(self.elections.follow)
        self._look()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True

    def _look(self) -> None:
        if self._stopped:
            return
        self.ownership.look()
        now = self._broker.clock.monotonic_ms()
        driver = self._member.runtime.driver
        if driver is not None and (self._sampled_ms is None or now - self._sampled_ms >= SAMPLE_MS):
            self._sampled_ms = now
            self.rates.sample(now, driver.node.log_end, leads=driver.node.role is Role.LEADER)
        self._broker.timers.call_later(LOOK_MS, self._look)
