"""Feature levels: what every broker can run, and what the cluster runs (KIP-584)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from moldau_broker.client.cluster import Cluster
from moldau_broker.client.errors import raise_for
from moldau_broker.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from moldau_broker.wire.messages.update_features import (
    FeatureUpdateKey,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)


class UpgradeType(IntEnum):
    """Which way a level may go; an unsafe downgrade may lose metadata (KIP-584)."""

    UPGRADE = 1
    SAFE_DOWNGRADE = 2
    UNSAFE_DOWNGRADE = 3


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: the levels the asked broker can run, and the level the cluster runs (0: none)."""

    lowest: int
    highest: int
    level: int


@dataclass(frozen=True, slots=True)
class Features:
    """All features; `epoch` is the metadata offset they were read at, -1 where the broker does not say."""

    epoch: int
    by_name: Mapping[str, Feature]


async def describe_features(cluster: Cluster, node: int | None = None) -> Features:
    """The features as a broker (None: any) sees them."""
    request = ApiVersionsRequest(client_software_name="moldau", client_software_version="1")
    answer = await cluster.ask_patiently(request, ApiVersionsResponse, node=node)
    raise_for(answer.error_code, "the features")
    levels = {one.name: one.max_version_level for one in answer.finalized_features}
    ranges = {one.name: (one.min_version, one.max_version) for one in answer.supported_features}
    return Features(
        answer.finalized_features_epoch,
        {
            name: Feature(*ranges.get(name, (0, levels.get(name, 0))), levels.get(name, 0))
            for name in sorted(ranges.keys() | levels.keys())
        },
    )


async def update_features(
    cluster: Cluster,
    levels: Mapping[str, int],
    upgrade: UpgradeType = UpgradeType.UPGRADE,
    *,
    validate_only: bool = False,
) -> None:
    """Bring features to these levels, all of them or none; 0 switches one off.

    Raises:
        RequestFailed: some broker cannot run a level, or the change goes the wrong way.
    """
    request = UpdateFeaturesRequest(
        timeout_ms=cluster.config.request_timeout_ms,
        feature_updates=[
            FeatureUpdateKey(feature=name, max_version_level=level, upgrade_type=upgrade)
            for name, level in levels.items()
        ],
        validate_only=validate_only,
    )
    answer = await cluster.ask_patiently(request, UpdateFeaturesResponse)
    raise_for(answer.error_code, "the features", answer.error_message)
    for result in answer.results:  # before version 2 each feature had an answer of its own
        raise_for(result.error_code, f"feature {result.feature}", result.error_message)
