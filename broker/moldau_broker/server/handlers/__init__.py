"""One module per API: the request handlers. No sockets here; a handler takes a decoded request and gives a response."""

from __future__ import annotations

from typing import Final

from moldau_broker.server.handlers import (
    alter_configs,
    api_versions,
    delete_groups,
    delete_records,
    describe_configs,
    describe_groups,
    describe_log_dirs,
    describe_producers,
    fetch,
    find_coordinator,
    heartbeat,
    incremental_alter_configs,
    join_group,
    leave_group,
    list_config_resources,
    list_groups,
    list_offsets,
    offset_commit,
    offset_delete,
    offset_fetch,
    offset_for_leader_epoch,
    produce,
    sync_group,
)
from moldau_broker.server.handlers.spec import Handler

HANDLERS: Final[tuple[Handler, ...]] = (
    produce.HANDLER,
    fetch.HANDLER,
    list_offsets.HANDLER,
    offset_commit.HANDLER,
    offset_fetch.HANDLER,
    find_coordinator.HANDLER,
    join_group.HANDLER,
    heartbeat.HANDLER,
    leave_group.HANDLER,
    sync_group.HANDLER,
    describe_groups.HANDLER,
    list_groups.HANDLER,
    api_versions.HANDLER,
    delete_records.HANDLER,
    offset_for_leader_epoch.HANDLER,
    describe_configs.HANDLER,
    alter_configs.HANDLER,
    describe_log_dirs.HANDLER,
    delete_groups.HANDLER,
    incremental_alter_configs.HANDLER,
    offset_delete.HANDLER,
    describe_producers.HANDLER,
    list_config_resources.HANDLER,
)
"""Every API this broker serves, by key; ApiVersions and the dispatcher derive from it."""
