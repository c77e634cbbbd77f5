"""When balancing acts: what lasts, what is worth it, and never because of noise."""

from __future__ import annotations

from moldau_operator.plan.balance_pace import WEIGHT_MIN, Look, PaceState, Pacing, decided, judge

PACING = Pacing()
EVEN = Look(max_leaders=10, optimum=10, preferred_max=10)
OFF = Look(max_leaders=14, optimum=10, preferred_max=10)
HOT = Look(max_leaders=10, optimum=10, preferred_max=10, ratio=1.8, heaviest=4 * WEIGHT_MIN)


def acts(looks: list[tuple[int, Look]], state: PaceState | None = None) -> list[tuple[int, bool, bool]]:
    """(time, leaders, weigh) of every verdict to act, each followed with success."""
    state = state or PaceState()
    found = []
    for now, look in looks:
        verdict, state = judge(look, state, now, PACING)
        if verdict.leaders:
            found.append((now, verdict.leaders, verdict.weigh))
            state = decided(state, 1.0, weighed=verdict.weigh, changed=True, now_ms=now)
    return found


def every(step_ms: int, look: Look, until_ms: int, since_ms: int = 0) -> list[tuple[int, Look]]:
    return [(now, look) for now in range(since_ms, until_ms, step_ms)]


def test_an_even_cluster_is_left_alone() -> None:
    """Hours of looks, no act."""
    assert acts(every(5_000, EVEN, 10_000_000)) == []


def test_counts_are_acted_on_once_they_have_been_off_for_a_while() -> None:
    """Not at the first look, and not if they were even in between."""
    assert acts(every(5_000, OFF, 16_000)) == [(15_000, True, False)]
    blinking = [(now, OFF if now % 10_000 else EVEN) for now in range(0, 300_000, 5_000)]
    assert acts(blinking) == []


def test_what_brokers_would_do_by_themselves_counts_too() -> None:
    """Even now, but preferred leaders are not: the brokers would bring the trouble about."""
    assert acts(every(5_000, Look(max_leaders=10, optimum=10, preferred_max=14), 16_000))


def test_a_large_cluster_is_not_disturbed_for_one_leadership() -> None:
    """Five percent of the optimum are left alone, one of ten is not."""
    assert acts(every(5_000, Look(max_leaders=1_040, optimum=1_000, preferred_max=1_000), 600_000)) == []
    assert acts(every(5_000, Look(max_leaders=1_060, optimum=1_000, preferred_max=1_000), 16_000))
    assert acts(every(5_000, Look(max_leaders=11, optimum=10, preferred_max=10), 16_000))


def test_a_broker_that_is_away_is_waited_for_and_its_return_acted_on() -> None:
    """Ten minutes its leaderships are kept for it; back and in sync, they go back after the usual while."""
    away = Look(absent=[2], max_leaders=15, optimum=15, preferred_max=15)
    behind = Look(behind=4, max_leaders=15, optimum=10, preferred_max=10)
    back = Look(max_leaders=15, optimum=10, preferred_max=10)
    story = (
        every(5_000, away, 60_000)
        + every(5_000, behind, 90_000, 60_000)
        + every(5_000, back, 120_000, 90_000)
    )
    assert acts(story) == [(105_000, True, False)]
    verdict, _ = judge(away, PaceState(), 0, PACING)
    assert verdict.waiting == "node 2 is away: leaderships are kept for it, and nothing is moved"
    uneven = Look(absent=[2], max_leaders=15, optimum=10, preferred_max=10)
    assert acts(every(5_000, uneven, 620_000)) == [(615_000, True, False)], "nobody is waited for for ever"


def test_weights_wait_longer_and_rest_between() -> None:
    """A minute of trouble, then ten minutes of rest, though the same trouble goes on growing."""
    found = acts(
        [
            (now, Look(max_leaders=1, optimum=1, ratio=1.5 + now / 1e6, heaviest=1e9))
            for now in range(0, 1_300_000, 5_000)
        ]
    )
    assert found == [(60_000, True, True), (660_000, True, True), (1_260_000, True, True)]


def test_weights_of_a_quiet_cluster_are_nobodys_trouble() -> None:
    """Kilobytes a second may be as uneven as they like."""
    assert (
        acts(every(5_000, Look(max_leaders=1, optimum=1, ratio=3.0, heaviest=WEIGHT_MIN / 2), 600_000)) == []
    )


def test_what_could_not_be_gained_is_not_tried_again() -> None:
    """A plan that found nothing is remembered: only growing by the threshold is a reason to look again."""
    _, state = judge(HOT, PaceState(), 0, PACING)
    state = decided(state, HOT.ratio, weighed=True, changed=False, now_ms=0)
    noisy = [
        (
            now,
            Look(
                max_leaders=10,
                optimum=10,
                preferred_max=10,
                ratio=1.8 * (1 + wobble),
                heaviest=4 * WEIGHT_MIN,
            ),
        )
        for now, wobble in zip(range(0, 3_000_000, 5_000), [0.0, 0.08, -0.08, 0.05] * 1_000, strict=False)
    ]
    assert acts(noisy, state) == []
    worse = Look(max_leaders=10, optimum=10, preferred_max=10, ratio=2.0, heaviest=4 * WEIGHT_MIN)
    assert acts(every(5_000, worse, 66_000), state) == [(60_000, True, True)]


def test_clients_are_disturbed_once_not_twice() -> None:
    """Where counts are acted on anyway, weights are looked at in the same go."""
    both = Look(max_leaders=14, optimum=10, preferred_max=10, ratio=1.05, heaviest=1e9)
    assert acts(every(5_000, both, 16_000)) == [(15_000, True, True)]


def test_replicas_are_planned_once_they_have_lain_unevenly_for_a_while() -> None:
    """And not while a broker is away."""
    state = PaceState()
    verdicts = []
    for now in range(0, 35_000, 5_000):
        verdict, state = judge(Look(spread=True), state, now, PACING)
        verdicts.append(verdict.replicas)
    assert verdicts == [False] * 6 + [True]
    verdict, _ = judge(Look(spread=True, absent=[1]), state, 36_000, PACING)
    assert not verdict.replicas
