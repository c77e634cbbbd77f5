"""Produce: served 3-13, advertised 0-13 (KAFKA-18659: older librdkafka switches compression off otherwise).

Behaviour: each partition's batch is validated, given offsets and written on arrival. acks=0 has no answer, and an
error closes the connection; acks=1 is answered after the write; acks=all after the group commit's fdatasync (unless
`log.flush.acks.all=false`) and replication, or with REQUEST_TIMED_OUT while the data stays. Transactional ids are
refused: transactions are not served yet. Version notes: v8 per-record errors (KIP-467), v10 current leader
(KIP-951), v13 topic ids (KIP-516).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moldau_broker.base.deferred import Deferred
from moldau_broker.base.errors import ErrorCode
from moldau_broker.base.ids import Uuid
from moldau_broker.base.topics import INTERNAL_TOPICS
from moldau_broker.replication.outcome import AppendOutcome
from moldau_broker.replication.partition import Partition
from moldau_broker.replication.validation import Rejected, parse_single_batch, validate_batch
from moldau_broker.replication.waiting import DelayedProduce
from moldau_broker.server.exchange import CloseConnection
from moldau_broker.server.handlers.spec import Handler, RequestContext
from moldau_broker.server.leader_hints import PRODUCE_SINCE, LeaderHints
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.produce import (
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)

if TYPE_CHECKING:
    from moldau_broker.server.broker import Broker

_TOPIC_IDS_SINCE = 13
_ALL = -1
_ADMIN_CLIENT_ID = "__admin_client"  # the name under which Kafka's own tools may write internal topics
_LEGAL_ACKS = (_ALL, 0, 1)


def handle(
    broker: Broker, context: RequestContext, request: ProduceRequest
) -> ProduceResponse | Deferred[ProduceResponse] | None:
    """Append every partition's batch; see the module's text for when the answer leaves."""
    refusal = _refuse_whole(request)
    appended: list[tuple[Partition, int]] = []
    outcomes: list[AppendOutcome] = []
    for topic in request.topic_data:
        for data in topic.partition_data:
            outcome, partition = _append_one(broker, context, topic, data, request.acks, refusal)
            outcomes.append(outcome)
            if partition is not None and outcome.error is ErrorCode.NONE:
                appended.append((partition, len(outcomes) - 1))
    if request.acks == 0:
        if any(outcome.error is not ErrorCode.NONE for outcome in outcomes):
            raise unheard()
        return None
    waits = broker.settings.log.flush_acks_all or any(partition.replicated for partition, _ in appended)
    if request.acks == _ALL and appended and waits:
        return _answer_when_committed(broker, context, request, outcomes, appended)
    return answer(broker, context.listener, context.api_version, request, outcomes)


def unheard() -> CloseConnection:
    """The only answer there is where none was asked for."""
    return CloseConnection("produce_acks_0", "a produce request with acks=0 failed; closing tells its client")


def _refuse_whole(request: ProduceRequest) -> Rejected | None:
    if request.acks not in _LEGAL_ACKS:
        return Rejected(ErrorCode.INVALID_REQUIRED_ACKS, f"acks={request.acks}; only -1, 0 and 1 are legal")
    if request.transactional_id is not None:
        return Rejected(
            ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            "transactions are not served by this version of moldau",
        )
    return None


def _append_one(
    broker: Broker,
    context: RequestContext,
    topic: TopicProduceData,
    data: PartitionProduceData,
    acks: int,
    refusal: Rejected | None,
) -> tuple[AppendOutcome, Partition | None]:
    if refusal is not None:
        return AppendOutcome(refusal.error, message=refusal.message), None
    partition = find_partition(broker, context.api_version, topic, data.index)
    if partition is None:
        return AppendOutcome(_missing_error(broker, context.api_version, topic, data.index)), None
    if not may_write(partition.topic, context.client_id):
        return AppendOutcome(
            ErrorCode.INVALID_TOPIC_EXCEPTION, message="clients may not write internal topics"
        ), None
    outcome = append_batch(
        partition, data.records, context.api_version, context.now_ms, all_in_sync=acks == _ALL
    )
    return outcome, partition


def find_partition(broker: Broker, version: int, topic: TopicProduceData, index: int) -> Partition | None:
    """The partition a request of that version means, if it is hosted here."""
    if version >= _TOPIC_IDS_SINCE:
        return broker.replicas.partition_by_id(Uuid(topic.topic_id), index)
    return broker.replicas.partition(topic.name, index)


def _missing_error(broker: Broker, version: int, topic: TopicProduceData, index: int) -> ErrorCode:
    if version >= _TOPIC_IDS_SINCE:
        return broker.missing_id_error(topic.topic_id, index)
    return broker.replicas.missing_error(topic.name, index)


def may_write(topic: str, client_id: str | None) -> bool:
    """Internal topics are written by the coordinators; of clients only Kafka's own admin tools may."""
    return topic not in INTERNAL_TOPICS or client_id == _ADMIN_CLIENT_ID


def append_batch(
    partition: Partition, records: memoryview | None, api_version: int, now_ms: int, *, all_in_sync: bool
) -> AppendOutcome:
    """Validate and append one partition's records of a Produce request."""
    header = parse_single_batch(records, api_version)
    if isinstance(header, Rejected):
        return _invalid(partition, AppendOutcome(header.error, message=header.message))
    assert records is not None
    if header.is_transactional:
        refusal = AppendOutcome(
            ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            message="transactions are not served by this version of moldau",
        )
        return _invalid(partition, refusal)
    verdict = validate_batch(records, header, partition.log.config, now_ms)
    if isinstance(verdict, Rejected):
        refusal = AppendOutcome(
            verdict.error,
            log_start_offset=partition.log_start_offset,
            message=verdict.message,
            record_errors=verdict.records,
        )
        return _invalid(partition, refusal)
    return partition.append(verdict, now_ms, all_in_sync=all_in_sync)


def _invalid(partition: Partition, outcome: AppendOutcome) -> AppendOutcome:
    """What `partition.append` counts itself, for a batch that does not get that far."""
    partition.produces += 1
    partition.failed_produces += 1
    return outcome


def _answer_when_committed(
    broker: Broker,
    context: RequestContext,
    request: ProduceRequest,
    outcomes: list[AppendOutcome],
    appended: list[tuple[Partition, int]],
) -> ProduceResponse | Deferred[ProduceResponse]:
    later: Deferred[ProduceResponse] = Deferred()

    def done(errors: Sequence[ErrorCode]) -> None:
        for (_, slot), error in zip(appended, errors, strict=True):
            if error is not ErrorCode.NONE:
                outcomes[slot] = AppendOutcome(error)
        later.complete(answer(broker, context.listener, context.api_version, request, outcomes))

    waiting = DelayedProduce(done)
    for partition, slot in appended:
        waiting.add(partition, outcomes[slot].next_offset)
    if not waiting.all_added():
        timer = broker.timers.call_later(request.timeout_ms, waiting.expire)
        later.on_complete(lambda _: timer.cancel())
    return later


def answer(
    broker: Broker,
    listener: str,
    api_version: int,
    request: ProduceRequest,
    outcomes: Sequence[AppendOutcome],
) -> ProduceResponse:
    """What became of each partition of a request, in its order; who leads it instead where that is the error."""
    left = iter(outcomes)
    hints: LeaderHints | None = None
    if api_version >= PRODUCE_SINCE and any(outcome.error is not ErrorCode.NONE for outcome in outcomes):
        hints = LeaderHints(broker.metadata.view(listener), broker.node_id)
    topics = [
        TopicProduceResponse(
            name=topic.name,
            topic_id=topic.topic_id,
            partition_responses=[
                _partition_answer(topic, data.index, next(left), hints) for data in topic.partition_data
            ],
        )
        for topic in request.topic_data
    ]
    endpoints = hints.endpoints(_endpoint) if hints is not None else ()
    return ProduceResponse(responses=topics, node_endpoints=endpoints)


def _endpoint(node_id: int, host: str, port: int, rack: str | None) -> NodeEndpoint:
    return NodeEndpoint(node_id=node_id, host=host, port=port, rack=rack)


def _partition_answer(
    topic: TopicProduceData, index: int, outcome: AppendOutcome, hints: LeaderHints | None
) -> PartitionProduceResponse:
    hint = None if hints is None else hints.of(outcome.error, topic.name, topic.topic_id, index)
    told = LeaderIdAndEpoch()
    if hint is not None:
        told = LeaderIdAndEpoch(leader_id=hint.leader_id, leader_epoch=hint.leader_epoch)
    return PartitionProduceResponse(
        index=index,
        error_code=outcome.error,
        base_offset=outcome.base_offset,
        log_append_time_ms=outcome.log_append_time_ms,
        log_start_offset=outcome.log_start_offset,
        record_errors=[
            BatchIndexAndErrorMessage(batch_index=at, batch_index_error_message=text)
            for at, text in outcome.record_errors
        ],
        error_message=outcome.message,
        current_leader=told,
    )


HANDLER = Handler(api=ApiKey.PRODUCE, versions=(3, 13), advertised=(0, 13), handle=handle)
