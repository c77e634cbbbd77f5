"""`BrokerAdmin` over the Kafka admin protocol."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from moldau_broker.base.errors import ErrorCode
from moldau_broker.client.admin import (
    configs,
    elections,
    groups,
    nodes,
    offsets,
    quorum,
    reassignments,
    topics,
)
from moldau_broker.client.admin.topic_pages import topic_pages
from moldau_broker.client.cluster import Cluster
from moldau_broker.client.config import ClientConfig
from moldau_broker.client.errors import ClientError, RequestFailed, VersionUnsupported
from moldau_broker.client.metadata import NO_LEADER, TopicInfo
from moldau_broker.client.partitions import EARLIEST, LATEST, TopicPartition
from moldau_operator.adapters.admin_http import HttpAdmin, admin_error
from moldau_operator.errors import AdminError
from moldau_operator.resources.consumergroup import Edge
from moldau_operator.seams.broker_admin import (
    ClusterView,
    ConfigChange,
    GroupAge,
    GroupView,
    MoveView,
    NewTopic,
    Obstacle,
    Partition,
    PartitionLoad,
    PartitionView,
    QuorumMember,
    QuorumView,
    TopicView,
)

K = TypeVar("K")
T = TypeVar("T")

ADMIN_PATIENCE: Final = ClientConfig(
    client_id="moldau-operator", connect_timeout_ms=2_000, request_timeout_ms=5_000, deadline_ms=5_000
)
"""A reconciler comes again in seconds, so it gives up early and lets the next pass try."""
SETTINGS_BATCH: Final = 50
"""Topics whose settings are asked for at once: each has some thirty, and decoding them holds the event loop."""


class KafkaAdmin:
    """Asks the brokers of one cluster. Connections are made on first use; `close` ends them.

    Args:
        bootstrap: gives host:port[,host:port...]; asked on first use, because a platform knows its nodes'
            addresses only once it was told to run them. Empty means that there are none yet.
        http: gives host:port of every node's admin API, those that serve first.
    """

    def __init__(
        self,
        bootstrap: Callable[[], str],
        http: Callable[[], Sequence[str]] = tuple,
        config: ClientConfig = ADMIN_PATIENCE,
    ) -> None:
        self._bootstrap = bootstrap
        self._config = config
        self._connected: Cluster | None = None
        self._http = HttpAdmin(http)

    @property
    def _cluster(self) -> Cluster:
        if self._connected is None:
            addresses = self._bootstrap()
            if not addresses:
                raise AdminError(ErrorCode.BROKER_NOT_AVAILABLE, "there are no brokers yet", retriable=True)
            self._connected = Cluster(addresses, self._config)
        return self._connected

    async def close(self) -> None:
        """Close all connections; the next question makes new ones."""
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected.close()

    async def describe_cluster(self) -> ClusterView:
        """Who is there."""
        found = await _ask(lambda: nodes.describe_cluster(self._cluster))
        controller = found.controller if found.controller >= 0 else None
        return ClusterView(
            cluster_id=found.cluster_id,
            controller_id=controller,
            broker_ids=tuple(node.id for node in found.nodes),
            fenced_ids=tuple(sorted(found.fenced)),
            racks={node.id: node.rack for node in found.nodes if node.rack is not None},
        )

    async def describe_quorum(self) -> QuorumView:
        """The metadata quorum."""
        found = await _ask(lambda: quorum.describe_quorum(self._cluster))

        def members(replicas: Iterable[quorum.QuorumReplica]) -> tuple[QuorumMember, ...]:
            return tuple(
                QuorumMember(one.id, one.directory_id, found.lag(one), one.last_caught_up_ms)
                for one in replicas
            )

        return QuorumView(
            leader_id=found.leader_id,
            leader_epoch=found.leader_epoch,
            voters=members(found.voters),
            observers=members(found.observers),
        )

    async def list_moves(self) -> dict[Partition, MoveView]:
        """Moves of replicas that are under way."""
        found = await _ask(lambda: reassignments.list_reassignments(self._cluster))
        return {Partition(*place): MoveView(move.adding, move.removing) for place, move in found.items()}

    async def move_replicas(
        self, targets: Mapping[Partition, Sequence[int]]
    ) -> dict[Partition, AdminError | None]:
        """Begin to move partitions to these brokers, the preferred leader first."""
        wanted = {TopicPartition(*place): nodes_wanted for place, nodes_wanted in targets.items()}
        found = _outcomes(await _ask(lambda: reassignments.alter_reassignments(self._cluster, wanted)))
        return {Partition(*place): one for place, one in found.items()}

    async def cancel_moves(self, partitions: Sequence[Partition]) -> dict[Partition, AdminError | None]:
        """Go back to the replicas from before these moves."""
        wanted = [TopicPartition(*place) for place in partitions]
        found = _outcomes(await _ask(lambda: reassignments.cancel_reassignments(self._cluster, wanted)))
        return {Partition(*place): one for place, one in found.items()}

    async def elect_preferred(self, partitions: Sequence[Partition]) -> dict[Partition, AdminError | None]:
        """Give leadership to the first replica of each of these."""
        wanted = [TopicPartition(*place) for place in partitions]
        found = _outcomes(await _ask(lambda: elections.elect_leaders(self._cluster, wanted)))
        return {Partition(*place): one for place, one in found.items()}

    async def partition_loads(self) -> dict[Partition, PartitionLoad]:
        """What each partition carries, as far as leaders answer."""
        return await self._http.loads()

    async def replica_bytes(self) -> dict[Partition, int]:
        """Bytes of one replica of each partition, as far as brokers answer."""
        await _ask(lambda: self._cluster.refresh(()))
        sizes: dict[Partition, int] = {}
        for directories in (await nodes.describe_log_dirs(self._cluster)).values():
            for directory in directories if not isinstance(directories, ClientError) else ():
                for place, replica in directory.replicas.items():
                    name = Partition(*place)
                    sizes[name] = max(sizes.get(name, 0), replica.size_bytes)
        return sizes

    async def broker_overrides(self) -> dict[str, str]:
        """Settings that all brokers were given while they run."""
        found = await _ask(lambda: configs.describe_configs(self._cluster, [configs.ALL_BROKERS]))
        settings = found[configs.ALL_BROKERS]
        if isinstance(settings, ClientError):
            raise admin_error(settings)
        return {name: setting.value or "" for name, setting in settings.items()}

    async def alter_brokers(self, change: ConfigChange) -> AdminError | None:
        """Give all brokers settings while they run."""
        wanted: dict[str, str | None] = {**change.set, **dict.fromkeys(change.remove)}
        found = await _ask(lambda: configs.alter_configs(self._cluster, {configs.ALL_BROKERS: wanted}))
        return _outcomes(found)[configs.ALL_BROKERS]

    async def may_stop(self, broker_id: int) -> tuple[Obstacle, ...]:
        """Why this broker should not be stopped now; empty when it may."""
        return await self._http.may_stop(broker_id)

    async def remove_voter(self, voter: QuorumMember) -> AdminError | None:
        """Take a voter out of the metadata quorum."""
        return await _tried(lambda: quorum.remove_voter(self._cluster, voter.id, voter.directory_id))

    async def unregister(self, broker_id: int) -> AdminError | None:
        """Forget a broker that is gone for good."""
        return await _tried(lambda: nodes.unregister_broker(self._cluster, broker_id))

    async def list_topics(self) -> dict[str, TopicView]:
        """All topics, without their overrides."""
        found: dict[str, TopicView] = {}
        try:
            async for page in topic_pages(self._cluster):
                for info in page:
                    view = _topic_view(info, ())
                    begun = found.get(info.name)
                    found[info.name] = view if begun is None else _continued(begun, view)
        except VersionUnsupported:
            everything = await _ask(lambda: topics.list_topics(self._cluster))
            return {info.name: _topic_view(info, ()) for info in everything}
        except ClientError as error:
            raise admin_error(error) from error
        return found

    async def describe_topics(self, names: Sequence[str]) -> dict[str, TopicView]:
        """These topics with their overrides; a topic that does not exist is left out."""
        infos = await self._topic_infos(names)
        if not infos:
            return {}
        resources = [configs.topic_resource(name) for name in infos]
        settings: dict[configs.Resource, dict[str, configs.Setting] | ClientError] = {}
        for start in range(0, len(resources), SETTINGS_BATCH):
            batch = resources[start : start + SETTINGS_BATCH]
            settings |= await _ask(lambda batch=batch: configs.describe_configs(self._cluster, batch))  # type: ignore[misc]
        views: dict[str, TopicView] = {}
        for name, info in infos.items():
            found = settings.get(configs.topic_resource(name))
            if found is None or isinstance(found, ClientError):
                if _is_missing(found):
                    continue  # deleted between the two questions
                raise admin_error(found or RequestFailed(ErrorCode.UNKNOWN_SERVER_ERROR, f"topic {name}"))
            views[name] = _topic_view(info, found.values())
        return views

    async def _topic_infos(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        if not names:
            return {}
        found = await _ask(lambda: topics.describe_topics(self._cluster, names))
        infos: dict[str, TopicInfo] = {}
        for name, info in found.items():
            if isinstance(info, TopicInfo):
                infos[name] = info
            elif not _is_missing(info):
                raise admin_error(info)
        return infos

    async def create_topics(self, new: Sequence[NewTopic]) -> dict[str, AdminError | None]:
        """Create topics."""
        wanted = [
            topics.NewTopic(
                name=topic.name,
                partitions=topic.partitions,
                replication_factor=topic.replicas,
                config=topic.config,
            )
            for topic in new
        ]
        return _outcomes(await _ask(lambda: topics.create_topics(self._cluster, wanted)))

    async def create_partitions(self, totals: Mapping[str, int]) -> dict[str, AdminError | None]:
        """Grow topics to these total numbers of partitions."""
        return _outcomes(await _ask(lambda: topics.create_partitions(self._cluster, totals)))

    async def alter_topics(self, changes: Mapping[str, ConfigChange]) -> dict[str, AdminError | None]:
        """Change topic settings; what a change does not name stays."""
        wanted: dict[configs.Resource, dict[str, str | None]] = {
            configs.topic_resource(name): {**change.set, **dict.fromkeys(change.remove)}
            for name, change in changes.items()
        }
        found = await _ask(lambda: configs.alter_configs(self._cluster, wanted))
        return _outcomes({resource.name: result for resource, result in found.items()})

    async def delete_topics(self, names: Sequence[str]) -> dict[str, AdminError | None]:
        """Delete topics with their records."""
        return _outcomes(await _ask(lambda: topics.delete_topics(self._cluster, names)))

    async def list_groups(self) -> tuple[str, ...]:
        """Ids of all groups, sorted."""
        return tuple(group.id for group in await _ask(lambda: groups.list_groups(self._cluster)))

    async def describe_groups(self, group_ids: Sequence[str]) -> dict[str, GroupView | AdminError]:
        """These groups; one that nobody knows is Dead."""
        found = await _ask(lambda: groups.describe_groups(self._cluster, group_ids))
        views: dict[str, GroupView | AdminError] = {}
        for group_id, group in found.items():
            if isinstance(group, ClientError):
                unknown = isinstance(group, RequestFailed) and group.code is ErrorCode.GROUP_ID_NOT_FOUND
                dead = GroupView(group_id=group_id, state=groups.DEAD, members=0)
                views[group_id] = dead if unknown else admin_error(group)
            else:
                views[group_id] = GroupView(group_id=group_id, state=group.state, members=len(group.members))
        return views

    async def group_ages(self, group_ids: Sequence[str]) -> dict[str, GroupAge]:
        """Lag in seconds, as far as coordinators answer."""
        return await self._http.ages(group_ids)

    async def committed_offsets(
        self, group_ids: Sequence[str]
    ) -> dict[str, dict[Partition, int] | AdminError]:
        """What each group has committed; partitions without a commit are left out."""
        found = await _ask(lambda: offsets.fetch_offsets(self._cluster, dict.fromkeys(group_ids)))
        return {
            group_id: admin_error(commits)
            if isinstance(commits, ClientError)
            else {Partition(*place): commit.offset for place, commit in commits.items()}
            for group_id, commits in found.items()
        }

    async def offsets_at(
        self, partitions: Sequence[Partition], place: Edge | int
    ) -> dict[Partition, int | AdminError]:
        """Offsets at an end of the log, or of the first record at or after a time in ms (the end if none)."""
        if isinstance(place, Edge):
            return await self._list_offsets(partitions, EARLIEST if place is Edge.EARLIEST else LATEST)
        found = await self._list_offsets(partitions, place)
        beyond = [partition for partition, offset in found.items() if offset == -1]
        return {**found, **(await self._list_offsets(beyond, LATEST))} if beyond else found

    async def _list_offsets(
        self, partitions: Sequence[Partition], timestamp: int
    ) -> dict[Partition, int | AdminError]:
        wanted = {TopicPartition(*partition): timestamp for partition in partitions}
        found = await _ask(lambda: offsets.list_offsets(self._cluster, wanted, deadline_ms=0))
        return {
            Partition(*place): admin_error(one) if isinstance(one, ClientError) else one.offset
            for place, one in found.items()
        }

    async def partitions_of(self, names: Sequence[str]) -> dict[str, int]:
        """Partition counts; a topic that does not exist is left out."""
        return {name: len(info.partitions) for name, info in (await self._topic_infos(names)).items()}

    async def reset_offsets(
        self, group_id: str, places: Mapping[Partition, int], reset_id: str, *, force: bool = False
    ) -> None:
        """Commit these offsets under the coordinator's fence, once for each id."""
        await self._http.reset_offsets(group_id, places, reset_id, force=force)

    async def delete_groups(self, group_ids: Sequence[str]) -> dict[str, AdminError | None]:
        """Delete groups without members, with their offsets."""
        return _outcomes(await _ask(lambda: groups.delete_groups(self._cluster, group_ids)))


async def _tried(call: Callable[[], Awaitable[None]]) -> AdminError | None:
    try:
        await call()
    except ClientError as error:
        return admin_error(error)
    return None


async def _ask(call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except ClientError as error:
        raise admin_error(error) from error


def _outcomes(found: Mapping[K, object]) -> dict[K, AdminError | None]:
    return {key: admin_error(one) if isinstance(one, ClientError) else None for key, one in found.items()}


def _is_missing(error: ClientError | None) -> bool:
    return isinstance(error, RequestFailed) and error.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _continued(begun: TopicView, rest: TopicView) -> TopicView:
    """A topic whose partitions came with more than one page."""
    return replace(
        begun,
        partitions=begun.partitions + rest.partitions,
        replicas=max(begun.replicas, rest.replicas),
        leaderless=begun.leaderless + rest.leaderless,
        placement=begun.placement + rest.placement,
    )


def _topic_view(info: TopicInfo, settings: Iterable[configs.Setting]) -> TopicView:
    return TopicView(
        name=info.name,
        topic_id=base64.urlsafe_b64encode(info.topic_id).rstrip(b"=").decode(),
        partitions=len(info.partitions),
        replicas=max((len(partition.replicas) for partition in info.partitions), default=0),
        leaderless=sum(partition.leader == NO_LEADER for partition in info.partitions),
        internal=info.internal,
        overrides={
            setting.name: setting.value or ""
            for setting in settings
            if setting.source is configs.ConfigSource.TOPIC
        },
        placement=tuple(
            PartitionView(one.leader if one.leader != NO_LEADER else None, one.replicas, one.isr)
            for one in info.partitions
        ),
    )
