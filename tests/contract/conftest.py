"""The same tests against the API server in memory and, where KUBECONFIG names one, against a real one."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import client, config

from moldau_operator.adapters.kube_api import KubeApi
from moldau_operator.seams.api_server import Object
from moldau_operator.testing.apiserver import MemoryApi
from moldau_operator.testing.apiserver_http import HttpApi
from moldau_operator.testing.schema import shipped_definitions

CRDS = Path(__file__).resolve().parents[2] / "crds"
PATIENCE_S = 30.0


@dataclass
class Server:
    """An API server, and three who use it.

    Attributes:
        api: as the operator does.
        rival: another field manager, which forces nothing.
        small: gets lists in pages of two.
        emulation: what can be done to the one in memory; None for a real one.
    """

    settings: client.Configuration
    namespace: str
    api: KubeApi
    rival: KubeApi
    small: KubeApi
    emulation: HttpApi | None
    kubeconfig: str
    path: Path = Path(__file__)

    def named(self, kind: str, name: str, version: str = "v1", **rest: Any) -> Object:
        """An object of this namespace."""
        metadata = {"name": name, "namespace": self.namespace, **rest.pop("metadata", {})}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}

    def ours(self, kind: str, name: str, **spec: Any) -> Object:
        """A custom resource of ours."""
        return self.named(kind, name, "moldau.dev/v1alpha1", spec=spec)

    async def eventually(self, look: Callable[[], Awaitable[Any]]) -> Any:
        """What `look` gives once it is truthy: real controllers take their time."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await look()):  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.1)
        return found


def write_file(path: str, text: str) -> None:
    Path(path).write_text(text)


@pytest.fixture(params=["emulation", "real"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    """One namespace of an API server that knows our kinds."""
    transports: list[client.ApiClient] = []
    settings = client.Configuration()
    http = None
    namespace = f"moldau-contract-{uuid.uuid4().hex[:8]}"
    kubeconfig = os.environ.get("KUBECONFIG", "")
    if request.param == "real":
        if not kubeconfig:
            pytest.skip("KUBECONFIG is not set")
        await config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
    else:
        http = HttpApi(MemoryApi(definitions=shipped_definitions()))
        await http.start()
        settings.host = http.url
        kubeconfig = str(tmp_path / "kubeconfig")
        write_file(kubeconfig, http.kubeconfig(namespace))

    def connect(**options: Any) -> KubeApi:
        transports.append(client.ApiClient(settings))
        return KubeApi(transports[-1], **options)

    found = Server(
        settings=settings,
        namespace=namespace,
        api=connect(),
        rival=connect(manager="rival", force=False),
        small=connect(page=2),
        emulation=http,
        kubeconfig=kubeconfig,
    )
    try:
        if http is None:
            await _prepare(found)
        yield found
    finally:
        if http is None:
            await found.api._ask("DELETE", f"/api/v1/namespaces/{namespace}")
        for transport in transports:
            await transport.close()
        if http is not None:
            await http.close()


async def _prepare(server: Server) -> None:
    """A namespace of its own, and our definitions."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": server.namespace}}
    await server.api._ask("POST", "/api/v1/namespaces", None, namespace)
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    query = {"fieldManager": "moldau-contract", "force": "true"}
    for path in sorted(CRDS.glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        name = document["metadata"]["name"]
        await server.api._ask(
            "PATCH", f"{root}/{name}", query, document, content="application/apply-patch+yaml"
        )

        async def established(name: str = name) -> bool:
            there = await server.api._ask("GET", f"{root}/{name}")
            found = there.get("status", {}).get("conditions") or ()
            return any(one["type"] == "Established" and one["status"] == "True" for one in found)

        await server.eventually(established)
