"""UpdateFeatures: finalized feature levels go up, when everybody supports the new one (KIP-584, KIP-778). Pure.

One update that cannot be made fails all of a request, as in Kafka. Levels never go down here: what a level added to
the metadata would have to be taken out again, and no older version of this broker could run such a cluster anyway.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from moldau_broker.base.config_types import clip
from moldau_broker.base.errors import ErrorCode
from moldau_broker.metadata.elections import ELR_FEATURE, RulesInForce
from moldau_broker.metadata.features import SUPPORTED
from moldau_broker.metadata.image import MetadataImage, ResourceType, VersionRange
from moldau_broker.metadata.operation import Refusal, Result, View
from moldau_broker.metadata.replay import KRAFT_VERSION
from moldau_broker.wire.messages.metadata_records import ConfigRecord, FeatureLevelRecord
from moldau_broker.wire.messages.update_features import (
    FeatureUpdateKey,
    UpdatableFeatureResult,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)
from moldau_broker.wire.schema import Struct

_UPGRADE: Final = 1
_KINDS: Final = frozenset({_UPGRADE, 2, 3})
"""Upgrade, safe downgrade, unsafe downgrade."""
_MIN_INSYNC: Final = "min.insync.replicas"


def update_features(view: View, request: UpdateFeaturesRequest) -> Result[UpdateFeaturesResponse]:
    """UpdateFeatures: all of the levels, or none of them and the first reason why."""
    counts = Counter(update.feature for update in request.feature_updates)
    written: list[Struct] = []
    for update in request.feature_updates:
        name, level = update.feature, update.max_version_level
        refusal = (
            Refusal(ErrorCode.INVALID_REQUEST, f"Feature {clip(name)} is named more than once.")
            if counts[name] > 1
            else _problem(view, update)
        )
        if refusal is not None:
            return Result(_answer(request, refusal))
        if view.image.features.get(name, 0) != level:
            written.append(FeatureLevelRecord(name=name, feature_level=level))
            if name == ELR_FEATURE:
                written += _one_min_insync(view)
    return Result(_answer(request, None), () if request.validate_only else tuple(written))


def _answer(request: UpdateFeaturesRequest, refusal: Refusal | None) -> UpdateFeaturesResponse:
    error, message = (ErrorCode.NONE, None) if refusal is None else refusal
    every = (
        message
        if message is None
        else f"The update failed for all features since the following feature had an error: {message}"
    )
    return UpdateFeaturesResponse(
        error_code=error,
        error_message=every,
        results=[
            UpdatableFeatureResult(feature=update.feature, error_code=error, error_message=every)
            for update in request.feature_updates
        ],
    )


def _problem(view: View, update: FeatureUpdateKey) -> Refusal | None:
    name, level = update.feature, update.max_version_level
    current = view.image.features.get(name, 0)
    text: str | None
    if update.upgrade_type not in _KINDS:
        return Refusal(ErrorCode.INVALID_REQUEST, f"The upgrade type of {clip(name)} is unknown.")
    downgrade = update.upgrade_type != _UPGRADE or update.allow_downgrade
    text = _unsupported(view, name, level)
    if text is None and level < current:
        text = (
            "This version does not lower feature levels."
            if downgrade
            else "Can't downgrade the version of this feature without setting the upgrade type to either safe or "
            "unsafe downgrade."
        )
    elif text is None and level > current and downgrade and not update.allow_downgrade:
        text = "Can't downgrade to a newer version."
    elif text is None and level != current and name == KRAFT_VERSION:
        text = "The quorum's own records set it."
    if text is None:
        return None
    return Refusal(
        ErrorCode.INVALID_UPDATE_VERSION,
        f"Invalid update version {level} for feature {clip(name)}. {text}",
    )


def _unsupported(view: View, name: str, level: int) -> str | None:
    """Who cannot run at that level, in Kafka's words; None when everybody can."""
    node = view.settings.node_id
    ours = SUPPORTED.get(name)
    if ours is None:
        return f"Local controller {node} does not support this feature."
    if not ours.lowest <= level <= ours.highest:
        return f"Local controller {node} only supports versions {_range(ours)}"
    return _unsupported_by_broker(view.image, name, level)


def _unsupported_by_broker(image: MetadataImage, name: str, level: int) -> str | None:
    if name == KRAFT_VERSION:
        return None
    for _, broker in sorted(image.brokers.items()):
        theirs = broker.features.get(name)
        if theirs is None and level:
            return f"Broker {broker.id} does not support this feature."
        if theirs is not None and not theirs.lowest <= level <= theirs.highest:
            return f"Broker {broker.id} only supports versions {_range(theirs)}"
    return None


def _range(levels: VersionRange) -> str:
    return f"{levels.lowest}-{levels.highest}" if levels.lowest != levels.highest else str(levels.lowest)


def _one_min_insync(view: View) -> list[Struct]:
    """With the ELR everybody must agree on min.insync.replicas: one value for the cluster, none for single brokers."""
    everywhere = view.image.config(ResourceType.BROKER, "")
    written: list[Struct] = []
    if _MIN_INSYNC not in everywhere:
        written.append(
            ConfigRecord(
                resource_type=ResourceType.BROKER,
                resource_name="",
                name=_MIN_INSYNC,
                value=str(RulesInForce(view).of("").min_insync),
            )
        )
    written += [
        ConfigRecord(resource_type=kind, resource_name=name, name=_MIN_INSYNC, value=None)
        for (kind, name), settings in sorted(view.image.configs.items())
        if kind == ResourceType.BROKER and name and _MIN_INSYNC in settings
    ]
    return written
