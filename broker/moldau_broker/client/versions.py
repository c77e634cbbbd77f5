"""Which version of each API to use with a given broker. Pure.

The highest both sides know, but never above what this client asks for: some newest versions replace
names by topic ids, which a tool that must also speak of deleted topics cannot use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moldau_broker.client.errors import VersionUnsupported
from moldau_broker.wire.apis import API_SCHEMAS, ApiKey

CEILINGS: Final[dict[ApiKey, int]] = {
    ApiKey.OFFSET_COMMIT: 9,  # 10 names topics by id: offsets of a deleted topic could not be addressed
    ApiKey.OFFSET_FETCH: 9,  # the same
}

FLOORS: Final[dict[ApiKey, int]] = {
    # The shapes this client fills in and reads; every one is served since Apache Kafka 3.0.
    ApiKey.OFFSET_FETCH: 8,
    ApiKey.FIND_COORDINATOR: 4,
    ApiKey.LEAVE_GROUP: 3,
    ApiKey.DELETE_TOPICS: 6,
}


def choose_version(key: ApiKey, served: Mapping[int, tuple[int, int]], broker: str) -> int:
    """The version for one API.

    Args:
        key: the API.
        served: api key to the (lowest, highest) version of the broker's ApiVersions answer.
        broker: its address, for the error.

    Raises:
        VersionUnsupported: the ranges do not meet, or the broker does not serve the API at all.
    """
    schema = API_SCHEMAS[key]
    lowest = max(schema.first_version, FLOORS.get(key, 0))
    highest = min(schema.last_version, CEILINGS.get(key, schema.last_version))
    offered = served.get(key)
    if offered is None:
        raise VersionUnsupported(f"the broker at {broker} does not serve {schema.name}")
    version = min(highest, offered[1])
    if version < max(lowest, offered[0]):
        raise VersionUnsupported(
            f"the broker at {broker} serves {schema.name} {offered[0]} to {offered[1]}, "
            f"this client speaks {lowest} to {highest}"
        )
    return version
