"""Kubernetes' own controllers, as far as an operator meets them: StatefulSets, kubelets, the garbage collector.

Each works on the objects of a `MemoryApi` and takes one step at a time, so that a test decides what has happened yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from moldau_operator.seams.api_server import Object
from moldau_operator.testing.apiserver import MemoryApi
from moldau_operator.testing.copying import copied

Ready = Callable[[Object], bool]

LINGERING: Final = frozenset({"Pod", "PersistentVolumeClaim"})


def settle(api: MemoryApi, ready: Ready = lambda _pod: True, *, slow: bool = False) -> None:
    """What Kubernetes does by itself, once: what ends has ended, pods are made, claims bound, pods become ready.

    Args:
        ready: whether a pod becomes ready.
        slow: a pod that was made in this step becomes ready in the next one.
    """
    _end_pods(api)
    _end_claims(api)
    old = set(api.of("Pod"))
    for one in api.of("StatefulSet").values():
        _run_set(api, one)
    for name, pod in api.of("Pod").items():
        if name in old or not slow:
            _report(api, pod, ready(pod))
    for claim in api.of("PersistentVolumeClaim").values():
        _bind(api, claim)


def _end_pods(api: MemoryApi) -> None:
    for key, one in list(api.objects.items()):
        if (
            key[0] == "Pod"
            and "deletionTimestamp" in one["metadata"]
            and not one["metadata"].get("finalizers")
        ):
            api.finish(key)


def _end_claims(api: MemoryApi) -> None:
    mounted = {f"data-{name}" for name in api.of("Pod")}
    for key, one in list(api.objects.items()):
        gone = key[0] == "PersistentVolumeClaim" and "deletionTimestamp" in one["metadata"]
        if gone and key[2] not in mounted:
            api.finish(key)


def _run_set(api: MemoryApi, one: Object) -> None:
    """Parallel and OnDelete: pods that lack are made, those beyond the number go, none is changed."""
    meta, spec = one["metadata"], one["spec"]
    wanted = [f"{meta['name']}-{n}" for n in range(spec["replicas"])]
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": meta["name"], "uid": meta["uid"]}
    owner["controller"] = True
    selected = spec["selector"]["matchLabels"].items()
    for name, pod in api.of("Pod").items():
        owners = pod["metadata"].get("ownerReferences") or []
        ordinal = (
            name.rpartition("-")[0] == meta["name"]
            and selected <= (pod["metadata"].get("labels") or {}).items()
        )
        if ordinal and not owners:
            api.patch(
                ("Pod", meta["namespace"], name),
                lambda it: it["metadata"].update(ownerReferences=[dict(owner)]),
            )
            owners = [owner]
        mine = any(found["uid"] == meta["uid"] for found in owners)
        if mine and name not in wanted and "deletionTimestamp" not in pod["metadata"]:
            api.remove("Pod", meta["namespace"], name)
    for number, name in enumerate(wanted):
        for template in spec["volumeClaimTemplates"]:
            claim = f"{template['metadata']['name']}-{name}"
            if ("PersistentVolumeClaim", meta["namespace"], claim) not in api.objects:
                body = copied({key: template[key] for key in ("metadata", "spec")})
                body["metadata"] |= {"name": claim, "namespace": meta["namespace"]}
                body["metadata"]["labels"] = {
                    **body["metadata"].get("labels", {}),
                    **spec["selector"]["matchLabels"],
                }
                api.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", **body})
        if ("Pod", meta["namespace"], name) not in api.objects:
            pod = {"apiVersion": "v1", "kind": "Pod", **copied(spec["template"])}
            labels = {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(number)}
            pod["metadata"] |= {
                "name": name,
                "namespace": meta["namespace"],
                "ownerReferences": [dict(owner)],
            }
            pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), **labels}
            api.put(pod)


def _report(api: MemoryApi, pod: Object, ready: bool) -> None:
    status = {
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        **_details(pod, ready),
    }
    if pod.get("status") != status and "deletionTimestamp" not in pod["metadata"]:
        meta = pod["metadata"]
        api.patch(("Pod", meta["namespace"], meta["name"]), lambda it: it.update(status=status))


def _details(pod: Object, ready: bool) -> Object:
    """Why it is not ready, as a kubelet tells it: an image called `bad` cannot be pulled."""
    container = pod["spec"]["containers"][0]
    if ready or not str(container["image"]).startswith("bad"):
        return {}
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{container["image"]}"'}
    return {"containerStatuses": [{"name": container["name"], "state": {"waiting": waiting}}]}


def _bind(api: MemoryApi, claim: Object) -> None:
    """A claim is bound, and a larger one has its size at once."""
    status = {"phase": "Bound", "capacity": dict(claim["spec"]["resources"]["requests"])}
    if claim.get("status") != status and "deletionTimestamp" not in claim["metadata"]:
        meta = claim["metadata"]
        api.patch(
            ("PersistentVolumeClaim", meta["namespace"], meta["name"]), lambda it: it.update(status=status)
        )
