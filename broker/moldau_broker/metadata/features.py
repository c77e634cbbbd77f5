"""Feature levels: what this broker supports, and what a new cluster is formatted with. Pure.

A feature is listed only where the APIs it stands for are served; kraft.version belongs to the quorum's own
records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from moldau_broker.metadata.elections import ELR_FEATURE, ELR_LEVEL
from moldau_broker.metadata.image import VersionRange
from moldau_broker.metadata.records import METADATA_VERSION, METADATA_VERSION_FEATURE
from moldau_broker.metadata.replay import KRAFT_VERSION
from moldau_broker.raft.quorum import KRAFT_VERSION_RANGE
from moldau_broker.wire.messages.metadata_records import FeatureLevelRecord

SUPPORTED: Final[Mapping[str, VersionRange]] = {
    KRAFT_VERSION: VersionRange(*KRAFT_VERSION_RANGE),
    # One level only: this broker writes no older record versions.
    METADATA_VERSION_FEATURE: VersionRange(METADATA_VERSION, METADATA_VERSION),
    ELR_FEATURE: VersionRange(0, ELR_LEVEL),
}


def bootstrap_records() -> tuple[FeatureLevelRecord, ...]:
    """The records a new cluster's metadata begins with; they go into bootstrap.checkpoint."""
    return (
        FeatureLevelRecord(name=METADATA_VERSION_FEATURE, feature_level=METADATA_VERSION),
        FeatureLevelRecord(name=ELR_FEATURE, feature_level=ELR_LEVEL),
    )


def unsupported(features: Mapping[str, int]) -> str | None:
    """Which finalized level this broker cannot run at, in words; None when it can run at all of them."""
    for name, level in features.items():
        levels = SUPPORTED.get(name)
        if levels is None or not levels.lowest <= level <= levels.highest:
            can = f"levels {levels.lowest} to {levels.highest}" if levels else "no level"
            return f"the cluster runs {name} at level {level}; this version supports {can} of it"
    return None
