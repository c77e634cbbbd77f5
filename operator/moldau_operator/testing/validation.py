"""Changes that an API server refuses of objects of its own kinds, as far as an operator could try them. Pure."""

from __future__ import annotations

from typing import Any, Final

from moldau_operator.resources.quantity import Quantity, parse_quantity
from moldau_operator.seams.api_server import ApiError, Object

_SET_FIXED: Final = ("serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates")


def check_change(there: Object | None, merged: Object, *, expandable: bool) -> None:
    """Refuse what the server would.

    Raises:
        ApiError: the change is invalid (422), or forbidden (403).
    """
    if there is None:
        return
    name = merged["metadata"]["name"]
    if merged["kind"] == "StatefulSet":
        for field in _SET_FIXED:
            if there["spec"].get(field) != merged["spec"].get(field):
                raise ApiError(
                    422, f'StatefulSet "{name}" is invalid: spec.{field}: Forbidden: it cannot be updated'
                )
    if merged["kind"] == "PersistentVolumeClaim":
        before, after = _size(there), _size(merged)
        if before is None or after is None or before.amount == after.amount:
            return
        if after.amount < before.amount:
            raise ApiError(
                422,
                f'PersistentVolumeClaim "{name}" is invalid: spec: field can not be less than status.capacity',
            )
        if not expandable:
            words = "only dynamically provisioned pvc can be resized and the storageclass must support resize"
            raise ApiError(403, f'persistentvolumeclaims "{name}" is forbidden: {words}')


def _size(one: dict[str, Any]) -> Quantity | None:
    found = parse_quantity(str(one["spec"].get("resources", {}).get("requests", {}).get("storage")))
    return found if isinstance(found, Quantity) else None
