import pytest
import torch
from scipy import stats

from motionlib.embeddings import embed_labels
from poselib.rotations import heading_angle
from proto_envs.components.captions import Captions
from proto_envs.components.clip_goals import ClipGoals
from proto_envs.components.control import MotionReference
from proto_envs.components.masking import MaskRules
from proto_envs.components.sparse_goals import SparseShape

DT = 1 / 30
LATER = {"near_frames": 0, "far_poses": 5, "far_hidden": 0.2, "far_repeat": 0.8}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def playing(amp, library):
    """`playing(num_envs, "walk", ..., start=, text_size=, **rules)`: goals over clips, begun."""

    def make(count, *names, clips=None, start="random", text_size=0, root_motion=True, episode_steps=300, **rules):
        rules = MaskRules(**rules)
        clips = library(*names) if clips is None else clips
        reference = MotionReference(clips, count, DT, start=start, failure_weighting=False)
        shape = SparseShape(amp, rules.near_frames, rules.far_poses, text_size)
        goals = ClipGoals(shape, reference, rules, episode_steps=episode_steps, root_motion=root_motion)
        ids, draw = torch.arange(count), generator()
        reference.reset(ids, draw)
        goals.begin(ids, None, draw)
        return reference, goals, draw

    return make


def advance(reference, goals, draw):
    reference.step(draw)
    goals.step(draw)
    goals.observe(None, draw)


# --- what slots hold -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [{}, LATER])
def test_every_slot_holds_the_pose_of_the_clip_at_its_time(playing, amp, rules):
    reference, goals, draw = playing(6, "walk", "kick", "run", **rules)
    library, bodies = reference.library, goals.shape.bodies
    for _ in range(25):
        advance(reference, goals, draw)
    goal = goals.goal
    for slot in range(goals.shape.slots):
        state = library.get_body_state(reference.clips, reference.times + goal.wait[:, slot] * DT)
        asked = goal.mask[:, slot].flatten(1).any(-1)
        for found, expected in (
            (goal.positions, state.body_positions[:, bodies]),
            (goal.rotations, state.body_rotations[:, bodies]),
            (goal.velocities, state.body_velocities[:, 0, :2]),
        ):
            torch.testing.assert_close(found[asked, slot], expected[asked], atol=1e-4, rtol=0)
        heading = heading_angle(state.body_rotations[:, 0])
        torch.testing.assert_close(goal.headings[asked, slot].cos(), heading[asked].cos(), atol=1e-4, rtol=0)
    assert goal.mask.any()


def test_near_slots_slide(playing):
    reference, goals, draw = playing(50, "walk")
    for _ in range(20):
        before = goals.goal.map(torch.clone)
        advance(reference, goals, draw)
        assert goals.goal.wait[:, :10].tolist() == [list(range(1, 11))] * 50
        assert torch.equal(goals.goal.mask[:, :9], before.mask[:, 1:10])
        assert torch.equal(goals.goal.positions[:, :9], before.positions[:, 1:10])


def test_far_poses_stand_until_they_are_past_and_come_in_order(playing):
    reference, goals, draw = playing(200, "walk", root_motion=False, episode_steps=100, **LATER)
    replaced = 0
    for _ in range(40):
        before = goals.goal.map(torch.clone)
        advance(reference, goals, draw)
        goal, passed = goals.goal, before.wait[:, 0] == 1
        assert torch.equal(goal.wait[~passed], before.wait[~passed] - 1)
        assert torch.equal(goal.wait[passed][:, :4], before.wait[passed][:, 1:] - 1)
        assert torch.equal(goal.mask[passed][:, :4], before.mask[passed][:, 1:])
        assert torch.equal(goal.positions[~passed], before.positions[~passed])
        assert (goal.wait[:, 0] >= 1).all() and (goal.wait.diff(dim=1) >= 1).all()
        assert not goal.mask[:, :, -1].any()
        replaced += int(passed.sum())
    assert replaced > 50


def test_the_time_to_the_next_far_pose_is_beta_of_what_is_left(playing):
    _, goals, _ = playing(4000, "walk", root_motion=False, episode_steps=30_000, **LATER)
    last = torch.zeros(4000)
    for slot in range(2):
        wait = goals.goal.wait[:, slot].float()
        # Whole steps, rounded up: half a step later on average.
        share = (wait - 0.5 - last) / (30_000 - last)
        assert stats.kstest(share.numpy(), stats.beta(2, 5).cdf).pvalue > 1e-3
        assert share.mean() == pytest.approx(2 / 7, abs=0.01)
        last = wait


def test_a_fifth_of_the_far_poses_is_hidden_and_four_fifths_repeat_the_mask_before(playing):
    _, goals, _ = playing(5000, "walk", root_motion=False, episode_steps=30_000, **LATER)
    mask = goals.goal.mask
    shown = mask.flatten(2).any(-1)
    assert (~shown).float().mean() == pytest.approx(0.2, abs=0.01)
    both = shown[:, :-1] & shown[:, 1:]
    same = (mask[:, :-1] == mask[:, 1:]).flatten(2).all(-1)
    # A fresh mask is the same by chance now and then.
    assert same[both].float().mean() == pytest.approx(0.81, abs=0.015)
    # An empty mask is not repeated: after one that is hidden the next is hidden no more often than any.
    assert (~shown[:, 1:])[~shown[:, :-1]].float().mean() == pytest.approx(0.2, abs=0.02)


def test_the_in_between_pose_of_version_1_is_shown_by_its_own_coin(playing):
    _, goals, _ = playing(4000, "walk", far_hidden=0.7)
    shown = goals.goal.mask[:, 10].flatten(1).any(-1)
    assert shown.float().mean() == pytest.approx(0.3, abs=0.03)
    assert (goals.goal.wait[:, 10] > 10).all()


@pytest.mark.parametrize("rules", [{}, LATER])
def test_nothing_is_asked_for_beyond_the_end(playing, rules):
    reference, goals, draw = playing(40, "kick", start="zero", constraint="full_body", **rules)
    end = int(reference.remaining()[0])
    for step in range(end + 3):
        asked = goals.goal.mask.flatten(2).any(-1)
        assert torch.equal(asked, goals.goal.wait <= end - step)
        advance(reference, goals, draw)
    _, goals, _ = playing(40, "walk", episode_steps=6, constraint="full_body", **rules)
    assert torch.equal(goals.goal.mask.flatten(2).any(-1), goals.goal.wait <= 6)


def test_a_preset_asks_for_the_same_everywhere(playing):
    reference, goals, draw = playing(5, "walk", constraint="vr")
    rows = [goals.shape.row(role) for role in ("head", "left_hand", "right_hand")]
    for _ in range(15):
        advance(reference, goals, draw)
        assert goals.goal.mask[:, :, rows].all()
        assert goals.goal.mask.sum() == 5 * 11 * 6


def test_a_reset_touches_the_named_environments_alone(playing):
    reference, goals, draw = playing(6, "walk", "kick")
    before = {name: value.clone() for name, value in goals.state_dict().items()}
    ids = torch.tensor([1, 4])
    reference.reset(ids, draw)
    goals.begin(ids, None, draw)
    others = [0, 2, 3, 5]
    assert all(torch.equal(value[others], before[name][others]) for name, value in goals.state_dict().items())
    assert not torch.equal(goals.goal.positions, before["positions"])


# --- words and objects -----------------------------------------------------------------------------------------------


def vectors(texts):
    return [[float(len(text)), float(sum(map(ord, text)) % 97), 1.0] for text in texts]


def test_half_of_the_episodes_with_words_are_told_them(playing, library):
    clips = embed_labels(library("walk", "kick"), vectors)
    assert all(clips.labels)
    _, goals, _ = playing(4000, clips=clips, text_size=3)
    goal = goals.goal
    assert goal.text_shown.float().mean() == pytest.approx(0.5, abs=0.04)
    assert goal.object_shown.float().mean() == pytest.approx(0.8, abs=0.03)
    # Coins of their own: told and shown together as often as chance has it.
    assert (goal.text_shown & goal.object_shown).float().mean() == pytest.approx(0.4, abs=0.04)


def test_a_text_is_one_of_the_labels_of_the_clip(playing, library):
    clips = embed_labels(library("walk", "kick"), vectors)
    reference, goals, _ = playing(300, clips=clips, text_size=3, text_share=1.0)
    assert goals.goal.text_shown.all()
    for clip in (0, 1):
        found = {tuple(text) for text in goals.goal.text[reference.clips == clip].tolist()}
        assert found <= {tuple(vector) for vector in vectors(clips.labels[clip])}
        assert len(found) == min(3, len(clips.labels[clip]))


def test_without_words_there_is_no_text(playing):
    _, goals, _ = playing(20, "walk", text_size=8, text_share=1.0)
    assert goals.goal.text.shape == (20, 8) and not goals.goal.text.any() and not goals.goal.text_shown.any()


def test_embeddings_of_another_size_are_refused(library):
    with pytest.raises(ValueError, match="text_size is 8, and the motions have embeddings of 3 numbers"):
        Captions(embed_labels(library("walk"), vectors), 8)


def test_a_text_ends_with_the_part_of_the_clip_that_it_describes(amp, library):
    from motionlib import MotionLib
    from motionlib.datasets.entries import SubMotion
    from motionlib.motion import Motion
    from motionlib.samples import sample_path

    parts = [(SubMotion(start=0.0, end=0.5, labels=("first",)), SubMotion(start=0.5, end=1.0, labels=("second",)))]
    clip = Motion.load(sample_path("amp", "getup_faceup"))
    clips = embed_labels(MotionLib([clip], amp.skeleton, sub_motions=parts), vectors)
    times = torch.tensor([0.2, 0.7, 1.4])
    text, end, there = Captions(clips, 3).draw(torch.zeros(3, dtype=torch.long), times, generator())
    assert text.tolist() == [*vectors(["first", "second"]), [0.0, 0.0, 0.0]]
    assert there.tolist() == [True, True, False] and end[:2].tolist() == [0.5, 1.0]

    reference = MotionReference(clips, 1, DT, start="zero")
    goals = ClipGoals(
        SparseShape(amp, 10, 1, 3), reference, MaskRules(text_share=1.0), episode_steps=300, root_motion=True
    )
    reference.reset(torch.arange(1), generator())
    goals.begin(torch.arange(1), None, generator())
    told = []
    for _ in range(20):
        told.append(bool(goals.goal.text_shown))
        advance(reference, goals, generator())
    assert told == [True] * 16 + [False] * 4
