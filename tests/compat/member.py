"""A group member as a process of its own, so that a test can end it in any way: `python member.py OPTIONS-AS-JSON`.

Says what happens to it in the words of Kafka's verifiable consumer, one JSON object to a line, and commits after
every poll. SIGTERM makes it leave its group and end.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import warnings
from collections.abc import Iterable
from typing import Any

stopping = False


def stop(*_: object) -> None:
    global stopping
    stopping = True


def say(name: str, **details: object) -> None:
    sys.stdout.write(json.dumps({"name": name, **details}) + "\n")
    sys.stdout.flush()


def say_partitions(name: str, partitions: Iterable[Any]) -> None:
    say(name, partitions=[{"topic": p.topic, "partition": p.partition} for p in partitions])


def say_records(offsets: dict[int, list[int]]) -> None:
    say("records", offsets={str(partition): found for partition, found in offsets.items()})


def say_committed(error: object | None) -> None:
    say("offsets_committed", success=error is None, error=None if error is None else str(error))


def librdkafka(options: dict[str, Any]) -> None:
    from confluent_kafka import Consumer, KafkaException

    config = {
        "bootstrap.servers": options["bootstrap"],
        "group.id": options["group"],
        "partition.assignment.strategy": options["assignor"],
        "session.timeout.ms": options["session_ms"],
        "heartbeat.interval.ms": options["heartbeat_ms"],
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    if options.get("instance"):
        config["group.instance.id"] = options["instance"]
    consumer = Consumer(config)
    consumer.subscribe(
        [options["topic"]],
        on_assign=lambda _, partitions: say_partitions("partitions_assigned", partitions),
        on_revoke=lambda _, partitions: say_partitions("partitions_revoked", partitions),
        on_lost=lambda _, partitions: say_partitions("partitions_revoked", partitions),
    )
    say("startup_complete")
    while not stopping:
        offsets: dict[int, list[int]] = {}
        for message in consumer.consume(100, 0.1):
            if message.error():
                say("error", error=message.error().name())
                continue
            offsets.setdefault(message.partition(), []).append(message.offset())
        if offsets:
            say_records(offsets)
            try:
                consumer.commit(asynchronous=False)
            except KafkaException as error:
                say_committed(error.args[0].name())
            else:
                say_committed(None)
    consumer.close()


def kafka_python(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import kafka
        from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
        from kafka.coordinator.assignors.range import RangePartitionAssignor
        from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
        from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    assignors = {
        "range": RangePartitionAssignor,
        "roundrobin": RoundRobinPartitionAssignor,
        "sticky": StickyPartitionAssignor,
        "cooperative-sticky": CooperativeStickyAssignor,
    }

    class Listener(kafka.ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
            say_partitions("partitions_assigned", assigned)

        def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
            say_partitions("partitions_revoked", revoked)

        def on_partitions_lost(self, lost: Iterable[Any]) -> None:
            say_partitions("partitions_revoked", lost)

    consumer = kafka.KafkaConsumer(
        bootstrap_servers=options["bootstrap"],
        group_id=options["group"],
        group_instance_id=options.get("instance"),
        partition_assignment_strategy=[assignors[options["assignor"]]],
        session_timeout_ms=options["session_ms"],
        heartbeat_interval_ms=options["heartbeat_ms"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    consumer.subscribe([options["topic"]], listener=Listener())
    say("startup_complete")
    while not stopping:
        try:
            # Long polls: 3.0.12 never takes up an assignment whose join ends between two polls.
            polled = consumer.poll(1000)
        except kafka.errors.KafkaError as error:
            say("error", error=type(error).__name__)
            break
        if polled:
            say_records({p.partition: [m.offset for m in messages] for p, messages in polled.items()})
            try:
                consumer.commit()
            except kafka.errors.KafkaError as error:
                say_committed(type(error).__name__)
            else:
                say_committed(None)
    consumer.close()


async def aiokafka(options: dict[str, Any]) -> None:
    import aiokafka
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    assignors = {
        "range": RangePartitionAssignor,
        "roundrobin": RoundRobinPartitionAssignor,
        "sticky": StickyPartitionAssignor,
    }

    class Listener(aiokafka.ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
            say_partitions("partitions_assigned", assigned)

        def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
            say_partitions("partitions_revoked", revoked)

    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=options["bootstrap"],
        group_id=options["group"],
        group_instance_id=options.get("instance"),
        partition_assignment_strategy=[assignors[options["assignor"]]],
        session_timeout_ms=options["session_ms"],
        heartbeat_interval_ms=options["heartbeat_ms"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    consumer.subscribe([options["topic"]], listener=Listener())
    await consumer.start()
    say("startup_complete")
    while not stopping:
        try:
            polled = await consumer.getmany(timeout_ms=100)
        except aiokafka.errors.KafkaError as error:
            say("error", error=type(error).__name__)
            break
        if polled:
            say_records({p.partition: [m.offset for m in messages] for p, messages in polled.items()})
            try:
                await consumer.commit()
            except aiokafka.errors.KafkaError as error:
                say_committed(type(error).__name__)
            else:
                say_committed(None)
    await consumer.stop()


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    options = json.loads(sys.argv[1])
    if options["client"] == "librdkafka":
        librdkafka(options)
    elif options["client"] == "kafka-python":
        kafka_python(options)
    else:
        asyncio.run(aiokafka(options))
    say("shutdown_complete")


if __name__ == "__main__":
    main()
