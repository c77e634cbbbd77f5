"""Names: which ones are legal, what we call things, and what a mistyped one was meant to be. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

API_GROUP: Final = "moldau.dev"
API_VERSION: Final = "moldau.dev/v1alpha1"

CLUSTER_NAME_CHARS_MAX: Final = 40
"""Pod names are `<cluster>-<pool>-<n>` and end up in labels, which hold 63 characters."""

OBJECT_NAME_CHARS_MAX: Final = 253
"""Kubernetes' limit for object names (RFC 1123 subdomain)."""

TOPIC_NAME_CHARS_MAX: Final = 249
"""Kafka's limit: the folder `<topic>-<partition>` must fit a file name of 255 bytes."""

GROUP_ID_CHARS_MAX: Final = 255
"""Kafka sets none; every group id becomes a record key and a metric label, so there is one here."""

POOL_NAME_DEFAULT: Final = "kafka"
"""The pool of a Cluster without `pools`: dashboards look for pods named `<cluster>-kafka-<n>`."""

INTERNAL_TOPICS: Final = frozenset(
    {"__consumer_offsets", "__transaction_state", "__cluster_metadata", "__share_group_state"}
)
"""Kept by the brokers themselves; no resource may claim one."""

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)


def label_problem(name: str, chars_max: int = 63) -> str | None:
    """Why `name` is no DNS label (cluster, pool and namespace names); None when it is one."""
    if len(name) > chars_max:
        return f"is {len(name)} characters long; at most {chars_max} are allowed"
    if not _LABEL.fullmatch(name):
        return "must be lower-case letters, digits and '-', beginning and ending with a letter or digit"
    return None


def object_name_problem(name: str) -> str | None:
    """Why `name` cannot be a Kubernetes object's name; None when it can."""
    if len(name) > OBJECT_NAME_CHARS_MAX:
        return f"is {len(name)} characters long; at most {OBJECT_NAME_CHARS_MAX} are allowed"
    if not _SUBDOMAIN.fullmatch(name):
        return "must be lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
    return None


def topic_name_problem(name: str) -> str | None:
    """Why `name` cannot be a topic's name; None when it can."""
    if len(name) > TOPIC_NAME_CHARS_MAX:
        return f"is {len(name)} characters long; a topic's name has at most {TOPIC_NAME_CHARS_MAX}"
    if name in {".", ".."} or not _TOPIC.fullmatch(name):
        return "must be letters, digits, '.', '_' and '-' (and not '.' or '..')"
    if name in INTERNAL_TOPICS:
        return "is kept by the brokers themselves; choose another name"
    return None


def group_id_problem(group_id: str) -> str | None:
    """Why `group_id` cannot be declared; None when it can."""
    if not group_id.strip():
        return "must not be empty"
    if len(group_id) > GROUP_ID_CHARS_MAX:
        return f"is {len(group_id)} characters long; at most {GROUP_ID_CHARS_MAX} are allowed"
    return None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be, if one is near enough."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing."""
    match = nearest(name, known)
    return f"; did you mean {match}?" if match else ""


def counted(count: int, noun: str) -> str:
    """1 partition, 2 partitions."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
