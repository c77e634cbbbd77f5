"""`moldau dump`: data files in the words of Kafka's `kafka-dump-log`.

The expected texts are what Kafka 4.3.1's tool printed for these very files; `tests/compat` compares the two live.
"""

from __future__ import annotations

from pathlib import Path
from struct import pack

from click.testing import CliRunner, Result

from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage import txn_index
from moldau_broker.storage.disk import OsDisk
from moldau_broker.storage.log import Log
from moldau_broker.storage.producers import ProducerState
from moldau_broker.storage.txn_index import AbortedTxn
from moldau_broker.testing.logs import append, make_marker, open_at
from moldau_broker.wire.codec import encode
from moldau_broker.wire.coordinator_framing import encode_key, encode_versioned
from moldau_broker.wire.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    TopicPartition,
)
from moldau_broker.wire.messages.group_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    MemberMetadata,
    OffsetCommitKey,
    OffsetCommitValue,
)
from moldau_broker.wire.messages.metadata_records import (
    ClientQuotaRecord,
    EntityData,
    PartitionRecord,
    TopicRecord,
)
from moldau_broker.wire.messages.raft_records import (
    KRaftVersionRecord,
    LeaderChangeMessage,
    LeaderChangeVoter,
)
from moldau_broker.wire.metadata_framing import encode_record
from moldau_broker.wire.records import Record, build_batch
from moldau_cli.dump import dump

T = 1_700_000_000_000
ZEROS = "0" * 20


def run(*arguments: str) -> Result:
    """The verb, its standard output and error apart."""
    return CliRunner().invoke(dump, [*arguments])


def folder(path: Path, *batches: bytes, name: str = f"{ZEROS}.log") -> Path:
    """A file of batches."""
    file = path / name
    file.write_bytes(b"".join(batches))
    return file


def records(*contents: tuple[str | None, str | None], base: int = 0) -> list[Record]:
    """Records a millisecond apart."""
    return [
        Record(
            base + n, T + n, None if key is None else key.encode(), None if value is None else value.encode()
        )
        for n, (key, value) in enumerate(contents)
    ]


def lines(result: Result) -> list[str]:
    """Standard output without the first line, which names the file."""
    assert result.stdout.startswith("Dumping ")
    return result.stdout.splitlines()[1:]


def test_dump_shows_batches_of_a_log(tmp_path: Path):
    """One line a batch: place, sequences, flags, horizon, size, codec and CRC."""
    file = folder(
        tmp_path,
        build_batch(records(("a", "1"), ("b", None)), producer_id=7, producer_epoch=1, base_sequence=5),
        build_batch(
            records(("a", "1"), base=2), base_offset=2, timestamp_type=1, max_timestamp=T, leader_epoch=3
        ),
        build_batch(
            records(("k", None), base=3), base_offset=3, last_offset_delta=6, delete_horizon_ms=T + 9
        ),
    )
    result = run(str(file))
    assert lines(result) == [
        "Log starting offset: 0",
        (
            "baseOffset: 0 lastOffset: 1 count: 2 baseSequence: 5 lastSequence: 6 producerId: 7 "
            "producerEpoch: 1 "
            "partitionLeaderEpoch: -1 isTransactional: false isControl: false deleteHorizonMs: "
            "OptionalLong.empty "
            "position: 0 CreateTime: 1700000000001 size: 78 magic: 2 compresscodec: none crc: "
            "360929420 isvalid: true"
        ),
        (
            "baseOffset: 2 lastOffset: 2 count: 1 baseSequence: -1 lastSequence: -1 producerId: "
            "-1 producerEpoch: -1 "
            "partitionLeaderEpoch: 3 isTransactional: false isControl: false deleteHorizonMs: "
            "OptionalLong.empty "
            "position: 78 LogAppendTime: 1700000000000 size: 70 magic: 2 compresscodec: none crc: "
            "3297389278 isvalid: true"
        ),
        (
            "baseOffset: 3 lastOffset: 9 count: 1 baseSequence: -1 lastSequence: -1 producerId: "
            "-1 producerEpoch: -1 "
            "partitionLeaderEpoch: -1 isTransactional: false isControl: false deleteHorizonMs: "
            "OptionalLong[1700000000009] "
            "position: 148 CreateTime: 1700000000000 size: 69 magic: 2 compresscodec: none crc: "
            "1005298787 isvalid: true"
        ),
    ]
    assert result.exit_code == 0
    assert result.stderr == ""


def test_dump_shows_records_and_gaps(tmp_path: Path):
    """Deep iteration adds a line a record; offsets that are missing are listed on standard error."""
    thinned = build_batch(
        [Record(2, T, b"a", b"xyz", [("h", b"1"), ("i", None)]), Record(5, T + 1, None, None)],
        base_offset=2,
        producer_id=1,
        base_sequence=2**31 - 2,
    )
    file = folder(tmp_path, thinned)
    result = run("--deep-iteration", str(file))
    assert lines(result)[2:] == [
        (
            "| offset: 2 CreateTime: 1700000000000 keySize: 1 valueSize: 3 sequence: 2147483646 "
            "headerKeys: [h,i]"
        ),
        "| offset: 5 CreateTime: 1700000000001 keySize: -1 valueSize: -1 sequence: 1 headerKeys: []",
    ]
    assert result.stderr.splitlines() == [
        f"Non-consecutive offsets in {file.resolve()}",
        "  -1 is followed by 2",
        "  2 is followed by 5",
    ]


def test_dump_shows_contents(tmp_path: Path):
    """Keys and payloads as text, damaged UTF-8 replaced, nothing for null; with and without metadata."""
    batch = build_batch(
        [Record(0, T, b"k", "wért\x1b[B".encode()), Record(1, T, None, b"\xff!"), Record(2, T, b"z", None)]
    )
    file = folder(tmp_path, batch)
    assert [line.partition("[]")[2] for line in lines(run("--print-data-log", str(file)))[2:]] == [
        " key: k payload: wért\x1b[B",
        " payload: \ufffd!",
        " key: z",
    ]
    assert lines(run("--print-data-log", "--skip-record-metadata", str(file)))[2:] == [
        "| key: k payload: wért\x1b[B",
        "| payload: \ufffd!",
        "| key: z",
    ]


def test_dump_replaces_damaged_text_as_java_does(tmp_path: Path):
    """An encoded surrogate is one damaged character, not three; the rest is as everywhere."""
    values = [
        b"<\xed\xa0\x80>",
        b"<\xed\xbf>",
        b"\xed\xa0",
        b"<\xf0\x9f\x92>",
        b"<\xe0\x80\x80>",
        b"\xc3(",
        b"\xed\x9f\xbf",
    ]
    file = folder(tmp_path, build_batch(Record(n, T, None, value) for n, value in enumerate(values)))
    shown = [line.partition("payload: ")[2] for line in lines(run("--print-data-log", str(file)))[2:]]
    assert [ascii(text)[1:-1].replace("\\ufffd", "?") for text in shown] == [
        "<?>",
        "<?>",
        "?",
        "<?>",
        "<???>",
        "?(",
        "\\ud7ff",
    ]


def test_dump_shows_control_records(tmp_path: Path):
    """Transaction markers and Raft's own records, each in its form."""
    change = LeaderChangeMessage(
        leader_id=1, voters=[LeaderChangeVoter(voter_id=1)], granting_voters=[LeaderChangeVoter(voter_id=1)]
    )
    controls = [
        Record(2, T, pack(">hh", 0, 2), encode(change, 0)),
        Record(3, T, pack(">hh", 0, 5), encode(KRaftVersionRecord(kraft_version=1), 0)),
    ]
    file = folder(
        tmp_path,
        make_marker(4, 0, commit=True, coordinator_epoch=9, timestamp=T),
        build_batch([Record(1, T, b"\0\0\0\0", b"\0\0\0\0\0\1")], base_offset=1, control=True),
        build_batch(controls, base_offset=2, control=True),
    )
    shown = [line.partition("[]")[2] for line in lines(run("--deep-iteration", str(file))) if "|" in line]
    assert shown == [
        " endTxnMarker: COMMIT coordinatorEpoch: 9",
        " endTxnMarker: ABORT coordinatorEpoch: 1",
        ' LeaderChange: {"version":0,"leaderId":1,"voters":[{"voterId":1}],"grantingVoters":[{"voterId":1}]}',
        ' KRaftVersion {"version":0,"kRaftVersion":1}',
    ]


def test_dump_decodes_committed_offsets_and_groups(tmp_path: Path):
    """--offsets-decoder: JSON as Kafka's converters print it, members' protocols opened."""
    subscription = encode_versioned(ConsumerProtocolSubscription(topics=["t"], generation_id=3), 2)
    assignment = encode_versioned(
        ConsumerProtocolAssignment(assigned_partitions=[TopicPartition(topic="t", partitions=[0, 1])]), 1
    )
    member = MemberMetadata(
        member_id="m-1",
        client_id="c",
        client_host="/127.0.0.1",
        rebalance_timeout=60_000,
        session_timeout=45_000,
        subscription=subscription,
        assignment=assignment,
    )
    group = GroupMetadataValue(
        protocol_type="consumer",
        generation=3,
        protocol="range",
        leader="m-1",
        current_state_timestamp=T,
        members=[member],
    )
    commit = OffsetCommitValue(offset=42, leader_epoch=1, metadata="", commit_timestamp=T)
    contents = [
        (encode_key(OffsetCommitKey(group="g", topic="t", partition=1)), encode_versioned(commit, 3)),
        (encode_key(GroupMetadataKey(group="g")), encode_versioned(group, 3)),
        (encode_key(GroupMetadataKey(group="g")), None),
        (b"\0\x63rest", b""),
    ]
    file = folder(tmp_path, build_batch(Record(n, T, key, value) for n, (key, value) in enumerate(contents)))
    shown = [line.partition("[] ")[2] for line in lines(run("--offsets-decoder", str(file)))[2:]]
    assert shown == [
        (
            'key: {"type":"1","data":{"group":"g","topic":"t","partition":1}} '
            "payload: "
            '{"version":"3","data":{"offset":42,"leaderEpoch":1,"metadata":"","commitTimestamp":1700000000000}}'
        ),
        (
            'key: {"type":"2","data":{"group":"g"}} '
            "payload: "
            '{"version":"3","data":{"protocolType":"consumer","generation":3,"protocol":"range","leader":"m-1",'
            '"currentStateTimestamp":1700000000000,"members":[{"memberId":"m-1",'
            '"groupInstanceId":null,"clientId":"c",'
            '"clientHost":"/127.0.0.1","rebalanceTimeout":60000,"sessionTimeout":45000,'
            '"subscription":{"topics":["t"],"userData":null,"ownedPartitions":[],"generationId":3},'
            '"assignment":{"assignedPartitions":[{"topic":"t","partitions":[0,1]}],"userData":null}}]}}'
        ),
        'key: {"type":"2","data":{"group":"g"}} payload: <DELETE>',
        "key: Unknown record type 99 at offset 3, skipping.",
    ]


def test_dump_decodes_cluster_metadata(tmp_path: Path):
    """--cluster-metadata-decoder: type, version and data; tagged fields only when they say something."""
    topic = TopicRecord(name="orders", topic_id=bytes(range(16)))
    partition = PartitionRecord(
        partition_id=0,
        topic_id=bytes(range(16)),
        replicas=[1],
        isr=[1],
        leader=1,
        leader_epoch=0,
        partition_epoch=0,
        directories=[bytes(15) + b"\1"],
    )
    quota = ClientQuotaRecord(
        entity=[EntityData(entity_type="user", entity_name=None)], key="producer_byte_rate", value=2e7
    )
    values = [encode_record(topic, 0), encode_record(partition, 1), encode_record(quota, 0), b"\x02"]
    file = folder(
        tmp_path,
        build_batch(Record(n, T, None, value) for n, value in enumerate(values)),
        name=f"{7:020}-{2:010}.checkpoint",
    )
    shown = lines(run("--cluster-metadata-decoder", str(file)))
    assert shown[0] == "Snapshot end offset: 7, epoch: 2"
    payloads = [line.partition("payload: ")[2] for line in shown[2:]]
    assert payloads[:3] == [
        '{"type":"TOPIC_RECORD","version":0,"data":{"name":"orders","topicId":"AAECAwQFBgcICQoLDA0ODw"}}',
        (
            '{"type":"PARTITION_RECORD","version":1,"data":{"partitionId":0,'
            '"topicId":"AAECAwQFBgcICQoLDA0ODw",'
            '"replicas":[1],"isr":[1],"removingReplicas":[],"addingReplicas":[],"leader":1,"leaderEpoch":0,'
            '"partitionEpoch":0,"directories":["AAAAAAAAAAAAAAAAAAAAAQ"]}}'
        ),
        (
            '{"type":"CLIENT_QUOTA_RECORD","version":0,"data":{"entity":[{"entityType":"user",'
            '"entityName":null}],'
            '"key":"producer_byte_rate","value":2.0E7,"remove":false}}'
        ),
    ]
    assert payloads[3].startswith("Error at 3, skipping. ")


def real_log(path: Path) -> Log:
    """A log of two segments with indexes, a producer and an aborted transaction."""
    config = TopicConfig(segment_bytes=4_000, index_interval_bytes=300)
    log = open_at(OsDisk(path), config)
    for n in range(40):
        batch = build_batch(
            [Record(0, T + n, b"k", bytes(100))], producer_id=3, producer_epoch=0, base_sequence=n
        )
        append(log, batch, now_ms=T)
    log.close(clean=True)
    return log


def test_dump_shows_indexes_and_snapshots_of_a_log(tmp_path: Path):
    """Every entry of both indexes, and the producers as of the end; all entries fit the log."""
    log = real_log(tmp_path)
    base = tmp_path / "t-0" / ZEROS
    entries = log.segments[0].offset_index.entries()
    assert len(entries) > 3
    result = run(f"{base}.index")
    assert lines(result) == [f"offset: {offset} position: {position}" for offset, position in entries]
    assert result.stderr == ""
    result = run(f"{base}.timeindex")
    assert (
        lines(result)[-1]
        == f"timestamp: {T + log.segments[1].base_offset - 1} offset: {log.segments[1].base_offset - 1}"
    )
    assert result.stderr == ""
    result = run(str(tmp_path / "t-0" / f"{40:020}.snapshot"))
    assert lines(result) == [
        (
            "producerId: 3 producerEpoch: 0 coordinatorEpoch: -1 currentTxnFirstOffset: OptionalLong.empty "
            f"lastTimestamp: {T + 39} firstSequence: 39 lastSequence: 39 lastOffset: 39 "
            f"offsetDelta: 0 timestamp: {T + 39}"
        )
    ]


def test_dump_checks_indexes(tmp_path: Path):
    """--index-sanity-check and --verify-index-only print a verdict and nothing else."""
    real_log(tmp_path)
    index, times = (str(tmp_path / "t-0" / f"{ZEROS}{kind}") for kind in (".index", ".timeindex"))
    assert lines(run("--index-sanity-check", index)) == [f"{index} passed sanity check."]
    assert lines(run("--index-sanity-check", times)) == [f"{times} passed sanity check."]
    assert lines(run("--verify-index-only", index)) == []
    with Path(index).open("ab") as file:
        file.write(b"\1\2\3")
    broken = run("--index-sanity-check", index)
    assert broken.exit_code == 1
    assert "multiple of 8" in broken.stderr


def test_dump_names_index_entries_that_do_not_fit(tmp_path: Path):
    """Offsets and timestamps that the log does not have at the place are listed on standard error."""
    real_log(tmp_path)
    index, times = (tmp_path / "t-0" / f"{ZEROS}{kind}" for kind in (".index", ".timeindex"))
    data = bytearray(index.read_bytes())
    data[3] += 1
    index.write_bytes(data)
    assert run(str(index)).stderr.splitlines() == [
        f"Mismatches in :{index}",
        "  Index offset: 3, log offset: 2",
    ]
    data[3] -= 1
    index.write_bytes(data)
    data = bytearray(times.read_bytes())
    data[7] += 100
    data[12 + 11] = 200
    times.write_bytes(data)
    errors = run(str(times)).stderr.splitlines()
    assert errors[:2] == [
        f"Found timestamp mismatch in :{times}",
        f"  Index timestamp: {T + 102}, log timestamp: {T + 2}",
    ]
    assert "Indexed offset: 200, found log offset: -1" in errors


def test_dump_stops_at_preallocated_zeros(tmp_path: Path):
    """Kafka makes index files ten megabytes long; what follows the last entry is not shown."""
    log = real_log(tmp_path)
    index = tmp_path / "t-0" / f"{ZEROS}.index"
    entries = len(log.segments[0].offset_index.entries())
    index.write_bytes(index.read_bytes() + bytes(800))
    assert len(lines(run(str(index)))) == entries


def test_dump_shows_aborted_transactions(tmp_path: Path):
    """The entries of a .txnindex."""
    entry = AbortedTxn(producer_id=4, first_offset=1, last_offset=5, last_stable_offset=6)
    (tmp_path / f"{ZEROS}.txnindex").write_bytes(txn_index.ENTRY.pack(txn_index.VERSION, *entry))
    shown = lines(run(str(tmp_path / f"{ZEROS}.txnindex")))
    assert shown == ["version: 0 producerId: 4 firstOffset: 1 lastOffset: 5 lastStableOffset: 6"]


def test_dump_goes_on_after_damage(tmp_path: Path):
    """A wrong CRC is shown, what is cut short is counted, and the next file still gets its turn."""
    whole = build_batch(records(("a", "1")))
    damaged = bytearray(whole)
    damaged[-2] ^= 1
    file = folder(tmp_path, damaged, whole[:30])
    empty = tmp_path / f"{1:020}.snapshot"
    empty.write_bytes(ProducerState().encode())
    result = run(str(file), str(tmp_path / "missing.log"), str(empty), str(tmp_path / "notes.txt"))
    assert "isvalid: false" in result.stdout
    assert f"Found 30 invalid bytes at the end of {file.name}" in result.stdout
    assert f"Dumping {empty}" in result.stdout
    assert "missing.log" in result.stderr
    assert f"Ignoring unknown file {tmp_path / 'notes.txt'}" in result.stderr
    assert result.exit_code == 1


def test_dump_gives_up_on_what_is_no_batch(tmp_path: Path):
    """Zeros where a batch should be are an error, as in the tool."""
    result = run(str(folder(tmp_path, build_batch(records(("a", "1"))), bytes(200))))
    assert "isvalid: true" in result.stdout
    assert "Found record size 0 smaller than minimum record overhead" in result.stderr
    assert result.exit_code == 1


def test_dump_reads_no_more_than_it_is_told(tmp_path: Path):
    """--max-bytes ends at the last batch that fits, without a word on the rest."""
    batches = [build_batch(records(("a", "1"), base=n), base_offset=n) for n in range(5)]
    file = folder(tmp_path, *batches)
    shown = lines(run("--max-bytes", str(2 * len(batches[0]) + 5), str(file)))
    assert len(shown) == 3
