"""What the metadata log of a new cluster begins with."""

from __future__ import annotations

from moldau_broker.metadata.beginning import first_records, first_registration
from moldau_broker.metadata.features import bootstrap_records
from moldau_broker.metadata.image import MetadataImage
from moldau_broker.metadata.operation import View
from moldau_broker.metadata.replay import ImageReplay
from moldau_broker.testing.controller import ControllerBench


async def test_first_records_are_those_of_the_formatted_folder(bench: ControllerBench) -> None:
    """bootstrap.checkpoint decides the levels, once: a log that has them gets nothing more."""
    async with bench.running() as controller:
        assert controller.driver is not None
        store, empty = controller.driver.store, MetadataImage(bench.cluster_id)
        view = View(empty, 0, bench.settings, bench.rng)
        first = first_records(view, store)
        assert tuple(first) == tuple(bootstrap_records())
        assert first_records(view._replace(image=bench.publisher.image), store) == []


async def test_first_registration_is_unfenced_in_the_same_write(bench: ControllerBench) -> None:
    """The epoch is the offset of its own record, behind the first ones; one fsync and the broker may lead."""
    async with bench.running() as controller:
        log_dir = bench.log_dir
        assert log_dir is not None
        first = list(bootstrap_records())
        view = View(MetadataImage(bench.cluster_id), 10, bench.settings, bench.rng)
        result = first_registration(view, first, log_dir, bench.node, controller.incarnation_id)
        assert list(result.records[: len(first)]) == first
        assert result.response.epoch == 10 + len(first)
        replay = ImageReplay(view.image)
        for record in result.records:
            replay.replay(record)
        broker = replay.image(10 + len(result.records) - 1, 1).brokers[1]
        assert broker.active
        assert broker.directories == (log_dir.directory_id,)
        assert broker.endpoints == dict(bench.node.endpoints)


async def test_first_registration_tells_whether_the_last_stop_was_clean(bench: ControllerBench) -> None:
    """After a kill the broker's replicas may lack what they had acknowledged (KIP-966); a first start had none."""
    for clean, before in ((True, False), (False, True), (True, False)):
        async with bench.running(clean=clean) as controller:
            assert controller.registration is not None
            assert controller.registration.clean is before
