"""A data directory: whose it is, its checkpoints, its logs coming and going."""

from __future__ import annotations

from random import Random

import pytest

from moldau_broker.base.ids import random_uuid
from moldau_broker.base.topic_config import TopicConfig
from moldau_broker.storage.checkpoints import decode_offsets, encode_offsets
from moldau_broker.storage.errors import CorruptLog, DirectoryInUse, StorageError
from moldau_broker.storage.logdir import LogDir
from moldau_broker.storage.names import HIGH_WATERMARKS, LOG_STARTS, META_PROPERTIES, RECOVERY_POINTS
from moldau_broker.testing.disk import SimDisk
from moldau_broker.testing.logs import append, make_batch, read_all

CONFIG = TopicConfig(segment_bytes=1_000, index_interval_bytes=200, retention_ms=-1, file_delete_delay_ms=0)
TOPIC = random_uuid(Random(1))


def open_dir(disk, *, load=True, node_id=1, cluster_id="c"):
    directory = LogDir.open(disk, cluster_id=cluster_id, node_id=node_id, rng=Random(5))
    if load:
        directory.load_logs(lambda _: CONFIG)
    return directory


def fill(log, count=10):
    for _ in range(count):
        append(log, make_batch([b"x" * 20]))


def test_new_directory_is_formatted_and_recognised_again():
    """meta.properties says whose it is; another cluster's or node's is refused in words."""
    disk = SimDisk()
    directory = open_dir(disk)
    identity = directory.directory_id
    directory.close()
    again = open_dir(disk, cluster_id=None)
    assert (again.cluster_id, again.node_id, again.directory_id) == ("c", 1, identity)
    again.close()
    with pytest.raises(StorageError, match="belongs to cluster c, not other"):
        open_dir(disk, cluster_id="other")
    with pytest.raises(StorageError, match="belongs to node 1, not 2"):
        open_dir(disk, node_id=2)
    with pytest.raises(StorageError, match="not formatted"):
        open_dir(SimDisk(), cluster_id=None)
    disk.write(META_PROPERTIES, b"garbage")
    with pytest.raises(CorruptLog):
        open_dir(disk)


def test_directory_is_locked_while_open(tmp_path):
    """A second broker is told, on the real disk too."""
    directory = open_dir(tmp_path / "data")
    with pytest.raises(DirectoryInUse):
        open_dir(tmp_path / "data")
    directory.close()
    open_dir(tmp_path / "data").close()


def test_clean_marker_is_taken_at_opening_and_left_at_a_clean_close():
    """Only a clean close leaves it, with the broker's epoch; any other end is a crash."""
    disk = SimDisk()
    directory = open_dir(disk)
    assert not directory.was_clean
    directory.close(broker_epoch=12)
    directory = open_dir(disk)
    assert directory.was_clean
    assert directory.previous_broker_epoch == 12
    directory.close(clean=False)
    assert not open_dir(disk).was_clean


def test_logs_come_back_with_their_offsets():
    """Start, end, high watermark, topic id; folders that are no partitions are left alone."""
    disk = SimDisk()
    directory = open_dir(disk)
    log = directory.create_log("t", 3, TOPIC, CONFIG)
    fill(log, 30)
    log.advance_log_start(25)
    log.high_watermark = 28
    disk.make_folder("lost-found")
    disk.make_folder("u-0-stray")
    directory.close()
    directory = open_dir(disk)
    assert list(directory.logs) == [("t", 3)]
    log = directory.logs["t", 3]
    assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (25, 28, 30)
    assert log.topic_id == TOPIC
    assert {"lost-found", "u-0-stray", "t-3"} <= {entry.name for entry in disk.entries()}


def test_metadata_log_is_opened_by_name_only():
    """load_logs leaves it to whoever owns it, and its checkpoint line is kept meanwhile."""
    disk = SimDisk()
    directory = open_dir(disk)
    log = directory.open_log("__cluster_metadata", 0, CONFIG)
    fill(log)
    log.sync()
    directory.close(clean=False)
    disk.replace(RECOVERY_POINTS, encode_offsets({("__cluster_metadata", 0): 10, ("gone", 0): 4}))
    directory = open_dir(disk)
    assert directory.logs == {}
    assert directory.collect().offsets[RECOVERY_POINTS] == {("__cluster_metadata", 0): 10}
    log = directory.open_log("__cluster_metadata", 0, CONFIG)
    assert (log.log_end_offset, log.durable_offset) == (10, 10)


def test_checkpoint_writes_what_changed_and_never_goes_back():
    """An older collection does not overwrite a newer one."""
    disk = SimDisk()
    directory = open_dir(disk)
    log = directory.create_log("t", 0, TOPIC, CONFIG)
    fill(log)
    old = directory.collect()
    log.sync()
    log.high_watermark = 7
    new = directory.collect()
    directory.checkpoint(new)
    directory.checkpoint(old)
    assert decode_offsets(disk.read(RECOVERY_POINTS)) == {("t", 0): 10}
    assert decode_offsets(disk.read(HIGH_WATERMARKS)) == {("t", 0): 7}
    operations = len(disk.operations)
    directory.checkpoint(directory.collect())
    assert len(disk.operations) == operations


def test_damaged_log_is_offline_and_its_neighbours_serve():
    """The reason is there to be told, its checkpoint line stays, and its data too."""
    disk = SimDisk()
    directory = open_dir(disk)
    for partition in range(3):
        log = directory.create_log("t", partition, TOPIC, CONFIG)
        fill(log)
        log.sync()
    directory.checkpoint(directory.collect())
    directory.close(clean=False)
    disk.content("t-1/00000000000000000000.log")[30] ^= 1
    before = bytes(disk.content("t-1/00000000000000000000.log"))
    for _ in range(2):
        directory = open_dir(disk)
        assert sorted(directory.logs) == [("t", 0), ("t", 2)]
        assert isinstance(directory.offline["t", 1], CorruptLog)
        with pytest.raises(StorageError, match="exists"):
            directory.create_log("t", 1, TOPIC, CONFIG)
        directory.close()
        assert decode_offsets(disk.read(RECOVERY_POINTS))["t", 1] == 10
        assert bytes(disk.content("t-1/00000000000000000000.log")) == before
    directory = open_dir(disk)
    directory.remove_offline("t", 1)
    fill(directory.create_log("t", 1, TOPIC, CONFIG))
    assert any(entry.name.endswith("-stray") for entry in disk.entries())


@pytest.mark.parametrize("damage", [b"", b"0\n1\nt 0 x\n", None])
def test_lost_recovery_points_make_opening_careful(damage):
    """Without them a fault is taken for a torn tail only where it looks like one."""
    disk = SimDisk()
    directory = open_dir(disk)
    log = directory.create_log("t", 0, TOPIC, CONFIG)
    fill(log, 5)
    log.sync()
    directory.close(clean=False)
    if damage is None:
        disk.unlink(RECOVERY_POINTS)
    else:
        disk.content(RECOVERY_POINTS)[:] = damage
    torn, rotten = disk.clone(), disk
    del torn.content("t-0/00000000000000000000.log")[-3:]
    directory = open_dir(torn)
    assert directory.logs["t", 0].log_end_offset == 4
    assert bool(directory.damaged) == (damage != b"")
    rotten.content("t-0/00000000000000000000.log")[70] ^= 1
    assert ("t", 0) in open_dir(rotten).offline


def test_deleted_log_frees_its_name_at_once_and_its_space_later():
    """A namesake starts empty, and nothing old is promised for it, whenever the crash comes."""
    disk = SimDisk()
    directory = open_dir(disk)
    log = directory.create_log("t", 0, TOPIC, CONFIG)
    fill(log)
    log.sync()
    directory.checkpoint(directory.collect())
    directory.delete_log(log)
    with pytest.raises(StorageError, match="deleted"):
        log.flush()
    fresh = directory.create_log("t", 0, random_uuid(Random(2)), CONFIG)
    assert fresh.log_end_offset == 0
    assert decode_offsets(disk.read(RECOVERY_POINTS)) == {}
    assert any(entry.name.endswith("-delete") for entry in disk.entries())
    assert directory.has_trash(directory.clock.wall_ms())
    directory.purge(directory.clock.wall_ms())
    assert not any(entry.name.endswith("-delete") for entry in disk.entries())
    directory.close(clean=False)
    assert open_dir(disk).logs["t", 0].log_end_offset == 0


def test_leftover_delete_folders_are_purged_after_a_restart():
    """Their names alone say what they are."""
    disk = SimDisk()
    directory = open_dir(disk)
    directory.delete_log(directory.create_log("t", 0, TOPIC, CONFIG))
    directory.close()
    directory = open_dir(disk)
    assert directory.logs == {}
    directory.purge(0)
    assert not any(entry.is_folder for entry in disk.entries())


def test_truncation_lowers_the_checkpoint_first():
    """No promise outlives the data it was about."""
    disk = SimDisk()
    directory = open_dir(disk)
    log = directory.create_log("t", 0, TOPIC, CONFIG)
    fill(log, 30)
    log.high_watermark = 30
    log.sync()
    directory.checkpoint(directory.collect())
    log.truncate_to(12)
    assert decode_offsets(disk.read(RECOVERY_POINTS)) == {("t", 0): 12}
    assert decode_offsets(disk.read(HIGH_WATERMARKS)) == {("t", 0): 12}


def test_create_refuses_illegal_names_and_undoes_what_a_full_disk_stopped():
    """Nothing half-made is left."""
    disk = SimDisk()
    directory = open_dir(disk)
    for topic in ("..", "a/b", "", "x" * 250):
        with pytest.raises(StorageError):
            directory.create_log(topic, 0, TOPIC, CONFIG)
    disk.capacity = disk.used() + 10
    with pytest.raises(StorageError):
        directory.create_log("t", 0, TOPIC, CONFIG)
    disk.capacity = None
    assert not any(entry.is_folder for entry in disk.entries())
    fill(directory.create_log("t", 0, TOPIC, CONFIG))


def test_load_reports_progress_while_it_scans():
    """Logs done of all logs, and the bytes of the one at hand."""
    disk = SimDisk()
    directory = open_dir(disk)
    for partition in range(4):
        fill(directory.create_log("t", partition, TOPIC, CONFIG))
    directory.close(clean=False)
    seen = []
    directory = open_dir(disk, load=False)
    directory.load_logs(
        lambda _: CONFIG, lambda state: seen.append((state.logs_loaded, state.logs, state.current))
    )
    assert seen[0] == (0, 4, "t-0")
    assert seen[-1][:2] == (4, 4)
    assert [sum(1 for _ in read_all(log)) for log in directory.logs.values()] == [10] * 4


def test_a_log_that_fails_makes_the_close_unclean():
    """The next opening looks at everything."""
    disk = SimDisk()
    directory = open_dir(disk)
    fill(directory.create_log("t", 0, TOPIC, CONFIG))
    bad = directory.create_log("t", 1, TOPIC, CONFIG)
    bad.fail(StorageError("EIO"))
    assert directory.offline == {("t", 1): bad.failure}
    directory.close()
    assert not open_dir(disk).was_clean


def test_log_start_is_checkpointed_only_where_it_is_news():
    """As Kafka: a start at a segment's base needs no line."""
    disk = SimDisk()
    directory = open_dir(disk)
    first, second = (directory.create_log("t", partition, TOPIC, CONFIG) for partition in range(2))
    fill(first)
    fill(second)
    second.advance_log_start(3)
    directory.checkpoint(directory.collect())
    assert decode_offsets(disk.read(LOG_STARTS)) == {("t", 1): 3}
