#!/usr/bin/env python3
"""The two classic ways to deliver records, shown with an unmodified Kafka client.

    python examples/delivery_demo.py [--bootstrap-server 127.0.0.1:9092]

1. Records without keys spread over the partitions, so that the members of a team share the work.
2. Records with keys stay together: one key, one partition, in order.

Two teams, `billing` and `shipping`, are two consumer groups of two members each. Within a team every record
is read once; each team sees everything. The demo checks all of that and exits with 1 if it does not hold.
Needs confluent-kafka and any broker that speaks the Kafka protocol.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3
TEAMS = ("billing", "shipping")
MEMBERS_PER_TEAM = 2
PARCELS = 30
CUSTOMERS = ("ada", "ben", "cleo", "dan", "eve")
PATIENCE_S = 60


@dataclass
class Delivery:
    """One record as one member of one team received it."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: str


@dataclass
class Member:
    """A consumer in a thread of its own."""

    name: str
    team: str
    assigned: set[tuple[str, int]] = field(default_factory=set)
    received: list[Delivery] = field(default_factory=list)

    def run(self, bootstrap: str, topics: list[str], stop: threading.Event) -> None:
        """Join the team's group and read until told to stop."""
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": self.team,
                "client.id": self.name,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "roundrobin",
            }
        )
        consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked)
        try:
            while not stop.is_set():
                message = consumer.poll(0.2)
                if message is not None and not message.error():
                    self.received.append(_delivery(message))
        finally:
            consumer.close()

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned = {(p.topic, p.partition) for p in partitions}

    def _revoked(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self.assigned = set()


def _delivery(message: Message) -> Delivery:
    key, value = message.key(), message.value() or b""
    return Delivery(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=None if key is None else key.decode(),
        value=value.decode(),
    )


def main() -> int:
    """Run the demo; 0 if everything was delivered as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-b", "--bootstrap-server", default="127.0.0.1:9092", metavar="HOST:PORT")
    parser.add_argument("--keep", action="store_true", help="leave the demo's topics and groups in place")
    bootstrap = parser.parse_args().bootstrap_server
    keep = parser.parse_args().keep
    run = uuid.uuid4().hex[:6]
    parcels, orders = f"demo-parcels-{run}", f"demo-orders-{run}"
    teams = {team: f"demo-{team}-{run}" for team in TEAMS}
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    try:
        admin.list_topics(timeout=10)
    except KafkaException as error:
        print(
            f"error: no cluster at {bootstrap} ({error.args[0].str()}); start one with: moldau up",
            file=sys.stderr,
        )
        return 3
    _settle(admin.create_topics([NewTopic(name, num_partitions=PARTITIONS) for name in (parcels, orders)]))
    members = [
        Member(f"{team}-{number}", group)
        for team, group in teams.items()
        for number in range(1, MEMBERS_PER_TEAM + 1)
    ]
    stop = threading.Event()
    threads = [
        threading.Thread(target=member.run, args=(bootstrap, [parcels, orders], stop)) for member in members
    ]
    try:
        for thread in threads:
            thread.start()
        print(f"Each team of {MEMBERS_PER_TEAM} joins under its own group: {', '.join(teams.values())} ...")
        _wait("the teams to share the partitions", lambda: _shared_out(members))
        produce(bootstrap, parcels, orders)
        wanted = len(teams) * 2 * PARCELS
        _wait("every record to arrive", lambda: sum(len(m.received) for m in members) >= wanted)
        time.sleep(0.5)  # anything delivered twice would come now
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    failures = show(members, teams, parcels, orders)
    if not keep:
        _settle(admin.delete_topics([parcels, orders]))
        _settle(admin.delete_consumer_groups(list(teams.values())))
    for failure in failures:
        print(f"NOT AS PROMISED: {failure}", file=sys.stderr)
    if not failures:
        print("\nEverything was delivered as promised.")
    return 1 if failures else 0


def produce(bootstrap: str, parcels: str, orders: str) -> None:
    """As many records without keys as with keys."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # what Java clients do; records without keys go anywhere
            "sticky.partitioning.linger.ms": 0,  # choose anew for every record, not for every batch
        }
    )
    for number in range(PARCELS):
        producer.produce(parcels, value=f"parcel {number}")
    for number in range(PARCELS):
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        producer.produce(orders, key=customer, value=f"{customer}'s order {number // len(CUSTOMERS) + 1}")
    left = producer.flush(PATIENCE_S)
    if left:
        raise SystemExit(f"error: {left} records were not acknowledged")


def show(members: list[Member], teams: dict[str, str], parcels: str, orders: str) -> list[str]:
    """Print what happened; gives what should not have."""
    failures: list[str] = []
    first_team = [d for m in members if m.team == teams[TEAMS[0]] for d in m.received]

    print("\n1. Records without keys spread over the partitions (parcels)\n")
    counts = {p: sum(d.topic == parcels and d.partition == p for d in first_team) for p in range(PARTITIONS)}
    table(("PARTITION", "PARCELS", ""), [(p, n, "#" * n) for p, n in counts.items()])
    if min(counts.values()) == 0:
        failures.append("a partition got no parcel at all")

    print("\n2. Records with keys stay together (orders of customers)\n")
    rows: list[Sequence[object]] = []
    for customer in CUSTOMERS:
        theirs = [d for d in first_team if d.topic == orders and d.key == customer]
        homes = sorted({d.partition for d in theirs})
        numbers = [d.value.rpartition(" ")[2] for d in sorted(theirs, key=lambda d: d.offset)]
        rows.append((customer, ",".join(map(str, homes)), " ".join(numbers)))
        if len(homes) != 1:
            failures.append(f"the orders of {customer} are in partitions {homes}")
        if numbers != [str(n + 1) for n in range(PARCELS // len(CUSTOMERS))]:
            failures.append(f"the orders of {customer} are not whole and in order: {numbers}")
    table(("CUSTOMER", "PARTITION", "ORDERS, IN ORDER"), rows)

    print("\nWho read what: a team shares the records, each team sees all of them\n")
    rows = []
    for team, group in teams.items():
        mine = [member for member in members if member.team == group]
        for member in mine:
            read = sorted({(d.topic, d.partition) for d in member.received})
            names = " ".join(f"{topic.split('-')[1]}-{partition}" for topic, partition in read)
            rows.append((team, member.name, len(member.received), names))
        seen = [(d.topic, d.partition, d.offset) for member in mine for d in member.received]
        rows.append((team, "together", len(seen), ""))
        if len(seen) != 2 * PARCELS:
            failures.append(f"team {team} read {len(seen)} records, not {2 * PARCELS}")
        if len(set(seen)) != len(seen):
            failures.append(f"team {team} read some record twice")
        if any(not member.received for member in mine):
            failures.append(f"team {team} has an idle member")
    table(("TEAM", "MEMBER", "RECORDS", "READ FROM"), rows)
    return failures


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns, numbers to the right."""
    texts = [list(headings), *([str(cell) for cell in row] for row in rows)]
    numeric = [all(isinstance(row[i], int) for row in rows) for i in range(len(headings))]
    widths = [max(len(line[i]) for line in texts) for i in range(len(headings))]
    for line in texts:
        cells = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        print("   " + "  ".join(cells).rstrip())


def _shared_out(members: list[Member]) -> bool:
    """Whether every member has partitions and every team all of them."""
    each = all(member.assigned for member in members)
    return each and sum(len(member.assigned) for member in members) == len(TEAMS) * 2 * PARTITIONS


def _wait(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"error: waited {PATIENCE_S} s in vain for {what}")
        time.sleep(0.05)


def _settle(futures: Mapping[str, Future[Any]]) -> None:
    for future in futures.values():
        future.result()


if __name__ == "__main__":
    sys.exit(main())
