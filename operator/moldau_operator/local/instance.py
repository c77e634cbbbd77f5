"""A running instance: one loop that reconciles, and the few things others may ask of it.

Everything that changes the world happens in the loop, one pass after the other; `apply`, `look` and
`request_stop` leave a wish, wake the loop and wait for the pass that grants it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from moldau_broker.base.clock import Clock
from moldau_operator.adapters.brokers import KafkaAdmin
from moldau_operator.errors import OperatorError
from moldau_operator.local.memory import Memory
from moldau_operator.local.overview import Share, remembered
from moldau_operator.local.reconciliation import PassResult, Reconciliation
from moldau_operator.local.snapshot import EventLine, NodeLine, Snapshot, message_of, state_of
from moldau_operator.local.state import Instance
from moldau_operator.resources.bundle import Bundle
from moldau_operator.seams.broker_admin import BrokerAdmin
from moldau_operator.seams.platform import NodeState, ObservedNode, Platform

RESYNC_S: Final = 5.0
"""How often a converged instance looks for drift: a handful of requests, far below 1 % of a core."""

PENDING_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between passes while something is under way; the last one repeats."""

EVENTS_MAX: Final = 200
LOOK_S: Final = 3.0
"""How long a status waits for fresh figures."""

GROUP_PATIENCE_MS: Final = 10_000
"""How long `apply` waits for groups: the cluster serves without them, and a reset may wait for its consumers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an `apply` came to.

    Attributes:
        actions: what was done, in words.
        stalled: what will not be done until the YAML changes, in words.
        failed: why the cluster does not run; empty when it does.
        stopped: whether it was asked to stop before it was there.
    """

    actions: tuple[str, ...] = ()
    stalled: tuple[str, ...] = ()
    failed: str = ""
    stopped: bool = False


class LocalPlatform(Platform, Protocol):
    """A platform whose nodes are this process's own to end."""

    def nodes(self) -> tuple[ObservedNode, ...]:
        """`observe`, for callers that cannot wait."""
        ...

    async def end_orphans(self) -> list[int]:
        """End nodes that outlived an earlier run; gives their pids."""
        ...

    def retry(self) -> None:
        """Start nodes that are down now, without waiting out their pauses."""
        ...

    async def stop(self) -> None:
        """Stop all nodes in good order."""
        ...

    def kill(self) -> None:
        """Do not wait for good order any longer."""
        ...


class LocalAdmin(BrokerAdmin, Protocol):
    """An admin client that is this process's own to close."""

    async def close(self) -> None:
        """Close all connections."""
        ...


class LocalInstance:
    """Looks after one instance. `run` must be running for anything to happen.

    Args:
        make_platform: makes the platform, given what to call when a node changed and with a line for people.
        make_admin: makes the admin client, given what tells the nodes' addresses, for Kafka's protocol and HTTP.
    """

    def __init__(
        self,
        instance: Instance,
        memory: Memory,
        clock: Clock,
        make_platform: Callable[[Callable[[], None], Callable[[str], None]], LocalPlatform],
        make_admin: Callable[[Callable[[], str], Callable[[], Sequence[str]]], LocalAdmin] = KafkaAdmin,
        *,
        resync_s: float = RESYNC_S,
        look_s: float = LOOK_S,
    ) -> None:
        self.instance = instance
        self.changed = asyncio.Event()
        """Set whenever a new `snapshot` would differ; for views, which clear it."""
        self.ended = asyncio.Event()
        """Set when everything is stopped."""
        self.applied_once = asyncio.Event()
        """Set by the first `apply`."""
        self._memory = memory
        self._clock = clock
        self._resync_s = resync_s
        self._look_s = look_s
        self._platform = make_platform(self._nodes_changed, self._warn)
        self._admin = make_admin(self._bootstrap, self._admin_addresses)
        self._reconciliation = Reconciliation(self._platform, self._admin, memory, clock)
        self._started_ms = clock.wall_ms()
        self._bundle: Bundle | None = None
        self._version = 0
        self._actions: list[str] = []
        self._last = PassResult(overview=remembered(memory))
        self._last_version = 0
        self._passes_begun = 0
        self._passes_done = 0
        self._pass_done = asyncio.Condition()
        self._wake = asyncio.Event()
        self._stopping = False
        self._events: deque[EventLine] = deque(maxlen=EVENTS_MAX)
        self._listeners: list[Callable[[EventLine], None]] = []
        self._nodes: dict[int, ObservedNode] = {}

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping

    async def apply(self, bundle: Bundle) -> Applied:
        """Make these resources the wanted ones; returns when they are reached, or cannot be."""
        self._bundle = self._memory.identify(bundle)
        self._version += 1
        self._actions = []
        self._platform.retry()
        self.applied_once.set()
        version, patience_ends = self._version, self._clock.monotonic_ms() + GROUP_PATIENCE_MS
        self._wake.set()
        while True:
            await self._pass_after(self._passes_done)
            if self._stopping:
                return Applied(failed="it was stopped meanwhile", stopped=True)
            if self._version != version:
                return Applied(failed="another `moldau up` changed the resources meanwhile")
            failed = self._say_hopeless()
            if failed:
                return Applied(actions=tuple(self._actions), failed=failed)
            done = self._last
            if self._last_version != version or done.actions or done.pending:
                continue
            if done.pending_groups and self._clock.monotonic_ms() < patience_ends:
                continue
            return Applied(actions=tuple(self._actions), stalled=tuple(done.stalled))

    async def look(self) -> Snapshot:
        """The instance as it is now: a pass that begins after the question is waited for, but not for long."""
        begun = self._passes_begun
        self._wake.set()
        with suppress(
            TimeoutError
        ):  # a broker that hangs makes a pass wait; the nodes' states are live anyway
            async with asyncio.timeout(self._look_s):
                await self._pass_after(begun)
        return self.snapshot()

    def listen(self, listener: Callable[[EventLine], None]) -> Callable[[], None]:
        """Be told every event from now on; call the result to stop that."""
        self._listeners.append(listener)

        def forget() -> None:
            if listener in self._listeners:  # it may have been dropped meanwhile
                self._listeners.remove(listener)

        return forget

    def request_stop(self) -> None:
        """Stop everything in good order; `run` returns when that is done."""
        self._stopping = True
        self._wake.set()
        self.changed.set()

    def request_kill(self) -> None:
        """Stop everything at once."""
        self.request_stop()
        self._platform.kill()

    async def run(self) -> None:
        """Reconcile until asked to stop, then stop the nodes."""
        try:
            await self._end_orphans()
            quiet = 0
            while not self._stopping:
                self._wake.clear()
                self._passes_begun += 1
                pause = self._resync_s
                if self._bundle is not None:
                    await self._pass(self._bundle, self._version)
                    quiet = 0 if self._last.actions else quiet + 1
                    if self._last.busy:
                        pause = PENDING_S[min(quiet, len(PENDING_S) - 1)]
                await self._announce()
                quiet = 0 if await self._woken(pause) else quiet
        finally:
            self._stopping = True
            await self._announce()
            await self._admin.close()
            await self._platform.stop()
            self.ended.set()
            self.changed.set()

    def snapshot(self) -> Snapshot:
        """The instance as the last pass and the supervisors saw it."""
        bundle, cluster_conditions = self._bundle, self._last.conditions
        nodes = self._platform.nodes()
        serving = any(node.state is NodeState.SERVING for node in nodes)
        overview = self._last.overview if serving else self._last.overview.unavailable()
        state, message = state_of(cluster_conditions), self._last.trouble or message_of(cluster_conditions)
        away = [node for node in nodes if node.state is not NodeState.SERVING]
        if self._stopping:
            state, message = "stopping", ""
        elif state == "ready" and away:  # the states are live, the conditions as old as the last pass
            state, message = "reconciling", f"node {away[0].node_id} is {away[0].state}: {away[0].message}"
        return Snapshot(
            cluster=self.instance.cluster,
            state=state,
            message=message.rstrip(": "),
            folder=str(self.instance.folder),
            source=bundle.source if bundle is not None else "",
            started_ms=self._started_ms,
            bootstrap=self._bootstrap() or self.instance.bootstrap(),
            nodes=tuple(_line(node, overview.shares.get(node.node_id)) for node in nodes),
            topics=overview.topics,
            groups=overview.groups,
            problems=tuple(self._last.stalled),
            events=tuple(self._events),
            partitions=overview.partitions,
            quorum=overview.quorum,
            balance=self._last.balance,
        )

    async def _pass(self, bundle: Bundle, version: int) -> None:
        trouble = self._last.trouble
        try:
            result = await self._reconciliation.run(bundle)
        except (OSError, OperatorError) as error:
            # A full disk under our memory, say: the nodes must not suffer for it.
            result = PassResult(
                trouble=str(error), pending={bundle.clusters[0].key}, overview=self._last.overview
            )
        self._last, self._last_version = result, version
        self._actions += result.actions
        for event in result.events:
            self._tell(str(event), warning=event.warning)
        if result.trouble and result.trouble != trouble:
            self._warn(f"cannot reconcile now: {result.trouble}")
        self.changed.set()

    async def _end_orphans(self) -> None:
        for pid in await self._platform.end_orphans():
            self._warn(f"ended process {pid}, a node left over from an earlier run")

    async def _woken(self, pause: float) -> bool:
        """Wait until somebody wakes us (True) or the pause is over."""
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _announce(self) -> None:
        async with self._pass_done:
            self._passes_done = self._passes_begun
            self._pass_done.notify_all()

    async def _pass_after(self, number: int) -> None:
        """Wait until a pass beyond this number is over, or nothing will come any more."""
        async with self._pass_done:
            await self._pass_done.wait_for(lambda: self._passes_done > number or self._stopping)

    def _bootstrap(self) -> str:
        return ",".join(node.kafka for node in self._platform.nodes())

    def _admin_addresses(self) -> list[str]:
        """Every node's HTTP address, those that serve first."""
        nodes = sorted(self._platform.nodes(), key=lambda node: node.state is not NodeState.SERVING)
        return [node.http for node in nodes]

    def _say_hopeless(self) -> str:
        hopeless = [node for node in self._platform.nodes() if node.hopeless]
        return "; ".join(f"node {node.node_id} does not start: it {node.message}" for node in hopeless)

    def _nodes_changed(self) -> None:
        for node in self._platform.nodes():
            before = self._nodes.get(node.node_id)
            self._nodes[node.node_id] = node
            words = _say_change(before, node)
            if words:
                self._tell(
                    f"node {node.node_id} {words}",
                    warning=node.state is NodeState.DOWN and bool(node.message) and not self._stopping,
                )
        self.changed.set()
        self._wake.set()

    def _warn(self, line: str) -> None:
        self._tell(line, warning=True)

    def _tell(self, line: str, *, warning: bool) -> None:
        event = EventLine(at_ms=self._clock.wall_ms(), text=line, warning=warning)
        self._events.append(event)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except OSError:  # its terminal or pipe is gone; nodes must not suffer for it
                self._listeners.remove(listener)


def _line(node: ObservedNode, share: Share | None) -> NodeLine:
    return NodeLine(
        id=node.node_id,
        pid=node.pid,
        kafka=node.kafka,
        http=node.http,
        state=node.state.value,
        restarts=node.restarts,
        message=node.message,
        roles=tuple(sorted(node.roles)),
        leaders=share.leaders if share is not None else None,
        replicas=share.replicas if share is not None else None,
        in_sync=share.in_sync if share is not None else None,
    )


def _say_change(before: ObservedNode | None, now: ObservedNode) -> str:
    """A node's change of state in words; empty when it is none worth telling."""
    if before is not None and (before.state, before.pid) == (now.state, now.pid):
        return ""
    if before is None and now.state is NodeState.DOWN and not now.message:
        return ""  # it has not been started yet
    match now.state:
        case NodeState.STARTING:
            return f"starts (pid {now.pid})"
        case NodeState.RECOVERING:
            return "recovers its logs"
        case NodeState.SERVING:
            return f"serves on {now.kafka} (pid {now.pid})"
        case NodeState.DRAINING:
            return "stops"
        case NodeState.DOWN:
            return f"is down: it {now.message}" if now.message else "has stopped"
