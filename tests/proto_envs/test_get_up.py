import math

import gymnasium
import pytest
import torch

import proto_envs  # noqa: F401  registers the ids
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_from_euler
from proto_envs.components.lying import lying_states
from proto_envs.tasks.get_up import head_height, misses, stands, still, upright

HEAD = 2


@pytest.fixture
def posed(amp, random_bodies, moment, plateau):
    """`posed(height, tilt, speed, steps)`: a head at a height and a root that leans."""

    def make(height, tilt=0.0, speed=0.0, steps=100, ground=0.0):
        bodies = random_bodies(0, 1, 15)
        bodies.body_positions[:, HEAD, 2] = height + ground
        bodies.body_rotations[:, 0] = quat_from_euler("xyz", torch.tensor([[tilt, 0.0, 1.3]]))
        bodies.body_velocities[:, 0] = torch.tensor([0.0, speed, 0.0])
        given = {"steps": torch.tensor([steps]), "terrain": plateau(ground)}
        return moment(amp, bodies, **given)

    return make


def up(ctx):
    return stands(ctx, HEAD, full=1.5, share=0.85, tilt=0.6)


def test_kernels_by_hand(posed):
    assert head_height(posed(0.75, ground=4.0), HEAD, 1.5).item() == pytest.approx(0.5)
    assert head_height(posed(2.0), HEAD, 1.5).item() == 1.0 and head_height(posed(-0.1), HEAD, 1.5).item() == 0.0
    assert upright(posed(1.0, tilt=0.5)).item() == pytest.approx(math.cos(0.5), abs=1e-6)
    assert upright(posed(1.0, tilt=2.0)).item() == 0.0
    assert [up(posed(h, tilt=t)).item() for h, t in ((1.3, 0.0), (1.25, 0.0), (1.5, 0.59), (1.5, 0.61))] == [
        True,
        False,
        True,
        False,
    ]
    assert still(posed(1.5, speed=0.7), up).item() == pytest.approx(math.exp(-0.49), abs=1e-6)
    assert still(posed(0.5), up).item() == 0.0


def test_who_does_not_stand_at_the_end_has_failed(posed):
    assert [misses(posed(h, steps=s), up, end=300).item() for h, s in ((0.3, 299), (0.3, 300), (1.5, 300))] == [
        False,
        True,
        False,
    ]


def test_dropped_robots_lie_on_the_ground_at_rest(amp, make_simulator):
    states = lying_states(amp, 8, 3)
    n = len(states.root_position)
    assert 0 < n <= 8
    positions, rotations = forward_kinematics(amp.skeleton, states.root_position, states.local_rotations)
    lowest = amp.collision_points.lowest(positions, rotations).amin(-1)
    assert lowest.abs().max() < 0.03
    assert (positions[:, 0, 2] < 0.6 * amp.default_root_height).all()
    assert not states.root_position[:, :2].any()
    # They stay where they are when nothing moves them.
    simulator = make_simulator(amp, n)
    simulator.set_state(torch.arange(n), states)
    for _ in range(15):
        simulator.step(simulator.robot().dof_positions)
    moved = (simulator.robot().body_positions - positions).norm(dim=-1)
    assert moved.median() < 0.05
    assert len({tuple(row) for row in states.dof_positions.tolist()}) == n


def test_the_same_seed_drops_the_same_way(amp):
    lying_states.cache_clear()
    first = lying_states(amp, 3, 1).dof_positions
    lying_states.cache_clear()
    assert torch.equal(lying_states(amp, 3, 1).dof_positions, first)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_episodes_begin_lying_or_at_the_first_frame_of_a_clip(amp, library, share):
    clips = library("getup_faceup")
    task = {"rest_share": share, "dropped": 2}
    env = gymnasium.make_vec("ProtoGetUp-AMP-v0", num_envs=4, threads=1, motions=clips, task=task)
    start = env.components.controls["start"]
    state = start.reset(torch.arange(4), torch.Generator().manual_seed(0))
    env.close()
    assert torch.equal(start.from_clip, torch.full((4,), share == 0.0))
    if share == 0.0:
        first = clips.get_body_state(torch.zeros(4, dtype=torch.long), torch.zeros(4))
        torch.testing.assert_close(state.root_position, first.body_positions[:, 0])
    else:
        assert {tuple(row) for row in state.dof_positions.tolist()} <= {
            tuple(row) for row in lying_states(amp, 2, 0).dof_positions.tolist()
        }
