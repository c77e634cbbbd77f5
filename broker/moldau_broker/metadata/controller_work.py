"""What the active controller does by itself: fences silent brokers, gives leaderships back. Belongs to the loop.

Decisions are `ControllerCore.tick`'s; here is only the timer that calls it in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from moldau_broker.base.clock import Clock
from moldau_broker.metadata.controller import ControllerCore
from moldau_broker.metadata.errors import ControllerUnavailable, MetadataError
from moldau_broker.metadata.operation import Operation, View

logger = logging.getLogger(__name__)

_WAIT_MS_MIN: Final = 1
_WAIT_MS_MAX: Final = 60_000


class ControllerWork:
    """Calls the core's `tick` when something is due.

    Attributes:
        core: the decisions.
        on_active: called with each activation; brokers whose sessions nobody knows are looked into then.
    """

    def __init__(
        self, clock: Clock, view: Callable[[], View], submit: Callable[[Operation[None]], object]
    ) -> None:
        """`view` gives the newest state; `submit` decides and appends an operation, on a fresh view."""
        self.core = ControllerCore()
        self.on_active: Callable[[], None] | None = None
        self._clock = clock
        self._view = view
        self._submit = submit
        self._timer: asyncio.TimerHandle | None = None
        self._poked = False

    def activate(self) -> None:
        """This node is the controller from now on."""
        self.core.activate(self._clock.monotonic_ms(), self._view())
        if self.on_active is not None:
            self.on_active()
        self.poke()

    def deactivate(self) -> None:
        """It is no more."""
        self.core.deactivate()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def report_dead(self, broker_id: int, broker_epoch: int) -> None:
        """That incarnation's process is gone for certain."""
        if self.core.active:
            logger.warning("broker.gone", extra={"broker": broker_id, "broker_epoch": broker_epoch})
            self.core.report_dead(broker_id, broker_epoch)
            self.poke()

    def poke(self) -> None:
        """The image or a session changed: look at what is due at the end of this turn of the loop."""
        if self.core.active and not self._poked:
            self._poked = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._poked = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        core = self.core
        if not core.active:
            return
        try:
            for operation in core.tick(self._clock.monotonic_ms(), self._view()):
                self._submit(operation)
        except ControllerUnavailable as error:
            logger.warning("controller.work_refused", extra={"reason": str(error)})
        except MetadataError:
            logger.exception("controller.work_failed")
        due_ms = core.next_deadline_ms
        if due_ms is not None:
            wait_ms = min(max(due_ms - self._clock.monotonic_ms(), _WAIT_MS_MIN), _WAIT_MS_MAX)
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._run)
