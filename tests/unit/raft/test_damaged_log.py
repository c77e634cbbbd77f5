"""A member whose metadata log is damaged at rest: it does not pass that on, and has no voice before it is whole."""

from __future__ import annotations

from typing import Any

from tests.unit.raft.test_driver import Bench, Net, grown, values

from moldau_broker.base.errors import ErrorCode
from moldau_broker.raft.protocol import vote_request
from moldau_broker.raft.state import Role
from moldau_broker.storage.errors import CorruptLog
from moldau_broker.wire.apis import ApiKey
from moldau_broker.wire.messages.vote import VoteRequestPartitionData

_LOG = "__cluster_metadata-0/00000000000000000000.log"


def damaged_leader(net: Net) -> tuple[Bench, int]:
    """One bit of what two of three have committed flips at the leader, while the third is away; gives that one's id."""
    leader = net.leader()
    away_id = next(node_id for node_id, bench in net.benches.items() if bench is not leader)
    away = net.benches.pop(away_id)
    leader.driver.propose(
        [b"first"]
    )  # a question of the third one waits already; its disk does not answer any more
    net.run(20)
    leader.driver.propose([b"precious"])
    net.run(20)
    assert leader.driver.node.high_watermark == leader.driver.node.log_end
    content = leader.disk.content(_LOG)
    content[content.rindex(b"precious")] ^= 0x10
    net.benches[away_id] = away
    return leader, away_id


def vote_of(bench: Bench, candidate: int) -> Any:
    """What it answers to a candidate whose log is longer than its own."""
    node = bench.driver.node
    partition = VoteRequestPartitionData(
        replica_epoch=node.epoch + 5,
        replica_id=candidate,
        replica_directory_id=b"z" * 16,
        voter_directory_id=node.me.key.directory_id,
        last_offset_epoch=node.epoch + 4,
        last_offset=node.log_end + 99,
    )
    response: Any = bench.driver.handle(
        ApiKey.VOTE, 2, vote_request(None, node.me.key.node_id, partition)
    ).value
    return response.topics[0].partitions[0]


def test_a_leader_that_comes_upon_damage_hands_over() -> None:
    """A follower asks for the damaged batch: it gets it from the other member that has it, whole."""
    net = grown()
    damaged, away_id = damaged_leader(net)
    net.run(5_000)
    assert isinstance(damaged.store.log.failure, CorruptLog)
    assert damaged.driver.node.role is not Role.LEADER
    leader = net.leader()
    assert leader is not damaged
    assert values(net.benches[away_id]) == values(leader) == [b"first", b"precious"]
    leader.driver.propose([b"more"])
    net.run(20)
    assert values(net.benches[away_id]) == [b"first", b"precious", b"more"]


def test_a_damaged_member_does_not_vote() -> None:
    """It cannot say what it has; whoever asks must find a majority without it."""
    net = grown()
    damaged, _ = damaged_leader(net)
    net.run(5_000)
    answer = vote_of(damaged, 3)
    assert answer.error_code == ErrorCode.NONE
    assert not answer.vote_granted


def test_a_member_that_came_upon_damage_heals_when_it_is_started_anew() -> None:
    """It is not cut away, as what is above it was acknowledged: it is fetched from the others again."""
    net = grown()
    damaged, _ = damaged_leader(net)
    net.run(5_000)
    damaged.driver.stop()
    damaged.log_dir.close(clean=False)
    node_id = damaged.driver.node.me.key.node_id
    again = net.benches[node_id] = Bench(damaged.disk, node_id=node_id, transport=net, found=False)
    assert again.driver.node.recovering
    again.driver.tick()
    net.run(2_000)
    assert not again.driver.node.recovering
    assert values(again) == values(net.leader()) == [b"first", b"precious"]
