"""`python -m moldau_operator`: the operator of one namespace, until SIGTERM or until its Lease is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from aiohttp import web

from moldau_broker.base.broker_config import TelemetrySettings
from moldau_broker.base.clock import SystemClock
from moldau_broker.telemetry.logs import configure_logging, emit_lines
from moldau_broker.telemetry.loop_lag import LoopLag
from moldau_broker.telemetry.process import emit_process
from moldau_broker.telemetry.registry import CONTENT_TYPE, Telemetry
from moldau_broker.telemetry.watchdog import Watchdog
from moldau_operator.adapters.kube_api import connect
from moldau_operator.errors import OperatorError
from moldau_operator.handlers.fence import FencedApi
from moldau_operator.handlers.lease import Lease
from moldau_operator.handlers.operator import Operator
from moldau_operator.handlers.passes import Passes
from moldau_operator.settings import OperatorSettings, SettingsError, read_settings
from moldau_operator.telemetry.counted_api import CountedApi
from moldau_operator.telemetry.metrics import OperatorMetrics
from moldau_operator.telemetry.table import METRICS


def main() -> int:
    """Run the operator; 2 when its settings cannot be used, 1 when it should be started anew."""
    configure_logging(TelemetrySettings())
    try:
        settings = read_settings(os.environ, f"{socket.gethostname()}-{os.getpid()}")
        return asyncio.run(_run(settings))
    except SettingsError as error:
        sys.stderr.write(f"moldau operator: {error}\n")
        return 2
    except OperatorError as error:
        sys.stderr.write(f"moldau operator: {error}\n")
        return 1


async def _run(settings: OperatorSettings) -> int:
    connection = await connect()
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    metrics = OperatorMetrics(settings.namespace, clock)
    api = CountedApi(connection, metrics)
    lag, watchdog = LoopLag(loop), Watchdog(loop)
    telemetry = Telemetry(clock.monotonic_ms, METRICS)
    for emitter in (emit_process, emit_lines, lag.emit, watchdog.emit, metrics.emit):
        telemetry.add(emitter)
    lag.start()
    watchdog.start()
    try:
        lease = Lease(api, settings.namespace, settings.identity, clock)
        fenced = FencedApi(api, lambda: lease.is_held)
        passes = Passes(fenced, settings.namespace, settings.broker_image, clock, metrics=metrics)
        operator = Operator(api, lease, passes, settings, clock, metrics=metrics)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, operator.request_stop)
        runner = await _serve(operator, telemetry, settings.health_port)
        try:
            return await operator.run()
        finally:
            await runner.cleanup()
    finally:
        watchdog.stop()
        lag.stop()
        await connection.close()


async def _serve(operator: Operator, telemetry: Telemetry, port: int) -> web.AppRunner:
    async def livez(_request: web.Request) -> web.Response:
        words = operator.health()
        return web.json_response(
            {"problem": words, "watchAgeSeconds": dict(operator.ages())}, status=503 if words else 200
        )

    async def readyz(_request: web.Request) -> web.Response:
        return web.json_response({"leads": operator.leads}, status=200 if operator.leads else 503)

    async def metrics(request: web.Request) -> web.Response:
        page = await telemetry.page()
        headers = {"Content-Type": CONTENT_TYPE}
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=b"".join(page.pieces), headers=headers)
        body = b"".join(await page.gzipped())
        return web.Response(body=body, headers={**headers, "Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner


if __name__ == "__main__":
    sys.exit(main())
