"""Faults on request: what a control function may tell the broker to do with a request, and how it is done.

Works by wrapping handlers, so that everything below and above them (sockets, framing, logs) stays what it is in
production. Not for production itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.server.exchange import CloseConnection
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.testing.error_answers import error_answer, with_topic_errors
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.schema import Struct

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection without an answer.

    With `after_handling` the request takes effect first: the client cannot know whether it did.
    """

    after_handling: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """Handle the request at once, and answer `seconds` later. Answers behind it on the connection wait with it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Never answer, and keep the connection open."""


Verdict: TypeAlias = Close | Delay | Silence | ErrorCode | Struct | None
"""What a control function says: None leaves the request alone, an `ErrorCode` fails everything it asks for, a
response (of the API's response class) is sent as it is."""

ControlFunction: TypeAlias = Callable[[RequestContext, Any], Verdict]


class Control:
    """One installed control function. A context manager that removes itself.

    Attributes:
        seen: requests it was shown.
        used: requests it decided about.
    """

    def __init__(self, controls: Controls, api: ApiKey, decide: ControlFunction, times: int | None) -> None:
        self.api = api
        self.seen = 0
        self.used = 0
        self._controls = controls
        self._decide = decide
        self._left = times

    def ask(self, context: RequestContext, request: Struct) -> Verdict:
        """What to do with this request; on the broker's thread."""
        if self._left == 0:
            return None
        self.seen += 1
        verdict = self._decide(context, request)
        if verdict is not None:
            self.used += 1
            if self._left is not None:
                self._left -= 1
        return verdict

    def remove(self) -> None:
        """Leave requests alone from now on; harmless when repeated."""
        self._controls.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


class Controls:
    """The control functions of a broker, by API; the newest that has an opinion decides.

    Attributes:
        on_change: told the API whose controls changed, on the caller's thread.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[ApiKey], None] = lambda api: None
        self._installed: dict[ApiKey, tuple[Control, ...]] = {}

    def add(self, api: ApiKey, decide: ControlFunction, times: int | None = None) -> Control:
        """Ask `decide` about every request of `api`; after `times` decisions it is left alone."""
        control = Control(self, api, decide, times)
        self._installed[api] = (control, *self._installed.get(api, ()))
        self.on_change(api)
        return control

    def remove(self, control: Control) -> None:
        """Take one away."""
        left = tuple(one for one in self._installed.get(control.api, ()) if one is not control)
        if left:
            self._installed[control.api] = left
        else:
            self._installed.pop(control.api, None)
        self.on_change(control.api)

    def clear(self) -> None:
        """Take all away."""
        for controls in tuple(self._installed.values()):
            for control in controls:
                self.remove(control)

    def has(self, api: ApiKey) -> bool:
        """Whether requests of `api` are shown to anybody."""
        return api in self._installed

    def wrap(self, handler: Handler) -> Handler:
        """`handler`, but with the control functions asked first."""
        inner = handler.handle

        def handle(broker: Broker, context: RequestContext, request: Any) -> Any:
            for control in self._installed.get(handler.api, ()):
                verdict = control.ask(context, request)
                if verdict is not None:
                    return _carry_out(verdict, handler, broker, context, request)
            return inner(broker, context, request)

        return Handler(
            api=handler.api,
            versions=handler.versions,
            handle=handle,
            advertised=handler.advertised,
            listeners=handler.listeners,
        )


def _carry_out(
    verdict: Verdict, handler: Handler, broker: Broker, context: RequestContext, request: Struct
) -> Any:
    match verdict:
        case Close(after_handling=False):
            raise CloseConnection("test_control", f"{handler.api.name} was told to close")
        case Close():
            return _afterwards(
                handler.handle(broker, context, request), lambda later, _: later.complete(None)
            )
        case Delay(seconds=seconds):

            def answer_late(later: Deferred[Any], response: Any) -> None:
                broker.timers.call_later(seconds * 1000, lambda: later.complete(response))

            outcome = handler.handle(broker, context, request)
            return None if outcome is None else _afterwards(outcome, answer_late)
        case Silence():
            return Deferred()
        case ErrorCode():
            if handler.api is ApiKey.METADATA:  # without brokers in it, no client could go on

                def fail_topics(later: Deferred[Any], response: Any) -> None:
                    later.complete(with_topic_errors(response, verdict))

                return _afterwards(handler.handle(broker, context, request), fail_topics)
            return error_answer(handler.api, request, verdict)
        case _:
            return verdict


def _afterwards(outcome: Any, then: Callable[[Deferred[Any], Any], None]) -> Deferred[Any]:
    """A promise that `then(promise, response)` keeps once `outcome`, of whatever kind, is there."""
    later: Deferred[Any] = Deferred()
    if isinstance(outcome, Deferred):
        outcome.on_complete(lambda response: then(later, response))
    elif isinstance(outcome, Coroutine):
        task = asyncio.get_running_loop().create_task(outcome)
        _unfinished.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            _unfinished.discard(task)
            if task.cancelled() or task.exception() is not None:
                logger.error("request.failed", extra={"reason": str(task)})
                later.complete(None)
            else:
                then(later, task.result())

        task.add_done_callback(done)
    else:
        then(later, outcome)
    return later


_unfinished: set[asyncio.Task[Any]] = set()
