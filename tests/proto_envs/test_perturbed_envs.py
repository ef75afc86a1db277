"""What perturbations do to an environment."""

import gymnasium
import numpy as np
import pytest
import torch
from scipy import stats

from proto_envs.randomization.config import Randomization
from proto_envs.randomization.reading import PRESETS
from proto_envs.simulators import UnsupportedError
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.testing import check_vector_env

EVERYTHING = {
    "gravity": [-12, -8],
    "friction": {"low": 0.3, "high": 1.6, "when": "start"},
    "mass": {"*": [0.8, 1.2], "right_hand": [2, 3]},
    "com_offset": {"torso": {"x": [-0.02, 0.02], "z": [-0.05, 0.05]}},
    "stiffness": {"*": [0.9, 1.1]},
    "damping": [0.9, 1.1],
    "joint_friction": [0, 0.5],
    "pushes": {"interval": [0.1, 0.3], "velocity": {"x": [-1, 1]}, "force": [50, 100], "body": "torso"},
    "projectiles": {"count": 2, "interval": [0.1, 0.3]},
    "action_noise": 0.02,
    "action_delay": [0, 2],
    "observation_noise": {"policy": 0.01},
    "observation_delay": [0, 1],
}
SHORT = {"episode_seconds": 0.4}


def still(env):
    return torch.zeros(env.action_space.shape)


def roll(env, steps):
    """Everything that `steps` noisy steps return."""
    generator = torch.Generator().manual_seed(7)
    return [env.step(torch.rand(env.action_space.shape, generator=generator) * 2 - 1) for _ in range(steps)]


def centre_of_mass_velocity(env, index):
    """(3,) m/s, by MuJoCo, and the mass, kg."""
    import mujoco

    simulator = env.simulator
    model, data = simulator.batch.get_model(index), simulator.batch.get_data(index)
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    return data.subtree_linvel[1], model.body_subtreemass[1]


# --- reproducible, exact, and nothing where nothing is asked for -----------------------------------------------------


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_everything_at_once_keeps_the_contract_of_vector_environments(mode):
    def make():
        return gymnasium.make_vec(
            "ProtoMimic-AMP-v0", num_envs=3, threads=1, randomization=EVERYTHING, task=SHORT, autoreset_mode=mode
        )

    check_vector_env(make, steps=16)


def test_a_saved_state_goes_on_bit_for_bit(make_env, assert_equal):
    made = [make_env(3, randomization=EVERYTHING, task=SHORT, observation="groups") for _ in range(2)]
    first, second = made
    for env, seed in zip(made, (1, 2), strict=True):
        env.reset(seed=seed)
    roll(first, 9)
    roll(second, 2)
    second.load_state_dict(first.state_dict())
    for a, b in zip(roll(first, 16), roll(second, 16), strict=True):
        assert_equal(a, b)
    assert_equal(first.randomization.values, second.randomization.values)


def test_without_perturbations_nothing_is_drawn_or_saved(make_env, assert_equal):
    plain, empty = make_env(2), make_env(2, randomization={})
    for env in (plain, empty):
        env.reset(seed=0)
    for a, b in zip(roll(plain, 5), roll(empty, 5), strict=True):
        assert_equal(a, b)
    assert empty.randomization.values == {}
    assert not [name for name in empty.state_dict() if name.startswith("randomization") or "parameter" in name]


def test_the_task_draws_the_same_with_and_without_perturbations(make_env):
    plain, perturbed = (
        make_env(8, motions=["walk", "run"]),
        make_env(8, motions=["walk", "run"], randomization="pushes"),
    )
    for env in (plain, perturbed):
        env.reset(seed=3)
    a, b = (env.step(still(env))[4]["clip"] for env in (plain, perturbed))
    assert torch.equal(a, b)
    starts = [env.components.controls["reference"].starts for env in (plain, perturbed)]
    assert torch.equal(*starts)


def test_a_seed_decides_all_values_and_another_gives_others(make_env, assert_equal):
    env = make_env(4, randomization=EVERYTHING)
    found = []
    for seed in (5, 6, 5):
        env.reset(seed=seed)
        found.append(env.randomization.values)
    assert_equal(found[0], found[2])
    for name, values in found[0].items():
        if "delay" not in name:
            assert not torch.equal(values, found[1][name]), name


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_values_are_drawn_for_each_environment_by_itself_within_their_range(make_env):
    n = 400
    config = {
        "gravity": [-20, -14],
        "friction": {"low": 0.2, "high": 2, "distribution": "log_uniform"},
        "mass": [0.8, 1.2],
        "stiffness": {"*": [0.9, 1.1], "right_*": [0.5, 0.6]},
        "com_offset": {"torso": {"y": {"low": -0.05, "high": 0.05, "distribution": "normal"}}},
        "action_delay": [0, 3],
    }
    env = make_env(n, randomization=config)
    env.reset(seed=0)
    values = env.randomization.values
    assert (values["gravity"][:, :2] == 0).all()
    torso = env.robot.skeleton.body_indices([env.robot.semantic["torso"]])[0]
    for sample, expected in (
        (values["gravity"][:, 2], stats.uniform(-20, 6)),
        (values["friction"], stats.loguniform(0.2, 2)),
        (values["mass"][:, 0], stats.uniform(0.8, 0.4)),
        (values["com_offset"][:, torso, 1], stats.truncnorm(-2, 2, loc=0, scale=0.025)),
    ):
        assert stats.kstest(sample.numpy(), expected.cdf).pvalue > 1e-3
    assert (values["mass"] == values["mass"][:, :1]).all()  # one factor for the whole robot
    assert values["com_offset"].count_nonzero() == n
    assert stats.chisquare(np.bincount(values["action_delay"])).pvalue > 1e-3

    right = torch.tensor([name.startswith("right_") for name in env.robot.skeleton.dof_names])
    stiffness = values["stiffness"]
    assert (stiffness[:, right] >= 0.5).all() and (stiffness[:, right] <= 0.6).all()
    assert (stiffness[:, ~right] >= 0.9).all() and (stiffness[:, ~right] <= 1.1).all()
    # A joint's three axes have one factor, and different joints have different ones.
    assert {len(row.unique()) for row in stiffness[:8]} == {
        sum(bool(joint.names) for joint in env.robot.skeleton.joints)
    }


def test_values_change_with_each_episode_or_never_as_they_say(make_env):
    config = {"mass": [0.8, 1.2], "friction": {"low": 0.5, "high": 1, "when": "start"}, "gravity": [-12, -8]}
    env = make_env(6, randomization=config, autoreset_mode="disabled")
    env.reset(seed=0)
    before = env.randomization.values
    mask = torch.tensor([True, False, True, False, False, False])
    env.reset(options={"reset_mask": mask})
    after = env.randomization.values
    assert torch.equal(after["friction"], before["friction"])
    for name in ("mass", "gravity"):
        changed = (after[name] != before[name]).flatten(1).any(1)
        assert torch.equal(changed, mask), name


@pytest.mark.parametrize("robot", ["SMPL", "G1", "H1Hands"])
@pytest.mark.parametrize("name", ["sim2real", "heavy_hand"])
def test_presets_fit_every_kind_of_robot(make_env, robot, name):
    env = make_env(2, robot=robot, randomization=name, task=SHORT)
    env.reset(seed=0)
    for observation, reward, *_ in roll(env, 3):
        assert torch.isfinite(observation).all() and torch.isfinite(reward).all()


# --- physics ---------------------------------------------------------------------------------------------------------


def test_a_robot_falls_by_the_gravity_of_its_own_environment(make_env):
    env = make_env(4, randomization={"gravity": [-20, -5]})
    env.reset(seed=0)
    start = env.simulator.robot().body_positions[:, 0, 2]
    env.simulator.batch.bind("qpos")[:, 2] += 5.0
    env.simulator.batch.bind("qvel")[:] = 0.0
    for _ in range(5):
        env.simulator.step(env._targets)
    time, substep = 5 / 30, 1 / 120
    gravity = env.randomization.values["gravity"][:, 2]
    velocity = [centre_of_mass_velocity(env, i)[0][2] for i in range(4)]
    np.testing.assert_allclose(velocity, gravity * time, rtol=1e-3)
    fallen = env.simulator.robot().body_positions[:, 0, 2] - start - 5.0
    np.testing.assert_allclose(fallen, 0.5 * gravity * time * (time + substep), atol=0.05)


def test_a_push_gives_momentum_force_times_duration(make_env):
    config = {"gravity": 0, "pushes": {"interval": 0.2, "force": 300, "duration": 0.1, "body": "torso"}}
    env = make_env(3, randomization=config, task={"termination_distance": None})
    env.reset(seed=0)
    env.simulator.batch.bind("qpos")[:, 2] += 5.0
    env.simulator.batch.bind("qvel")[:] = 0.0
    momenta = []
    for _ in range(10):
        env.step(still(env))
        momenta.append([velocity * mass for velocity, mass in (centre_of_mass_velocity(env, i) for i in range(3))])
    momenta = np.array(momenta)
    # 0.2 s are six steps; it is pushed in the sixth. The drives move the figure all the while, and the integrator does
    # not keep its momentum exactly.
    np.testing.assert_allclose(momenta[4], 0.0, atol=0.3)
    sizes = np.linalg.norm(momenta, axis=-1)
    np.testing.assert_allclose(sizes[[5, 6, 7, 8, 9]], np.outer([10, 20, 30, 30, 30], np.ones(3)), rtol=0.03)
    np.testing.assert_allclose(momenta[9, :, 2], 0.0, atol=0.5)  # horizontal
    assert len({tuple(row) for row in np.sign(momenta[9, :, :2]).tolist()}) > 1  # in different directions


def test_a_push_may_be_a_change_of_velocity(make_env):
    config = {"gravity": 0, "pushes": {"interval": 0.1, "velocity": {"x": 1.0, "z": [0.5, 0.7]}}}
    env = make_env(2, randomization=config)
    env.reset(seed=0)
    env.simulator.batch.bind("qpos")[:, 2] += 5.0
    env.simulator.batch.bind("qvel")[:] = 0.0
    velocities = []
    for _ in range(3):
        env.step(still(env))
        velocities.append([centre_of_mass_velocity(env, i)[0] for i in range(2)])
    velocities = np.array(velocities)
    # The drives move the figure all the while, and the integrator does not keep its momentum exactly.
    np.testing.assert_allclose(velocities[1], 0.0, atol=0.03)
    np.testing.assert_allclose(velocities[2, :, 0], 1.0, atol=0.03)
    assert (velocities[2, :, 2] > 0.47).all() and (velocities[2, :, 2] < 0.73).all()


def test_projectiles_hit_and_are_taken_away(make_env):
    config = {"projectiles": {"count": 2, "interval": [0.6, 0.8], "spread": 0.0, "lifetime": 1.0, "speed": 8}}
    env = make_env(16, randomization=config, task={"termination_distance": None}, motions="walk")
    env.reset(seed=0)
    closest, heights = torch.full((16, 2), 9.0), []
    for _ in range(75):
        env.step(still(env))
        boxes, root = env.simulator.projectiles(), env.simulator.robot().body_positions[:, :1]
        closest = torch.minimum(closest, (boxes.positions - root).norm(dim=-1))
        heights.append(boxes.positions[..., 2])
    assert closest.median() < 0.4 and closest.max() < 1.0  # it stops before the root's middle, and the robot may fall
    heights = torch.stack(heights)
    thrown = heights < 100.0
    assert not thrown[:17].any()  # 0.6 s are 18 steps
    assert thrown.any(0).all()
    longest = max(
        len(run) for column in thrown.flatten(1).T for run in "".join("01"[int(t)] for t in column).split("0")
    )
    assert longest <= 30  # 1 s
    assert heights[~thrown].min() > 900.0  # the others wait up there


def test_projectiles_leave_the_objects_of_a_task_alone(make_env):
    keywords = {"num_envs": 2, "threads": 1}
    plain = gymnasium.make_vec("ProtoStrike-AMP-v0", **keywords)
    env = gymnasium.make_vec("ProtoStrike-AMP-v0", randomization="projectiles", **keywords)
    assert env.observation_space == plain.observation_space
    for each in (plain, env):
        each.reset(seed=0)
    assert torch.equal(plain.simulator.objects().positions, env.simulator.objects().positions)
    assert env.simulator.projectiles().positions.shape == (2, 3, 3)
    plain.close()
    env.close()


# --- between policy and robot ----------------------------------------------------------------------------------------


def test_targets_come_late_by_each_environments_delay(make_env):
    env = make_env(12, randomization={"action_delay": [0, 2]})
    env.reset(seed=1)
    sent, commanded, step = [], [], env.simulator.step
    env.simulator.step = lambda targets: (sent.append(targets.clone()), step(targets))
    commanded = [env._targets.clone()] * 2
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        env.step(torch.rand(env.action_space.shape, generator=generator) * 0.1)
        commanded.append(env._targets.clone())
    delay = env.randomization.values["action_delay"]
    assert set(delay.tolist()) == {0, 1, 2}
    for k, targets in enumerate(sent):
        for i, late in enumerate(delay.tolist()):
            assert torch.equal(targets[i], commanded[k + 2 - late][i])


def test_noise_reaches_the_drives_but_not_what_the_task_knows_of_its_commands(make_env):
    env = make_env(20, randomization={"action_noise": {"size": 0.1, "distribution": "uniform"}})
    env.reset(seed=1)
    sent, step = [], env.simulator.step
    env.simulator.step = lambda targets: (sent.append(targets.clone()), step(targets))
    env.step(still(env))
    noise = (sent[0] - env._targets).flatten()
    assert stats.kstest(noise.numpy(), stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3
    assert torch.equal(env._targets, env.components.action(still(env)))


def test_observation_noise_is_on_the_named_part_alone(make_env):
    keywords = {"observation": "groups", "autoreset_mode": "disabled"}
    config = {"observation_noise": {"policy/proprioception": 0.5}}
    plain, noisy = make_env(50, **keywords), make_env(50, randomization=config, **keywords)
    seen = [env.reset(seed=0)[0] for env in (plain, noisy)]
    stepped = [env.step(still(env))[0] for env in (plain, noisy)]
    size = 15 * noisy.robot.skeleton.num_bodies - 2
    for a, b in (seen, stepped):
        difference = b["policy"] - a["policy"]
        assert (difference[:, size:] == 0).all()
        assert stats.kstest(difference[:, :size].flatten().numpy()[::10], stats.norm(0, 0.5).cdf).pvalue > 1e-3
        for name in a.keys() - {"policy"}:
            assert torch.equal(a[name], b[name])


def test_observations_come_late_and_begin_with_the_first_of_the_episode(make_env):
    plain, late = make_env(8), make_env(8, randomization={"observation_delay": [0, 2]})
    true = [env.reset(seed=2)[0] for env in (plain, late)]
    assert torch.equal(*true)
    history = [true[0]] * 3
    delay = late.randomization.values["observation_delay"]
    assert set(delay.tolist()) == {0, 1, 2}
    for _ in range(4):
        history.append(plain.step(still(plain))[0])
        seen, *_, info = late.step(still(late))
        assert "final_obs" not in info, "no episode may end here"
        for i, steps in enumerate(delay.tolist()):
            assert torch.equal(seen[i], history[-1 - steps][i])


def test_a_partial_reset_shows_the_others_as_they_were_seen_last(make_env):
    env = make_env(3, randomization={"observation_noise": {"policy": 0.1}}, autoreset_mode="disabled")
    env.reset(seed=0)
    seen = env.step(still(env))[0]
    again, _ = env.reset(options={"reset_mask": torch.tensor([False, True, False])})
    assert torch.equal(seen[[0, 2]], again[[0, 2]])
    assert not torch.equal(seen[1], again[1])


def test_other_ground_does_not_change_what_the_policy_sees(make_env):
    ground = {"levels": 2, "columns": 2, "tile_size": 8.0, "proportions": {"rough_slope": 1}}
    flat, uneven = make_env(2), make_env(2, randomization={"terrain": ground})
    assert flat.observation_space == uneven.observation_space
    assert flat.ground.terrain.is_flat and not uneven.ground.terrain.is_flat
    assert make_env(2, randomization={"terrain": ground}, force_flat=True).ground.terrain.is_flat


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"mass": {"right_hnad": 2}}, r"mass: robot AMP has no body 'right_hnad': did you mean 'right_hand'"),
        ({"com_offset": {"tail": {"x": 1}}}, r"com_offset: robot AMP has no body 'tail'.*there are \['pelvis'"),
        ({"stiffness": {"knees": 2}}, r"stiffness: robot AMP has no joint 'knees'.*right_knee"),
        ({"pushes": {"force": 1, "body": "tail"}}, r"pushes\.body: robot AMP has no body 'tail'"),
        ({"observation_noise": {"polcy": 1}}, r"no observation 'polcy': did you mean 'policy'"),
        ({"observation_noise": {"policy/vision": 1}}, r"no observation 'policy/vision'.*'policy/proprioception'"),
        ({"terrain": "mountains"}, r"terrain='mountains'"),
    ],
)
def test_names_that_are_not_there_are_refused_with_those_that_are(make_env, config, message):
    with pytest.raises(ValueError, match=message):
        make_env(2, randomization=config)


def test_what_the_engine_cannot_do_is_refused(amp, make_env, monkeypatch):
    env = make_env(1)
    less = type(env.simulator.capabilities)(name="small")
    make = MujocoSimulator.__init__

    def small(self, *arguments):
        make(self, *arguments)
        self.capabilities = less

    monkeypatch.setattr(MujocoSimulator, "__init__", small)
    with pytest.raises(UnsupportedError, match=r"engine small cannot set \['friction'\]"):
        make_env(1, randomization="friction")
    with pytest.raises(UnsupportedError, match="engine small cannot push robots"):
        make_env(1, randomization="pushes")


def test_the_dataclass_is_reported(make_env):
    assert make_env(1, randomization="pushes").randomization.config == PRESETS["pushes"]
    assert make_env(1).randomization.config == Randomization()
