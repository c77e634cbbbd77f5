"""The operator's life: hold the Lease, then watch and reconcile until it is lost or somebody asks to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from moldau_broker.base.clock import Clock
from moldau_operator.errors import OperatorError
from moldau_operator.handlers.lease import RENEW_S, Lease
from moldau_operator.handlers.passes import Passes, PassReport
from moldau_operator.handlers.watches import WATCHED, Watches
from moldau_operator.reconcile.report import rfc3339
from moldau_operator.resources.meta import Key
from moldau_operator.seams.api_server import EVENTS, RESOURCES, ApiError, ApiServer, Object
from moldau_operator.settings import OperatorSettings
from moldau_operator.telemetry.metrics import OperatorMetrics

logger = logging.getLogger(__name__)

BUSY_S: Final = 0.5
QUIET_S: Final = 0.1
"""Events come in bursts; a pass waits for the burst's end."""

WATCH_BEHIND_MS: Final = 60_000
PASS_AGE_MS_MAX: Final = 120_000
RETRY_S: Final = 2.0


class Operator:
    """One process. `run` returns when it should leave; the exit status is 0 when it was asked to.

    Args:
        lease: held before anything else; `passes` may write only while it is (`handlers.fence`).
        passes: what reconciles.
        make_watches: makes the watches, given what to call when something changed.
    """

    def __init__(
        self,
        api: ApiServer,
        lease: Lease,
        passes: Passes,
        settings: OperatorSettings,
        clock: Clock,
        make_watches: Callable[[str, Callable[[str], None], Callable[[], int]], Watches] = Watches,
        renew_s: float = RENEW_S,
        metrics: OperatorMetrics | None = None,
    ) -> None:
        self._metrics = metrics or OperatorMetrics(settings.namespace, clock)
        self._metrics.watch_ages, self._metrics.watches_behind = self.ages, self._ages_behind
        self._api = api
        self._passes = passes
        self._settings = settings
        self._clock = clock
        self._lease = lease
        self._renew_s = renew_s
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._watches = make_watches(settings.namespace, self._heard, clock.monotonic_ms)
        self._behind_ms: dict[tuple[str, str], int] = {}
        self._passed_ms = clock.monotonic_ms()
        self._told = 0
        self.leads = False
        """Whether it holds the Lease and finished a pass."""

    def request_stop(self) -> None:
        """Ask it to leave in good order."""
        self._stop.set()
        self._wake.set()

    def health(self) -> str:
        """Why this process should be started anew, in words; empty while all is well."""
        now = self._clock.monotonic_ms()
        if self._lease.renewed_ms is None:
            return ""
        if now - self._passed_ms > PASS_AGE_MS_MAX:
            return f"no pass was finished for {(now - self._passed_ms) // 1000} s"
        late = [key for key, since in self._behind_ms.items() if now - since > WATCH_BEHIND_MS]
        return f"the watch of {late[0][0]} is silent about {late[0][1]}" if late else ""

    def ages(self) -> Mapping[str, int]:
        """Seconds since each watch last told something; -1 where it never did."""
        now = self._clock.monotonic_ms()
        heard = self._watches.heard_ms
        return {plural: (now - heard[plural]) // 1000 if plural in heard else -1 for plural in WATCHED}

    def _ages_behind(self) -> Mapping[str, float]:
        now = self._clock.monotonic_ms()
        return {
            plural: max(
                ((now - since) / 1000 for key, since in self._behind_ms.items() if key[0] == plural),
                default=0.0,
            )
            for plural in WATCHED
        }

    def _heard(self, plural: str) -> None:
        self._metrics.heard(plural)
        self._wake.set()

    async def run(self) -> int:
        """Hold the Lease, watch and reconcile."""
        if not await self._acquired():
            return 0
        self._metrics.leads = True
        logger.info("lease.held", extra={"identity": self._settings.identity})
        watching = asyncio.create_task(self._watches.run(self._stop))
        renewing = asyncio.create_task(self._renew())
        working = asyncio.create_task(self._work())
        stopping = asyncio.create_task(self._stop.wait())
        tasks = (watching, renewing, working, stopping)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # A signal ends kopf before it reaches anybody else: kopf takes the handlers of SIGTERM and SIGINT.
        signalled = watching.done() and not watching.cancelled() and watching.exception() is None
        asked = (self._stop.is_set() or signalled) and not renewing.done()
        if not asked:
            why = "the Lease is lost" if renewing.done() else "a task ended by itself"
            failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
            cause = next((error for error in failed if error is not None), None)
            logger.error("operator.leaves", extra={"reason": why}, exc_info=cause)
        self._metrics.leads = False
        self.request_stop()
        for task in (renewing, working, stopping):
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.gather(*tasks, return_exceptions=True)
        await self._passes.close()
        if asked:
            with suppress(ApiError):
                await self._lease.let_go()
        return 0 if asked else 1

    async def _acquired(self) -> bool:
        while not self._stop.is_set():
            try:
                if await self._lease.try_hold():
                    return True
            except ApiError as error:
                logger.warning("lease.unknown", extra={"reason": str(error)})
            await self._sleep(RETRY_S)
        return False

    async def _renew(self) -> None:
        """Ends when the Lease is lost."""
        while not self._lease.is_lost:
            await asyncio.sleep(self._renew_s)
            try:
                async with asyncio.timeout(self._renew_s):  # an answer later than that would hide the loss
                    if not await self._lease.try_hold() and self._lease.renewed_ms is None:
                        return
            except (ApiError, TimeoutError) as error:
                logger.warning("lease.unknown", extra={"reason": str(error) or "no answer in time"})

    async def _work(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            pause = self._settings.resync_s
            try:
                report = await self._passes.run()
            except OperatorError as error:
                logger.warning("pass.failed", extra={"reason": str(error)})
                pause = RETRY_S
            else:
                self.leads, self._passed_ms = True, self._clock.monotonic_ms()
                self._compare(report.objects)
                await self._tell(report)
                if report.busy:
                    pause = BUSY_S
            await self._sleep(pause)
            await asyncio.sleep(QUIET_S)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _compare(self, objects: Mapping[Key, Object]) -> None:
        """Note since when a watch has kept silent about a version that a list has shown."""
        now = self._clock.monotonic_ms()
        behind = {}
        for key, one in objects.items():
            plural = RESOURCES[key.kind].plural
            if self._watches.is_behind(plural, key.name, str(one["metadata"].get("resourceVersion", ""))):
                behind[plural, key.name] = self._behind_ms.get((plural, key.name), now)
        self._behind_ms = behind

    async def _tell(self, report: PassReport) -> None:
        """Events for people; that one is lost is no reason to stop."""
        for event in report.events:
            logger.log(
                logging.WARNING if event.warning else logging.INFO, "event", extra={"text": str(event)}
            )
            about = report.objects.get(event.subject)
            if about is None:
                continue
            self._told += 1
            when = self._clock.wall_ms()
            with suppress(ApiError):
                await self._api.create(
                    _event(event.subject, about, str(event), event.warning, when, self._told)
                )


def _event(key: Key, about: Object, text: str, warning: bool, wall_ms: int, number: int) -> Object:
    resource, when = RESOURCES[key.kind], rfc3339(wall_ms)
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{key.name}.{wall_ms:x}{number:x}"[-253:], "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "name": key.name,
            "namespace": key.namespace,
            "uid": about["metadata"].get("uid", ""),
        },
        "type": "Warning" if warning else "Normal",
        "reason": "NeedsAttention" if warning else "Reconciled",
        "message": text[:1024],
        "source": {"component": "moldau-operator"},
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }
