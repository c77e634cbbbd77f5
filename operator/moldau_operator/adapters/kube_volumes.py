"""The volumes of a pool's nodes: what of the declared storage they will not get, and which are too small. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from moldau_operator.adapters.kube_objects import claim_size
from moldau_operator.resources.cluster import Pool
from moldau_operator.seams.api_server import Object
from moldau_operator.specs.objects import Manifest


def small_claims(wanted: Manifest, claims: Mapping[str, Object]) -> Iterator[tuple[str, Object, str]]:
    """The claims of a set that are smaller than it asks for: name, claim, size to ask for."""
    size = claim_size(wanted["spec"]["volumeClaimTemplates"][0])
    prefix = f"data-{wanted['metadata']['name']}-"
    for name, claim in claims.items():
        now = claim_size(claim)
        ours = name.startswith(prefix) and name.removeprefix(prefix).isdigit()
        going = "deletionTimestamp" in claim["metadata"]
        if ours and not going and size is not None and now is not None and now.amount < size.amount:
            yield name, claim, size.text


def storage_problem(pool: Pool, there: Object | None) -> str:
    """What of a pool's storage cannot be had with the volumes it has, in words; empty when all can."""
    if there is None:
        return ""
    template = there["spec"]["volumeClaimTemplates"][0]
    found = []
    size, now = pool.storage.size, claim_size(template)
    if size is not None and now is not None and size.amount < now.amount:
        words = f"storage.size {size} is less than the {now} that volumes have, and they never shrink"
        found.append(f"{words}: set it back")
    wanted, given = pool.storage.storage_class, template["spec"].get("storageClassName")
    if wanted is not None and given is not None and wanted != given:
        found.append(
            f"storage.class {wanted} cannot replace {given}, which volumes were made with: set it back"
        )
    return "; ".join(found)
