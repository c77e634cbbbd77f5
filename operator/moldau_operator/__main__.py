"""`python -m moldau_operator`: the operator of one namespace, until SIGTERM or until its Lease is lost."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys

from aiohttp import web

from moldau_broker.base.clock import SystemClock
from moldau_operator.adapters.kube_api import connect
from moldau_operator.errors import OperatorError
from moldau_operator.handlers.fence import FencedApi
from moldau_operator.handlers.lease import Lease
from moldau_operator.handlers.operator import Operator
from moldau_operator.handlers.passes import Passes
from moldau_operator.settings import OperatorSettings, SettingsError, read_settings


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extra = {
            name: getattr(record, name) for name in ("reason", "identity", "text") if hasattr(record, name)
        }
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "event": record.getMessage(),
            **extra,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def main() -> int:
    """Run the operator; 2 when its settings cannot be used, 1 when it should be started anew."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
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
    api = await connect()
    clock = SystemClock()
    try:
        lease = Lease(api, settings.namespace, settings.identity, clock)
        fenced = FencedApi(api, lambda: lease.is_held)
        passes = Passes(fenced, settings.namespace, settings.broker_image, clock)
        operator = Operator(api, lease, passes, settings, clock)
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, operator.request_stop)
        runner = await _serve(operator, settings.health_port)
        try:
            return await operator.run()
        finally:
            await runner.cleanup()
    finally:
        await api.close()


async def _serve(operator: Operator, port: int) -> web.AppRunner:
    async def livez(_request: web.Request) -> web.Response:
        words = operator.health()
        return web.json_response(
            {"problem": words, "watchAgeSeconds": dict(operator.ages())}, status=503 if words else 200
        )

    async def readyz(_request: web.Request) -> web.Response:
        return web.json_response({"leads": operator.leads}, status=200 if operator.leads else 503)

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner


if __name__ == "__main__":
    sys.exit(main())
