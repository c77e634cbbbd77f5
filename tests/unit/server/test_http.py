"""/livez, /readyz and /metrics, asked over a real socket."""

import asyncio
import gzip
import json
import socket
import subprocess
import sys

import aiohttp
import pytest

from moldau_broker.server.http import HttpServer, Pages
from moldau_broker.server.lifecycle import Lifecycle, NodeState
from moldau_broker.telemetry.registry import CONTENT_TYPE, Telemetry


@pytest.fixture
async def node():
    """A running HTTP server, its lifecycle, and a client."""

    class Node:
        lifecycle = Lifecycle()
        telemetry = Telemetry(lambda: 0)
        server = HttpServer(asyncio.get_running_loop(), Pages(lifecycle, telemetry))

    def emit(exposition):
        exposition.add("process_open_fds", 3)

    Node.telemetry.add(emit)
    port = Node.server.listen("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", auto_decompress=False) as Node.client:
        Node.port = port
        yield Node
    await Node.server.close()


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (NodeState.STARTING, 503),
        (NodeState.RECOVERING, 503),
        (NodeState.SERVING, 200),
        (NodeState.DRAINING, 503),
    ],
)
async def test_readyz_and_livez_by_state(node, state, ready):
    """Live in every state, ready only while serving; both say the state."""
    node.lifecycle.state = state
    async with node.client.get("/livez") as answer:
        assert answer.status == 200
        assert await answer.json() == {"state": state.value}
    async with node.client.get("/readyz") as answer:
        assert answer.status == ready
        assert await answer.json() == {"state": state.value, "ready": ready == 200}


async def test_readyz_shows_recovery_progress(node):
    """How far recovery has come is in the body."""
    node.lifecycle.recovery = {"logs": 4, "logs_loaded": 1}
    async with node.client.get("/readyz") as answer:
        assert (await answer.json())["recovery"] == {"logs": 4, "logs_loaded": 1}


@pytest.mark.parametrize("accept", [None, "identity", "gzip;q=0", "gzip; q=0.000", "br"])
async def test_metrics_are_plain_text(node, accept):
    """Plain, unless gzip is asked for."""
    headers = {"Accept-Encoding": accept} if accept else {}
    async with node.client.get("/metrics", headers=headers, skip_auto_headers=["Accept-Encoding"]) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        assert "Content-Encoding" not in answer.headers
        assert b"process_open_fds 3\n" in await answer.read()


@pytest.mark.parametrize("accept", ["gzip", "deflate, GZIP;q=0.5"])
async def test_metrics_are_compressed_when_asked(node, accept):
    """gzip is given to whoever names it."""
    for _ in range(2):
        async with node.client.get("/metrics", headers={"Accept-Encoding": accept}) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert b"process_open_fds 3\n" in gzip.decompress(await answer.read())
    assert node.telemetry.renderings == 1


async def test_other_paths_and_methods_are_refused(node):
    """404 and 405, not a stack."""
    async with node.client.get("/") as answer:
        assert answer.status == 404
    async with node.client.post("/metrics", data=b"x") as answer:
        assert answer.status == 405


async def test_http_close_before_any_visitor():
    """A server that nobody visited closes at once, and its port is free again."""
    server = HttpServer(asyncio.get_running_loop(), Pages(Lifecycle(), Telemetry(lambda: 0)))
    port = server.listen("127.0.0.1", 0)
    await server.close()
    await server.close()
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_http_taken_port_is_an_error():
    """The address is claimed at once, so a taken one is known at the start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = HttpServer(asyncio.get_running_loop(), Pages(Lifecycle(), Telemetry(lambda: 0)))
        with pytest.raises(OSError, match="in use"):
            server.listen("127.0.0.1", taken.getsockname()[1])
        await server.close()


async def test_http_works_on_ipv6_loopback():
    """The host may be an IPv6 address."""
    server = HttpServer(asyncio.get_running_loop(), Pages(Lifecycle(), Telemetry(lambda: 0)))
    port = server.listen("::1", 0)
    async with aiohttp.ClientSession() as client, client.get(f"http://[::1]:{port}/livez") as answer:
        assert answer.status == 200
    await server.close()


def test_aiohttp_is_imported_for_the_first_visitor_only():
    """A node that nobody probes does not pay for aiohttp: not at import, not when the port opens."""
    program = """
import asyncio, json, sys
from moldau_broker.server.http import HttpServer, Pages
from moldau_broker.server.lifecycle import Lifecycle
from moldau_broker.telemetry.registry import Telemetry

async def main():
    server = HttpServer(asyncio.get_running_loop(), Pages(Lifecycle(), Telemetry(lambda: 0)))
    port = server.listen("127.0.0.1", 0)
    before = sorted({"aiohttp", "prometheus_client", "gzip"} & set(sys.modules))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    status = (await reader.read()).split(b"\\r\\n")[0].decode()
    writer.close()
    await server.close()
    print(json.dumps([before, status, "aiohttp" in sys.modules]))

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [[], "HTTP/1.1 200 OK", True]


@pytest.mark.parametrize("path", ["/admin/v1/cluster", "/admin/v1/anything", "/admin/"])
async def test_admin_api_is_refused_while_the_node_does_not_serve(node, path):
    """As every error of the API looks, and so that it is asked again."""
    async with node.client.post(path, data=b"{}") as answer:
        assert answer.status == 503
        assert (await answer.json())["error"] == "NETWORK_EXCEPTION"
