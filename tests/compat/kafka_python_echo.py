"""kafka-python in a process of its own: each line of input is produced, read back and committed, and its offset told.

A process, because the library leaves sockets of refused connections open, for which our own tests would fail.
"""

from __future__ import annotations

import sys
import warnings

warnings.simplefilter("ignore")

import kafka  # noqa: E402 - it warns when it is imported


def main(bootstrap: str, topic: str) -> None:
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap)
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id="echo", auto_offset_reset="earliest"
    )
    for line in sys.stdin:
        sent = producer.send(topic, line.strip().encode()).get(20)
        message = next(consumer)
        consumer.commit()
        sys.stdout.write(f"{sent.offset} {message.offset} {message.value.decode()}\n")
        sys.stdout.flush()
    consumer.close()
    producer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
