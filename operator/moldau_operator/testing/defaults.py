"""What an API server adds to objects by itself: defaults, addresses, ports, amounts in its own words. Pure.

As far as it touches the objects an operator writes: whoever compares what he wants with what is there must not
stumble over any of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any, Final

from moldau_operator.resources.quantity import Quantity, parse_quantity
from moldau_operator.seams.api_server import Object

NODE_PORTS: Final = range(30000, 32768)

_POD: Final = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30,
}
_CONTAINER: Final = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}
_PROBE: Final = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_SET: Final = {"revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady"}


def add_defaults(one: Object, ports_taken: Collection[int] = ()) -> None:
    """Complete an object in place, as it is stored."""
    match one["kind"]:
        case "Service":
            _service(one["spec"], one["metadata"]["name"], set(ports_taken))
        case "StatefulSet":
            spec = one["spec"]
            _under(spec, _SET)
            _pod(spec["template"]["spec"])
            for claim in spec.get("volumeClaimTemplates") or ():
                _under(claim, {"apiVersion": "v1", "kind": "PersistentVolumeClaim"})
                claim["status"] = {"phase": "Pending"}
                _claim(claim["spec"])
        case "Pod":
            _pod(one["spec"])
        case "PersistentVolumeClaim":
            _claim(one["spec"])


def _under(one: Object, defaults: Object) -> None:
    for name, value in defaults.items():
        one.setdefault(name, value)


def _service(spec: Object, name: str, taken: set[int]) -> None:
    _under(spec, {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"})
    address = f"10.96.{zlib.crc32(name.encode()) % 250}.{len(name)}"
    _under(spec, {"clusterIP": address, "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
    _under(spec, {"clusterIPs": [spec["clusterIP"]]})
    for port in spec.get("ports") or ():
        _under(port, {"protocol": "TCP", "targetPort": port["port"]})
        if spec["type"] == "NodePort" and "nodePort" not in port:
            port["nodePort"] = next(number for number in NODE_PORTS if number not in taken)
            taken.add(port["nodePort"])


def _pod(spec: Object) -> None:
    _under(spec, _POD)
    spec.setdefault("securityContext", {})
    for volume in spec.get("volumes") or ():
        if "configMap" in volume:
            _under(volume["configMap"], {"defaultMode": 420})
    for container in spec.get("containers") or ():
        _under(container, _CONTAINER)
        container.setdefault("resources", {})
        _amounts(container["resources"])
        for port in container.get("ports") or ():
            _under(port, {"protocol": "TCP"})
        for variable in container.get("env") or ():
            field = variable.get("valueFrom", {}).get("fieldRef")
            if field is not None:
                _under(field, {"apiVersion": "v1"})
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(name)
            if probe is not None:
                _under(probe, _PROBE)
                _under(probe.get("httpGet", {}), {"scheme": "HTTP", "path": "/"})


def _claim(spec: Object) -> None:
    _under(spec, {"volumeMode": "Filesystem"})
    _amounts(spec.get("resources") or {})


def _amounts(resources: Object) -> None:
    """0.5 becomes 500m."""
    for amounts in resources.values():
        for name, text in amounts.items():
            amounts[name] = _canonical(text)


def _canonical(text: Any) -> Any:
    found = parse_quantity(str(text))
    if not isinstance(found, Quantity):
        return text
    if found.amount == int(found.amount):
        return str(text)
    return f"{int(found.amount * 1000)}m"
