"""Metadata: served 0-13.

Behaviour: brokers that are up and topics as this listener's clients reach them; who asks for topics by name
is told of brokers that were up until a moment ago as well (`metadata.just_fenced`). Null is all topics (in v0
the empty list is), each topic once, in the order asked. A topic may be named by id from v12 on; an id wins over
a name. Unknown topics are created in the background if both the request and auto.create.topics.enable allow it,
and answered UNKNOWN_TOPIC_OR_PARTITION meanwhile, as Kafka does. The controller named is this broker: it takes
every admin request. Authorized operations are told when asked for; without an authorizer that is all of them.

Version notes: v0 leaves unreachable replicas out and says REPLICA_NOT_AVAILABLE; v6 tells a missing
listener from a missing leader; before v4 auto-creation needs no flag; v8-v10 ask for the cluster's
authorized operations; v10 and v11 carry topic ids but do not look topics up by them; v13 has an error of
its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import NULL_UUID, Uuid
from moldau_broker.base.topics import CLUSTER_METADATA, INTERNAL_TOPICS, TRANSACTION_STATE
from moldau_broker.metadata.topic_names import name_problem
from moldau_broker.metadata.views import ListenerView
from moldau_broker.server.handlers.authorized import ALL_CLUSTER_OPERATIONS, ALL_TOPIC_OPERATIONS
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponseTopic,
)
from moldau_broker.wire.schema import replace

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_FLAG_SINCE: Final = 4
_NEVER_MADE: Final = (None, CLUSTER_METADATA, TRANSACTION_STATE)
_LOOK_UP_BY_ID_SINCE: Final = 12


def handle(broker: Broker, context: RequestContext, request: MetadataRequest) -> MetadataResponse:
    """Describe the topics asked for."""
    version = context.api_version
    wanted = request.topics
    if version < _LOOK_UP_BY_ID_SINCE and wanted and any(_needs_ids(topic) for topic in wanted):
        return MetadataResponse(topics=[_refused(topic) for topic in wanted])
    view = broker.metadata.view(context.listener)
    if wanted is None or (version == 0 and not wanted):
        topics = [view.topic(topic, version) for topic in view.image.topics.values()]
    else:
        may_create = broker.settings.topics.auto_create and (
            version < _FLAG_SINCE or request.allow_auto_topic_creation
        )
        topics = _Lookup(view, version).answers(wanted)
        if may_create:
            _create(broker, topics)
    if request.include_topic_authorized_operations:
        topics = [
            topic
            if topic.error_code == ErrorCode.UNKNOWN_TOPIC_ID  # told for every name, also of topics not there
            else replace(topic, topic_authorized_operations=ALL_TOPIC_OPERATIONS)
            for topic in topics
        ]
    also_named = broker.just_fenced.brokers(view, broker.clock.monotonic_ms()) if wanted else ()
    fields = {}
    if request.include_cluster_authorized_operations:
        fields["cluster_authorized_operations"] = ALL_CLUSTER_OPERATIONS
    return MetadataResponse(
        brokers=[
            MetadataResponseBroker(node_id=one.id, host=at.host, port=at.port, rack=one.rack)
            for one, at in chain(view.brokers(), also_named)
        ],
        cluster_id=broker.cluster_id,
        controller_id=broker.node_id if view.is_alive(broker.node_id) else -1,
        topics=topics,
        **fields,
    )


class _Lookup:
    """Finds the topics of one request."""

    def __init__(self, view: ListenerView, version: int) -> None:
        self._view = view
        self._version = version

    def answers(self, wanted: Sequence[MetadataRequestTopic]) -> list[MetadataResponseTopic]:
        """One answer for each topic, however often it is asked for."""
        found: dict[tuple[str | None, bytes], MetadataResponseTopic] = {}
        for topic in wanted:
            answer = self._one(topic)
            found.setdefault((answer.name, answer.topic_id), answer)
        return list(found.values())

    def _one(self, wanted: MetadataRequestTopic) -> MetadataResponseTopic:
        image, name = self._view.image, wanted.name
        if wanted.topic_id != NULL_UUID:
            topic = image.topics_by_id.get(Uuid(wanted.topic_id))
            if topic is None:
                return MetadataResponseTopic(
                    error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=wanted.topic_id
                )
        elif name is None:
            return _refused(wanted)
        else:
            topic = image.topics.get(name)
            if topic is None:
                error = (
                    ErrorCode.INVALID_TOPIC_EXCEPTION
                    if name_problem(name)
                    else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                )
                return MetadataResponseTopic(error_code=error, name=name, is_internal=name in INTERNAL_TOPICS)
        return self._view.topic(topic, self._version)


def _needs_ids(topic: MetadataRequestTopic) -> bool:
    return topic.name is None or topic.topic_id != NULL_UUID


def _refused(topic: MetadataRequestTopic) -> MetadataResponseTopic:
    return MetadataResponseTopic(
        error_code=ErrorCode.INVALID_REQUEST, name=topic.name or "", topic_id=topic.topic_id
    )


def _create(broker: Broker, topics: list[MetadataResponseTopic]) -> None:
    missing = [
        topic.name
        for topic in topics
        if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and topic.name not in _NEVER_MADE
    ]
    if missing:
        broker.controller.create_soon(missing)


HANDLER = Handler(api=ApiKey.METADATA, versions=(0, 13), handle=handle)
