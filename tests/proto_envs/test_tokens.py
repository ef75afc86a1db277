from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from poselib.rotations import quat_normalize
from proto_envs.components.observations import proprioception
from proto_envs.components.pose_history import PoseHistory
from proto_envs.components.sparse_goals import SparseShape
from proto_envs.components.tokens import past_poses, past_states, sparse_mask, sparse_poses, world_poses
from proto_envs.terrain import FLAT
from proto_envs.terrain.ground import Ground

DT = 1 / 30
CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- tokens ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(amp, random_bodies, moment, drawn):
    """A moment of 4 robots with random goals in 3 slots that ask for everything."""
    bodies = random_bodies(0, 4, 15)
    shape = SparseShape(amp, 2, 1)
    goal = shape.empty(4, CPU)
    goal.wait[:, 2] = 30
    goal.positions.copy_(drawn(1, *goal.positions.shape))
    goal.rotations.copy_(quat_normalize(drawn(2, *goal.rotations.shape)))
    goal.velocities.copy_(drawn(3, *goal.velocities.shape))
    goal.headings.copy_(drawn(4, *goal.headings.shape))
    goal.mask.fill_(True)
    return shape, goal, moment(amp, bodies, sparse=goal)


def axes(rotation):
    """Rotated x and z axes, 6 numbers."""
    matrix = rotation.as_matrix()
    return [*matrix[:, 0], *matrix[:, 2]]


def test_tokens_by_an_independent_computation(asked):
    shape, goal, context = asked
    found = sparse_poses(context, shape.bodies, root_motion=True).view(4, 3, 184)
    state, env, slot = context.state, 2, 1
    turn = {body: Rotation.from_quat(state.body_rotations[env, body].numpy()) for body in (0, *shape.bodies)}
    forward = turn[0].apply([1.0, 0.0, 0.0])
    level = Rotation.from_euler("z", torch.atan2(*torch.tensor(forward[[1, 0]])).item()).inv()
    root = state.body_positions[env, 0].numpy()
    expected = []
    for row, body in enumerate(shape.bodies):
        place = goal.positions[env, slot, row].numpy()
        wanted = Rotation.from_quat(goal.rotations[env, slot, row].numpy())
        expected += [*level.apply(place - state.body_positions[env, body].numpy()), 0, 0, 0]
        expected += [*level.apply(place - root), 0, 0, 0]
        expected += axes(turn[body].inv() * wanted) + axes(level * wanted)
    velocity = [*goal.velocities[env, slot].tolist(), 0.0]
    now = [*state.body_velocities[env, 0, :2].tolist(), 0.0]
    yaw = Rotation.from_euler("z", goal.headings[env, slot].item())
    expected += [*level.apply([a - b for a, b in zip(velocity, now, strict=True)]), 0, 0, 0]
    expected += [*level.apply(velocity), 0, 0, 0]
    expected += axes(turn[0].inv() * yaw) + axes(level * yaw)
    expected += [1.0] * 14 + [2 * DT, 1.0]
    torch.testing.assert_close(found[env, slot], torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0)
    without = sparse_poses(context, shape.bodies, root_motion=False).view(4, 3, 157)
    assert torch.equal(without[..., :144], found[..., :144])
    assert without[env, slot, 144:].tolist() == [1.0] * 12 + [pytest.approx(2 * DT)]


def test_what_is_hidden_cannot_be_seen(asked, drawn):
    shape, goal, context = asked
    goal.mask.copy_(drawn(7, *goal.mask.shape) > 0.5)
    goal.mask[:, 1] = False
    before = sparse_poses(context, shape.bodies, root_motion=True)
    mask = goal.mask
    for field, hidden in (
        (goal.positions, ~mask[:, :, :-1, 0]),
        (goal.rotations, ~mask[:, :, :-1, 1]),
        (goal.velocities, ~mask[:, :, -1, 0]),
        (goal.headings, ~mask[:, :, -1, 1]),
    ):
        field[hidden] = 0.5
    goal.wait[:, 1] = 99
    assert torch.equal(sparse_poses(context, shape.bodies, root_motion=True), before)
    assert not before.view(4, 3, 184)[:, 1].any() and sparse_mask(context)[:, 1].tolist() == [0.0] * 4


def test_a_turned_and_moved_world_looks_the_same(asked, moment, amp):
    shape, goal, context = asked
    turn = Rotation.from_euler("z", 1.1)

    def apply(vectors):
        return torch.tensor(turn.apply(vectors.reshape(-1, 3).numpy()).reshape(vectors.shape), dtype=torch.float32)

    def rotate(quats):
        turned = (turn * Rotation.from_quat(quats.reshape(-1, 4).numpy())).as_quat()
        return torch.tensor(turned.reshape(quats.shape), dtype=torch.float32)

    before = sparse_poses(context, shape.bodies, root_motion=True)
    shift = torch.tensor([3.0, -2.0, 0.0])
    state = context.state
    state.body_positions = apply(state.body_positions) + shift
    state.body_rotations = rotate(state.body_rotations)
    state.body_velocities = apply(state.body_velocities)
    moved = goal.map(torch.clone)
    moved.positions.copy_(apply(goal.positions) + shift)
    moved.rotations.copy_(rotate(goal.rotations))
    moved.velocities.copy_(apply(torch.nn.functional.pad(goal.velocities, (0, 1)))[..., :2])
    moved.headings.add_(1.1)
    after = sparse_poses(replace(context, sparse=moved), shape.bodies, root_motion=True)
    torch.testing.assert_close(after, before, atol=2e-5, rtol=0)


# --- history ---------------------------------------------------------------------------------------------------------


def remembering(amp, count, motions=None, origin=None, see=world_poses, size=135, **numbers):
    ground = Ground(FLAT, amp, count, CPU)
    return PoseHistory(count, DT, motions, origin, ground, see, size, **{"length": 4, "stride": 3, **numbers})


def test_the_past_is_what_was_there_at_the_ages_said(amp, random_bodies, moment):
    history = remembering(amp, 2)
    bodies = random_bodies(0, 2, 15)

    def at(step):
        bodies.body_positions[:, 0, 0] = float(step)
        return moment(amp, bodies, steps=torch.full((2,), step))

    history.begin(torch.arange(2), at(0), generator())
    for step in range(1, 30):
        history.observe(at(step), generator())
        past = history.context(None)["past"]
        back = (past.ages / DT).round()
        assert 1 <= back[0] <= 3 and back.diff().tolist() == [3.0] * 3
        assert torch.equal(past.known, (step - back >= 0).expand(2, -1))
        places = past.seen[..., 0]
        assert torch.equal(places[past.known], (step - back).expand(2, -1)[past.known])


def test_an_episode_has_the_past_of_its_clip(amp, library, moment):
    clips = library("kick", "walk")
    where = (torch.tensor([0, 0, 1]), torch.tensor([0.25, 1.0, 0.05]), torch.tensor([True, True, True]))
    history = remembering(amp, 3, clips, lambda: where)
    now = clips.get_body_state(*where[:2])
    history.begin(torch.arange(3), moment(amp, now), generator())
    past = history.context(None)["past"]
    # The kick has no past before its start; the walk repeats.
    assert past.known.tolist() == [[True, True, False, False], [True] * 4, [True] * 4]
    for env in range(3):
        for slot in range(4):
            then = clips.get_body_state(where[0][env : env + 1], where[1][env : env + 1] - past.ages[slot])
            if past.known[env, slot]:
                expected = world_poses(moment(amp, then))[0]
                torch.testing.assert_close(past.seen[env, slot], expected, atol=1e-5, rtol=0)


def test_a_share_of_the_episodes_has_no_past(amp, library, moment):
    clips, n = library("walk"), 2000
    where = (torch.zeros(n, dtype=torch.long), torch.full((n,), 0.5), torch.ones(n, dtype=torch.bool))
    history = remembering(amp, n, clips, lambda: where, none_share=0.3)
    history.begin(torch.arange(n), moment(amp, clips.get_body_state(*where[:2])), generator())
    known = history.context(None)["past"].known
    assert (~known).all(-1).float().mean() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(known.any(-1), known.all(-1))


@pytest.mark.parametrize("see", [world_poses, proprioception])
def test_history_tokens_hold_the_pose_seen_from_now_or_the_state_seen_then(amp, library, moment, see):
    clips = library("walk")
    where = (torch.tensor([0]), torch.tensor([0.7]), torch.tensor([True]))
    now = clips.get_body_state(*where[:2])
    history = remembering(amp, 1, clips, lambda: where, see, 135 if see is world_poses else 223)
    history.begin(torch.arange(1), moment(amp, now), generator())
    context = moment(amp, now, **history.context(None))
    then = clips.get_body_state(where[0], where[1] - context.past.ages[2])
    if see is proprioception:
        tokens = past_states(context).view(1, 4, 15 * 15 - 1)
        torch.testing.assert_close(tokens[:, 2, :-1], proprioception(moment(amp, then)), atol=1e-4, rtol=0)
    else:
        tokens = past_poses(context).view(1, 4, 9 * 15 + 1)
        offsets = context.in_heading(then.body_positions - now.body_positions[:, :1])
        torch.testing.assert_close(tokens[:, 2, :45], offsets.flatten(1), atol=1e-5, rtol=0)
        level = Rotation.from_euler("z", torch.atan2(*context.heading_matrix[0, [1, 0], 0]).item()).inv()
        turned = [axes(level * Rotation.from_quat(rotation)) for rotation in then.body_rotations[0].numpy()]
        expected = torch.tensor(turned, dtype=torch.float32).flatten()
        torch.testing.assert_close(tokens[0, 2, 45:-1], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens[0, :, -1], -context.past.ages)
