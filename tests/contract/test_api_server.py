"""What the operator counts on in an API server: versions, conflicts, server-side apply, finalizers, lists, deletion."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from moldau_operator.seams.api_server import (
    CLUSTERS,
    CONFIG_MAPS,
    LEASES,
    RESOURCES,
    SERVICES,
    STATEFUL_SETS,
    TOPICS,
    ApiError,
    Object,
)

EXAMPLE = "../../examples/quickstart.yaml"


def version(one: Object) -> str:
    return str(one["metadata"]["resourceVersion"])


async def status_of(call: Any) -> int:
    with pytest.raises(ApiError) as refused:
        await call
    return refused.value.status


async def test_what_is_not_there_is_none_and_can_be_deleted(server: Any) -> None:
    """A name that nobody has is no error for who looks and who removes."""
    assert await server.api.get(CONFIG_MAPS, server.namespace, "nothing") is None
    await server.api.delete(CONFIG_MAPS, server.namespace, "nothing")


async def test_an_object_is_made_once(server: Any) -> None:
    """The second one to create it is refused by a conflict."""
    made = await server.api.create(server.named("ConfigMap", "one", data={"a": "1"}))
    assert made["data"] == {"a": "1"}
    assert made["metadata"]["uid"]
    assert await status_of(server.api.create(server.named("ConfigMap", "one"))) == 409


async def test_replace_is_of_exactly_one_version(server: Any) -> None:
    """Who read before somebody else wrote is refused; a Lease depends on it."""
    lease = server.named("Lease", "it", "coordination.k8s.io/v1", spec={"holderIdentity": "a"})
    first = await server.api.create(lease)
    second = await server.api.replace({**first, "spec": {"holderIdentity": "b"}})
    assert version(second) != version(first)
    assert await status_of(server.api.replace({**first, "spec": {"holderIdentity": "c"}})) == 409
    assert (await server.api.get(LEASES, server.namespace, "it"))["spec"]["holderIdentity"] == "b"
    assert await status_of(server.api.replace({**server.named("ConfigMap", "no"), "data": {}})) == 404


async def test_applying_the_same_again_writes_nothing(server: Any) -> None:
    """The version stays: zero writes are zero versions."""
    wanted = server.named("ConfigMap", "one", data={"a": "1"})
    first = await server.api.apply(wanted)
    assert version(await server.api.apply(wanted)) == version(first)


async def test_apply_takes_away_what_it_no_longer_names_and_nothing_else(server: Any) -> None:
    """Fields of other managers stay."""
    await server.rival.apply(server.named("ConfigMap", "one", data={"theirs": "1"}))
    await server.api.apply(server.named("ConfigMap", "one", data={"a": "1", "b": "2"}))
    found = await server.api.apply(server.named("ConfigMap", "one", data={"b": "2"}))
    assert found["data"] == {"theirs": "1", "b": "2"}


async def test_apply_without_force_respects_the_owner_of_a_field(server: Any) -> None:
    """The other manager is refused, and told whose the field is; force takes it, and then it is ours."""
    await server.api.apply(server.named("ConfigMap", "one", data={"a": "1"}))
    with pytest.raises(ApiError, match="moldau-operator") as refused:
        await server.rival.apply(server.named("ConfigMap", "one", data={"a": "2"}))
    assert refused.value.is_conflict
    await server.rival.apply(server.named("ConfigMap", "one", data={"a": "1"}))  # the same value is shared
    found = await server.api.apply(server.named("ConfigMap", "one", data={"a": "3"}))
    assert found["data"] == {"a": "3"}


async def test_a_field_with_two_owners_stays_until_both_let_go(server: Any) -> None:
    """One that no longer names it takes nothing from the other."""
    for user in (server.api, server.rival):
        await user.apply(server.named("ConfigMap", "one", data={"a": "1"}))
    found = await server.api.apply(server.named("ConfigMap", "one"))
    assert found["data"] == {"a": "1"}
    found = await server.rival.apply(server.named("ConfigMap", "one"))
    assert not found.get("data")


async def test_a_hand_that_writes_over_us_is_written_over(server: Any) -> None:
    """A replaced field belongs to who replaced it, until we apply again by force."""
    first = await server.api.apply(server.named("ConfigMap", "one", data={"a": "1"}))
    changed = await server.rival.replace({**first, "data": {"a": "2", "c": "3"}})
    assert changed["data"] == {"a": "2", "c": "3"}
    found = await server.api.apply(server.named("ConfigMap", "one", data={"a": "1"}))
    assert found["data"] == {"a": "1", "c": "3"}


async def test_apply_is_of_the_very_object_that_was_looked_at(server: Any) -> None:
    """With a uid, a namesake is a conflict, and what is gone is not made again."""
    made = await server.api.create(server.ours("Topic", "orders", cluster="demo"))
    wrong = server.ours("Topic", "orders", cluster="demo")
    wrong["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    assert await status_of(server.api.apply(wrong)) in {409, 422}
    await server.api.delete(TOPICS, server.namespace, "orders")
    late = server.ours("Topic", "orders", cluster="demo")
    late["metadata"]["uid"] = made["metadata"]["uid"]
    assert await status_of(server.api.apply(late)) == 409


async def test_status_and_spec_are_written_apart(server: Any) -> None:
    """The generation counts changes of the spec only; each door leaves the other's half alone."""
    made = await server.api.create(
        {**server.ours("Topic", "orders", cluster="demo"), "status": {"partitions": 9}}
    )
    assert (made["metadata"]["generation"], made.get("status")) == (1, {"observedGeneration": -1})
    written = server.ours("Topic", "orders", cluster="demo")
    written["spec"] = {"cluster": "other"}
    found = await server.api.apply({**written, "status": {"partitions": 3}}, subresource="status")
    assert found["status"] == {"observedGeneration": -1, "partitions": 3}
    assert found["spec"] == {"cluster": "demo"}
    assert found["metadata"]["generation"] == 1
    found = await server.api.apply(server.ours("Topic", "orders", cluster="demo", partitions=3))
    assert found["status"] == {"observedGeneration": -1, "partitions": 3}
    assert found["metadata"]["generation"] == 2


async def test_a_status_of_something_that_is_not_there_is_refused(server: Any) -> None:
    """404: the resource went while its status was made."""
    wanted = {**server.ours("Topic", "gone", cluster="demo"), "status": {"partitions": 3}}
    assert await status_of(server.api.apply(wanted, subresource="status")) == 404


async def test_conditions_are_told_apart_by_their_type(server: Any) -> None:
    """Another manager's condition survives ours, and ours goes when it is no longer applied."""
    await server.api.create(server.ours("Topic", "orders", cluster="demo"))

    def condition(kind: str) -> Object:
        words = {"reason": "Because", "message": "", "lastTransitionTime": "2027-01-01T00:00:00Z"}
        return {"type": kind, "status": "True", **words}

    async def write(user: Any, *kinds: str) -> list[str]:
        status = {"conditions": [condition(kind) for kind in kinds]} if kinds else {}
        one = {**server.ours("Topic", "orders"), "status": status}
        del one["spec"]
        found = await user.apply(one, subresource="status")
        return sorted(each["type"] for each in found["status"]["conditions"])

    await write(server.rival, "Theirs")
    assert await write(server.api, "Ready", "Stalled") == ["Ready", "Stalled", "Theirs"]
    assert await write(server.api, "Ready") == ["Ready", "Theirs"]


async def test_finalizers_hold_an_object_until_the_last_one_goes(server: Any) -> None:
    """Ours is taken away by an apply that does not name it; somebody else's is not ours to take."""
    topic = server.ours("Topic", "orders", cluster="demo")
    await server.api.create(topic)
    bare = server.ours("Topic", "orders")
    del bare["spec"]

    def held(*finalizers: str) -> Object:
        return {**bare, "metadata": {**bare["metadata"], "finalizers": list(finalizers)}}

    await server.rival.apply(held("example.org/theirs"))
    found = await server.api.apply(held("moldau.dev/finalizer"))
    assert sorted(found["metadata"]["finalizers"]) == ["example.org/theirs", "moldau.dev/finalizer"]
    await server.api.delete(TOPICS, server.namespace, "orders")
    going = await server.api.get(TOPICS, server.namespace, "orders")
    assert going["metadata"]["deletionTimestamp"]
    found = await server.api.apply(bare)
    assert found["metadata"]["finalizers"] == ["example.org/theirs"]
    await server.rival.apply(bare)
    assert await server.api.get(TOPICS, server.namespace, "orders") is None


async def test_only_the_very_object_is_deleted(server: Any) -> None:
    """A uid that is somebody else's is a conflict: the pod that was looked at is the pod that goes."""
    made = await server.api.create(server.named("ConfigMap", "one"))
    wrong = "00000000-0000-0000-0000-000000000000"
    assert await status_of(server.api.delete(CONFIG_MAPS, server.namespace, "one", uid=wrong)) == 409
    await server.api.delete(CONFIG_MAPS, server.namespace, "one", uid=made["metadata"]["uid"])
    assert await server.api.get(CONFIG_MAPS, server.namespace, "one") is None


async def test_lists_come_whole_whatever_the_page(server: Any) -> None:
    """By labels, by name, with the kinds that servers leave out of lists."""
    for number in range(5):
        metadata = {"labels": {"moldau.dev/cluster": "demo" if number < 4 else "other"}}
        await server.api.create(server.named("ConfigMap", f"c{number}", metadata=metadata))
    found = await server.small.select(CONFIG_MAPS, server.namespace, {"moldau.dev/cluster": "demo"})
    assert [one["metadata"]["name"] for one in found] == ["c0", "c1", "c2", "c3"]
    assert {one["kind"] for one in found} == {"ConfigMap"}


async def test_a_list_that_grows_too_old_is_asked_for_again(server: Any) -> None:
    """410 Gone between two pages: the second answer is whole, and of one moment."""
    if server.emulation is None:
        pytest.skip("a real API server forgets its past every five minutes only")
    for number in range(5):
        await server.api.create(server.named("ConfigMap", f"c{number}"))
    api = server.emulation.api
    real, asked = server.small._ask, []

    async def ask(method: str, path: str, query: Any = None, *rest: Any, **more: Any) -> Object:
        asked.append(dict(query or {}))
        if len(asked) == 2:
            api.put(server.named("ConfigMap", "late"))
            api.compact()
        return await real(method, path, query, *rest, **more)

    server.small._ask = ask
    found = await server.small.select(CONFIG_MAPS, server.namespace, {})
    assert [one["metadata"]["name"] for one in found] == ["c0", "c1", "c2", "c3", "c4", "late"]
    assert [("limit" in query, "continue" in query) for query in asked] == [
        (True, False),
        (True, True),
        (False, False),
    ]


async def test_a_claim_template_cannot_change_and_the_number_of_nodes_can(server: Any) -> None:
    """That is why storage grows by making the set again without its pods."""
    labels = {"moldau.dev/cluster": "demo"}
    container = {"name": "kafka", "image": "none"}

    def wanted(size: str, replicas: int = 0) -> Object:
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        spec: Object = {"replicas": replicas, "serviceName": "s", "selector": {"matchLabels": labels}}
        spec |= {
            "template": template,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        }
        return server.named("StatefulSet", "demo-kafka", "apps/v1", spec=spec)

    first = await server.api.apply(wanted("1Gi"))
    again = await server.api.apply(wanted("1Gi"))  # its controller may have written a status meanwhile
    assert again["metadata"]["generation"] == first["metadata"]["generation"]
    assert await status_of(server.api.apply(wanted("2Gi"))) == 422
    await server.api.delete(STATEFUL_SETS, server.namespace, "demo-kafka", orphan=True)

    async def gone() -> bool:
        return await server.api.get(STATEFUL_SETS, server.namespace, "demo-kafka") is None

    await server.eventually(gone)
    found = await server.api.apply(wanted("2Gi"))
    assert found["metadata"]["uid"] != first["metadata"]["uid"]


async def test_what_an_orphaned_owner_had_stays_and_what_another_had_goes(server: Any) -> None:
    """Deletion of an owner takes its objects with it unless it is asked to leave them."""
    for name in ("left", "taken"):
        owner = await server.api.create(server.named("ConfigMap", f"{name}-owner"))
        reference = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": f"{name}-owner",
            "uid": owner["metadata"]["uid"],
        }
        await server.api.create(server.named("ConfigMap", name, metadata={"ownerReferences": [reference]}))
    await server.api.delete(CONFIG_MAPS, server.namespace, "left-owner", orphan=True)
    await server.api.delete(CONFIG_MAPS, server.namespace, "taken-owner")

    async def collected() -> bool:
        return await server.api.get(CONFIG_MAPS, server.namespace, "taken") is None

    async def freed() -> bool:
        left = await server.api.get(CONFIG_MAPS, server.namespace, "left")
        return not left["metadata"].get("ownerReferences")

    await server.eventually(collected)
    await server.eventually(freed)


async def test_ports_that_the_server_gave_are_kept(server: Any) -> None:
    """A NodePort Service applied again keeps its ports, and is not written."""
    ports = [{"name": "client", "port": 9094, "protocol": "TCP"}]
    wanted = server.named("Service", "outside", spec={"type": "NodePort", "ports": ports})
    first = await server.api.apply(wanted)
    given = first["spec"]["ports"][0]["nodePort"]
    assert 30000 <= given < 32768
    again = await server.api.apply(wanted)
    assert (again["spec"]["ports"][0]["nodePort"], version(again)) == (given, version(first))
    assert await server.api.get(SERVICES, server.namespace, "outside") == again


async def test_the_quickstart_reads_back_as_it_was_applied(
    server: Any, request: pytest.FixtureRequest
) -> None:
    """No default, nothing dropped: GitOps tools see no difference."""
    path = request.path.parent / EXAMPLE
    for document in yaml.safe_load_all(path.read_text()):
        document["metadata"]["namespace"] = server.namespace
        await server.api.apply(document)
        name = document["metadata"]["name"]
        found = await server.api.get(RESOURCES[document["kind"]], server.namespace, name)
        assert found["spec"] == document["spec"]
    assert await server.api.select(CLUSTERS, server.namespace, {})
