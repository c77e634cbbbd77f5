"""kubectl as people use it, in one namespace."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

import yaml

Object = dict[str, Any]


class Refused(AssertionError):
    """kubectl ended with an error; the text is what it said."""


class Kube:
    """One namespace of the Kubernetes that KUBECONFIG names."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def run(self, *arguments: str, text: str | None = None, within: float = 120) -> str:
        """What kubectl printed.

        Raises:
            Refused: it ended with an error.
        """
        done = subprocess.run(
            ["kubectl", "-n", self.namespace, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def apply(self, *documents: Object) -> None:
        """`kubectl apply`, as a person or a pipeline would."""
        self.run("apply", "-f", "-", text=yaml.safe_dump_all(documents))

    def put(self, kind: str, name: str, **spec: Any) -> None:
        """Apply one of our resources."""
        metadata = {"name": name, "namespace": self.namespace}
        self.apply({"apiVersion": "moldau.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})

    def patch(self, kind: str, name: str, spec: Object) -> None:
        """Change fields of a resource's spec; None removes one."""
        self.run("patch", kind, name, "--type", "merge", "-p", json.dumps({"spec": spec}))

    def get(self, kind: str, name: str) -> Object | None:
        """An object; None when it is not there."""
        try:
            found: Object = json.loads(self.run("get", kind, name, "-o", "json"))
        except Refused as error:
            if "NotFound" in str(error):
                return None
            raise
        return found

    def here(self, kind: str, name: str) -> Object:
        """An object that must be there."""
        found = self.get(kind, name)
        assert found is not None, f"{kind} {name} is not there"
        return found

    def items(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind, by name."""
        only = ("-l", selector) if selector else ()
        found: list[Object] = json.loads(self.run("get", kind, *only, "-o", "json"))["items"]
        return found

    def delete(self, kind: str, *names: str, wait: bool = True, within: float = 120) -> None:
        """Delete and wait until it is gone."""
        self.run("delete", kind, *names, f"--wait={str(wait).lower()}", "--ignore-not-found", within=within)

    def condition(self, kind: str, name: str, which: str) -> Object:
        """A condition of a resource; empty when it has none."""
        found = (self.get(kind, name) or {}).get("status", {}).get("conditions", [])
        return next((one for one in found if one["type"] == which), {})

    def is_ready(self, kind: str, name: str) -> bool:
        """Whether a resource is as its newest generation says."""
        found = self.get(kind, name)
        if found is None or "status" not in found:
            return False
        ready = next((one for one in found["status"].get("conditions", []) if one["type"] == "Ready"), {})
        newest = found["metadata"]["generation"] == found["status"].get("observedGeneration")
        return newest and ready.get("status") == "True"

    def wait(self, what: str, check: Callable[[], bool], within: float) -> float:
        """Until `check` holds; gives the seconds it took.

        Raises:
            AssertionError: it does not; the text has the state of our resources.
        """
        begun = time.monotonic()
        while not check():
            if time.monotonic() - begun > within:
                raise AssertionError(f"not within {within:.0f} s: {what}\n{self.story()}")
            time.sleep(0.2)
        return time.monotonic() - begun

    def ready(self, kind: str, name: str, within: float = 120) -> float:
        """Until a resource is ready; gives the seconds it took."""
        return self.wait(f"{kind} {name} is ready", lambda: self.is_ready(kind, name), within)

    def story(self) -> str:
        """What a person would look at when something is stuck."""
        parts = [self._try("get", "clusters,topics,consumergroups,pods,pvc", "-o", "wide")]
        parts += [json.dumps(one.get("status", {}), indent=1) for one in self.items("cluster")]
        parts.append(self._try("logs", "deploy/moldau-operator", "--tail", "15"))
        return "\n".join(parts)

    def _try(self, *arguments: str) -> str:
        try:
            return self.run(*arguments)
        except Refused as error:
            return str(error)

    def client(self, image: str, command: str, within: float = 60) -> str:
        """What a pod of the test client printed that ran a shell command and ended."""
        name = f"client-{time.monotonic_ns()}"
        overrides = {
            "spec": {
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "client",
                        "image": image,
                        "command": ["sh", "-c", command],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            }
        }
        self.run(
            "run", name, "--image", image, "--restart", "Never", "--overrides", json.dumps(overrides)
        )  # fmt: skip
        try:
            self.wait(
                f"{command} has ended",
                lambda: self.here("pod", name)["status"].get("phase") in {"Succeeded", "Failed"},
                within,
            )
            said = self.run("logs", name)
            assert self.here("pod", name)["status"]["phase"] == "Succeeded", said
            return said
        finally:
            self.delete("pod", name, wait=False)


def machines() -> list[Object]:
    """The machines of this Kubernetes that take pods."""
    found = json.loads(
        subprocess.run(["kubectl", "get", "nodes", "-o", "json"], capture_output=True, check=True).stdout
    )["items"]
    return [one for one in found if not one["spec"].get("taints") and not one["spec"].get("unschedulable")]


def address_of(machine: Object) -> str:
    """Where a machine is reached from here."""
    addresses: Iterable[Object] = machine["status"]["addresses"]
    return str(next(one["address"] for one in addresses if one["type"] == "InternalIP"))
