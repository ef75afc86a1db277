from __future__ import annotations

import pytest
import torch

from motionlib.buckets import TimeBuckets

DURATIONS = torch.tensor([5.0, 0.5, 4.0])


@pytest.fixture
def buckets():
    return TimeBuckets(DURATIONS, start_share=0.0, uniform_share=0.0)


def frequencies(buckets: TimeBuckets, count: int = 60_000) -> torch.Tensor:
    clips, times = buckets.sample(count, torch.Generator().manual_seed(0))
    return torch.bincount(buckets.bucket(clips, times), minlength=buckets.num_buckets) / count


def visit_all(buckets: TimeBuckets, failed: list[int]) -> None:
    middle = buckets.starts + 0.5 * buckets.lengths
    wrong = torch.zeros(buckets.num_buckets, dtype=torch.bool)
    wrong[failed] = True
    buckets.record(buckets.clips, middle, wrong)


def test_clips_are_cut_into_two_seconds(buckets):
    assert buckets.clips.tolist() == [0, 0, 0, 1, 2, 2]
    torch.testing.assert_close(buckets.starts, torch.tensor([0.0, 2.0, 4.0, 0.0, 0.0, 2.0]))
    torch.testing.assert_close(buckets.lengths, torch.tensor([2.0, 2.0, 1.0, 0.5, 2.0, 2.0]))
    ids, times = torch.tensor([0, 0, 0, 1, 2, 0]), torch.tensor([0.0, 1.99, 99.0, 0.4, 2.0, -1.0])
    assert buckets.bucket(ids, times).tolist() == [0, 0, 2, 3, 5, 0]
    assert TimeBuckets(torch.tensor([4.0000002]), seconds=1.0).num_buckets == 4


def test_wrapped_clips_come_round():
    buckets = TimeBuckets(torch.tensor([3.0, 3.0]), loops=torch.tensor([True, False]))
    ids = torch.tensor([0, 0, 0, 1])
    assert buckets.bucket(ids, torch.tensor([3.5, 8.5, -0.5, 3.5])).tolist() == [0, 1, 1, 3]


def test_unvisited_buckets_come_first(buckets):
    torch.testing.assert_close(frequencies(buckets), buckets.lengths / 9.5, rtol=0, atol=0.01)
    buckets.record(torch.tensor([0, 0, 2]), torch.tensor([0.1, 2.1, 0.1]), torch.tensor([True, True, False]))
    buckets.update()
    drawn = frequencies(buckets)
    torch.testing.assert_close(drawn, torch.tensor([0.0, 0.0, 1.0, 0.5, 0.0, 2.0]) / 3.5, rtol=0, atol=0.01)


def test_weights_are_failure_rate_plus_a_share_of_the_old(buckets):
    visit_all(buckets, failed=[1, 3])
    visit_all(buckets, failed=[1])
    buckets.update()
    torch.testing.assert_close(buckets.weights, torch.tensor([1e-6, 1.0, 1e-6, 0.5, 1e-6, 1e-6]))
    visit_all(buckets, failed=[0])
    buckets.update()
    expected = torch.tensor([1.0, 0.7, 1e-6, 0.35, 1e-6, 1e-6])
    torch.testing.assert_close(buckets.weights, expected, rtol=1e-3, atol=1e-6)
    expected = expected * buckets.lengths
    torch.testing.assert_close(frequencies(buckets), expected / expected.sum(), rtol=0, atol=0.01)
    before = buckets.weights
    buckets.update()
    assert torch.equal(buckets.weights, before)


def test_buckets_without_visits_keep_their_weights(buckets):
    visit_all(buckets, failed=[1])
    buckets.update()
    before = buckets.weights.clone()
    buckets.record(torch.tensor([1]), torch.tensor([0.1]), torch.tensor([True]))
    buckets.update()
    others = [0, 1, 2, 4, 5]
    assert torch.equal(buckets.weights[others], before[others])
    assert float(buckets.weights[3]) == pytest.approx(1.0, abs=1e-5)


def test_shares_at_the_start_and_at_random():
    buckets = TimeBuckets(DURATIONS, start_share=0.25, uniform_share=0.2)
    visit_all(buckets, failed=[1])
    buckets.update()
    clips, times = buckets.sample(60_000, torch.Generator().manual_seed(1))
    assert float((times == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    late = times > 0
    inside = (buckets.bucket(clips, times)[late] == 1).float().mean()
    assert float(inside) == pytest.approx(0.8 + 0.2 * 2.0 / 9.5, abs=0.01)


def test_times_lie_in_their_clips(buckets):
    clips, times = buckets.sample(5000, torch.Generator().manual_seed(2), margin=0.3)
    assert bool((times >= 0).all())
    assert bool((times <= DURATIONS[clips] - 0.3 + 1e-6).all())
    clips, times = buckets.sample(5000, torch.Generator().manual_seed(2), margin=99.0)
    assert not times.any()


def test_clip_weights_count():
    buckets = TimeBuckets(DURATIONS, clip_weights=torch.tensor([0.0, 1.0, 1.0]), start_share=0.0)
    clips, _ = buckets.sample(2000, torch.Generator().manual_seed(0))
    assert not (clips == 0).any()
    # A clip that is never drawn must not hold up the others.
    buckets.record(torch.tensor([1, 2, 2]), torch.tensor([0.1, 0.1, 2.1]), torch.tensor([True, False, False]))
    buckets.update()
    clips, _ = buckets.sample(2000, torch.Generator().manual_seed(0))
    assert float((clips == 1).float().mean()) > 0.9


def test_ranks_together_count_as_one():
    one, a, b = (TimeBuckets(DURATIONS) for _ in range(3))
    visit_all(one, failed=[0, 1])
    visit_all(one, failed=[1])
    visit_all(a, failed=[0, 1])
    visit_all(b, failed=[1])
    merged = TimeBuckets(DURATIONS)
    merged.merge(a)
    merged.merge(b)
    theirs = torch.stack([b.visits, b.failures])
    a.update(reduce=lambda counts: counts.add_(theirs))
    one.update()
    merged.update()
    for name, value in one.state_dict().items():
        assert torch.equal(value, a.state_dict()[name])
        assert torch.equal(value, merged.state_dict()[name])
    with pytest.raises(ValueError, match="6 buckets cannot be merged into 1"):
        TimeBuckets(torch.tensor([1.0])).merge(one)


def test_a_restored_one_goes_on_exactly(buckets):
    visit_all(buckets, failed=[1, 4])
    buckets.update()
    visit_all(buckets, failed=[2])
    again = TimeBuckets(DURATIONS, start_share=0.0, uniform_share=0.0)
    again.load_state_dict({name: value.clone() for name, value in buckets.state_dict().items()})
    for each in (buckets, again):
        each.update()
    draws = [each.sample(100, torch.Generator().manual_seed(3)) for each in (buckets, again)]
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    with pytest.raises(ValueError, match="want 1 buckets, found weights of shape"):
        TimeBuckets(torch.tensor([1.0])).load_state_dict(buckets.state_dict())


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match="seconds is out of its range"):
        TimeBuckets(DURATIONS, seconds=0.0)
    with pytest.raises(ValueError, match="keep is out of its range"):
        TimeBuckets(DURATIONS, keep=1.0)
    with pytest.raises(ValueError, match="positive durations"):
        TimeBuckets(torch.tensor([0.0]))
    with pytest.raises(ValueError, match="want 3 clip weights"):
        TimeBuckets(DURATIONS, clip_weights=torch.ones(2))
    with pytest.raises(ValueError, match="not all zero"):
        TimeBuckets(DURATIONS, clip_weights=torch.zeros(3))


def test_a_visit_may_be_counted_in_parts(buckets):
    clips, times = torch.tensor([0, 1]), torch.tensor([0.5, 0.1])
    for _ in range(4):
        buckets.record(clips, times, torch.tensor([False, False]), visits=0.25)
    buckets.record(clips, times, torch.tensor([True, False]), visits=0.0)
    assert buckets.visits.tolist() == [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert buckets.failures.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
