import pytest
import torch

from proto_envs.components.control import MotionReference
from proto_envs.components.practice import PractisedReference

DT = 1 / 30


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def everyone(n):
    return torch.arange(n)


def played(reference, steps):
    for _ in range(steps):
        reference.step(generator())


def drawn(reference, count=20_000):
    """Share of the episodes that begin in each bucket."""
    clips, times = reference._draw(everyone(count), generator(7))
    return torch.bincount(reference.buckets.bucket(clips, times), minlength=reference.buckets.num_buckets) / count


def put(reference, clip, time, steps=0):
    """All environments in one clip, `steps` after they began at `time` less these steps."""
    reference.clips.fill_(clip)
    reference.starts.fill_(time - steps * DT)
    reference.played.fill_(steps)


def test_at_first_clips_are_equally_frequent_however_long(library):
    clips = library("kick", "getup_faceup", "spin")
    reference = PractisedReference(clips, 3000, DT, bucket_seconds=0.5)
    reference.reset(everyone(3000), generator())
    shares = torch.bincount(reference.clips) / 3000
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.04, rtol=0)
    for clip in range(3):
        mine = reference.times[reference.clips == clip] / clips.durations[clip]
        assert mine.mean() == pytest.approx(0.5, abs=0.04) and mine.var() == pytest.approx(1 / 12, abs=0.01)


def test_a_bucket_that_always_fails_is_drawn_more(library):
    # Buckets: two of the kick (1.53 s), four of getting up (3.77 s).
    reference = PractisedReference(
        library("kick", "getup_faceup"), 30, DT, bucket_seconds=1.0, uniform_share=0.1, update_seconds=1e9
    )
    for bucket in range(6):
        put(reference, int(reference.buckets.clips[bucket]), float(reference.buckets.starts[bucket]))
        played(reference, 15)
    put(reference, 1, 2.3, steps=30)
    reference.episode_ended(everyone(30), torch.ones(30, dtype=torch.bool))
    reference.buckets.update()
    shares = drawn(reference)
    cause = 2 + 1  # half a second before 2.3 s: the second bucket of the second clip
    # Of the tenth that is drawn anywhere it has its part, one second of half of the clip's.
    expected = 0.9 + 0.1 * 0.5 / float(reference.library.durations[1])
    assert shares[cause] == pytest.approx(expected, abs=0.01)
    assert bool((shares > 0).all())


def test_failures_count_against_the_time_played_not_the_episodes(library):
    reference = PractisedReference(library("walk", "run"), 10, DT, update_seconds=1e9)
    put(reference, 0, 0.0)
    played(reference, 60)  # 20 s in all
    put(reference, 1, 0.0)
    played(reference, 6)  # 2 s in all
    for clip in (0, 1):
        put(reference, clip, 0.0)
        reference.episode_ended(everyone(10), torch.arange(10) < 5)
    reference.buckets.update()
    torch.testing.assert_close(reference.buckets.weights, torch.tensor([0.5, 5.0]))


def test_an_episode_that_fails_at_once_counts_where_it_began(library):
    reference = PractisedReference(library("getup_faceup"), 1, DT, bucket_seconds=1.0, lead=0.5)
    put(reference, 0, 2.2, steps=3)
    reference.episode_ended(everyone(1), torch.tensor([True]))
    assert reference.buckets.failures.tolist() == [0.0, 0.0, 1.0, 0.0]


def test_what_has_been_learned_is_drawn_less(library):
    reference = PractisedReference(library("walk", "run"), 30, DT, update_seconds=1.0)
    for _ in range(60):
        for clip in (0, 1):
            put(reference, clip, 0.1)
            played(reference, 15)
        reference.episode_ended(everyone(30), torch.ones(30, dtype=torch.bool))  # all in the run
    assert drawn(reference)[0] == pytest.approx(0.05, abs=0.01)


def test_some_episodes_begin_at_the_beginning(library):
    reference = PractisedReference(library("getup_faceup", "walk"), 4000, DT, start_at_zero=0.25)
    reference.reset(everyone(4000), generator())
    assert (reference.times == 0).float().mean() == pytest.approx(0.25, abs=0.03)


def test_the_task_practises_failures_and_goes_on_exactly(make_env, roll):
    settings = {"task": {"start": "failures", "bucket_seconds": 0.5}, "motions": ["walk", "spin"]}
    env, other = make_env(3, **settings), make_env(3, **settings)
    env.reset(seed=0)
    roll(env, 140)
    state = env.state_dict()
    assert bool((state["control.reference.buckets/failures"] > 0).any())
    other.reset(seed=1)
    other.load_state_dict(state)
    # On the way, 5 s after the beginning, the weights change.
    for here, there in zip(roll(env, 30, first=500), roll(other, 30, first=500), strict=True):
        for a, b in zip(here[:4], there[:4], strict=True):
            assert torch.equal(a, b)
    later = env.state_dict()
    assert not torch.equal(later["control.reference.buckets/weights"], state["control.reference.buckets/weights"])
    for name, value in later.items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_evaluations_play_each_clip_from_its_start(make_env):
    task = {"start": "failures"} | {"start": "sequential", "termination_distance": None}
    env = make_env(5, task=task, motions=["walk", "run"])
    env.reset(seed=0)
    assert env.step(torch.zeros(env.action_space.shape))[4]["clip"].tolist() == [0, 1, 0, 1, 0]


def test_numbers_out_of_range_are_refused(make_env):
    with pytest.raises(ValueError, match="bucket_seconds must be positive"):
        make_env(1, task={"start": "failures", "bucket_seconds": 0.0})
    with pytest.raises(ValueError, match=r"uniform_share must be in \[0, 1\]"):
        make_env(1, task={"start": "failures", "uniform_share": 1.5})


# --- several processes -----------------------------------------------------------------------------------------------


def adding(other):
    """Adds up over this process and another, whose counts `other` are known."""

    def add_up(counts):
        counts += other

    return add_up


def practised(clips, rows, add_up=None, update_steps=10):
    """Ten steps of some of four environments, two of which have failed in the ninth."""
    count = len(range(*rows.indices(4)))
    reference = PractisedReference(clips, count, DT, bucket_seconds=1.0, update_seconds=update_steps * DT)
    if add_up is not None:
        reference.learn_together(add_up)
    reference.clips.copy_(torch.tensor([0, 0, 1, 1])[rows])
    reference.starts.copy_(torch.tensor([0.0, 0.9, 1.2, 2.0])[rows])
    played(reference, 9)
    reference.episode_ended(everyone(count), torch.tensor([True, False, True, False])[rows])
    played(reference, 1)
    return reference.buckets


def test_processes_practise_what_fails_in_any_of_them(library):
    clips = library("kick", "getup_faceup")
    whole, other = practised(clips, slice(4)), practised(clips, slice(2, 4), update_steps=1000)
    half = practised(clips, slice(2), adding(torch.stack([other.visits, other.failures])))
    torch.testing.assert_close(half.weights, whole.weights)
    assert torch.equal(half.seen, whole.seen) and not torch.equal(half.seen, practised(clips, slice(2)).seen)
    assert not half.visits.any() and not half.failures.any()


def test_failure_rates_of_clips_are_those_of_all_processes(library):
    clips, ids = library("kick", "getup_faceup"), torch.arange(4)
    chosen, failed = torch.tensor([0, 0, 1, 0]), torch.tensor([True, False, True, True])
    whole, half = MotionReference(clips, 4, DT), MotionReference(clips, 2, DT)
    whole.clips.copy_(chosen)
    whole.episode_ended(ids, failed)
    half.clips.copy_(chosen[:2])
    half.learn_together(adding(torch.tensor([[1.0, 1.0], [1.0, 1.0]])))  # the other two, each of which failed
    half.episode_ended(ids[:2], failed[:2])
    assert torch.equal(half.failure_rates, torch.full((2,), 0.5))  # not before all have come to count
    waiting = half.state_dict()
    assert waiting["ended"].tolist() == [[2.0, 0.0], [1.0, 0.0]]
    half.step(generator())
    torch.testing.assert_close(half.failure_rates, whole.failure_rates)
    assert half.state_dict()["ended"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert "ended" not in whole.state_dict()
