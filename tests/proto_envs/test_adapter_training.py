"""Each RL library trains PPO on a Proto environment through its adapter."""

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

N = 8


def test_sb3_trains(make_env):
    sb3 = pytest.importorskip("stable_baselines3")
    from proto_envs.adapters.sb3 import Sb3VecEnv

    env = Sb3VecEnv(make_env(N, motions="walk"))
    model = sb3.PPO("MlpPolicy", env, n_steps=16, batch_size=64, n_epochs=2, device="cpu", seed=0)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(2 * N * 16)
    assert model.num_timesteps == 2 * N * 16 and len(model.ep_info_buffer)
    assert not all(map(torch.equal, before, model.policy.parameters()))


def test_sb3_trains_on_groups(make_env):
    sb3 = pytest.importorskip("stable_baselines3")
    from proto_envs.adapters.sb3 import Sb3VecEnv

    env = Sb3VecEnv(make_env(N, name="Style", motions="walk", observation="groups", output="numpy"))
    sb3.PPO("MultiInputPolicy", env, n_steps=16, batch_size=64, n_epochs=1, device="cpu").learn(N * 16)


def test_rsl_rl_trains_with_a_critic_of_its_own_group(make_env, tmp_path):
    pytest.importorskip("rsl_rl")
    from rsl_rl.runners import OnPolicyRunner

    from proto_envs.adapters.rsl_rl import RslRlVecEnv

    env = RslRlVecEnv(make_env(N, "G1", "DeployableMimic", observation="groups", motions="walk"))
    network = {"class_name": "MLPModel", "hidden_dims": [32], "obs_normalization": True}
    settings = {
        "num_steps_per_env": 16,
        "save_interval": 10,
        "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
        "actor": network | {"distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.1}},
        "critic": dict(network),
        "algorithm": {"class_name": "PPO", "num_learning_epochs": 2, "num_mini_batches": 2},
    }
    runner = OnPolicyRunner(env, settings, log_dir=None, device="cpu")
    before = [parameter.clone() for parameter in runner.alg.actor.parameters()]
    runner.learn(2, init_at_random_ep_len=True)
    assert not all(map(torch.equal, before, runner.alg.actor.parameters()))


def test_skrl_trains(make_env, tmp_path, monkeypatch):
    pytest.importorskip("skrl")
    monkeypatch.setattr("atexit.register", lambda function: function)  # its trainer would log after the tests' end
    from skrl.agents.torch.ppo import PPO, PPO_CFG
    from skrl.memories.torch import RandomMemory
    from skrl.trainers.torch import SequentialTrainer
    from skrl.utils.model_instantiators.torch import deterministic_model, gaussian_model

    from proto_envs.adapters.skrl import SkrlWrapper

    env = SkrlWrapper(make_env(N, motions="walk"), seed=0)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": env.device}
    network = [{"name": "net", "input": "OBSERVATIONS", "layers": [32], "activations": "elu"}]
    models = {
        "policy": gaussian_model(**spaces, network=network, output="ACTIONS"),
        "value": deterministic_model(**spaces, network=network, output="ONE"),
    }
    settings = PPO_CFG(rollouts=16, learning_epochs=2, mini_batches=2)
    settings.experiment.directory = str(tmp_path)
    agent = PPO(
        models=models, memory=RandomMemory(memory_size=16, num_envs=N, device=env.device), cfg=settings, **spaces
    )
    models["policy"].init_state_dict(role="policy")  # its layers are lazy
    before = [parameter.clone() for parameter in models["policy"].parameters()]
    trainer = SequentialTrainer(
        env=env,
        agents=agent,
        cfg={"timesteps": 32, "headless": True, "environment_info": "log", "disable_progressbar": True},
    )
    trainer.train()
    assert not all(map(torch.equal, before, models["policy"].parameters()))


def test_torchrl_trains(make_env):
    """One step of TorchRL's clipped PPO on what its collector gathered."""
    pytest.importorskip("torchrl")
    from tensordict.nn import TensorDictModule
    from tensordict.nn.distributions import NormalParamExtractor
    from torchrl.collectors import Collector
    from torchrl.modules import ProbabilisticActor, TanhNormal, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    from proto_envs.adapters.torchrl import torchrl_env

    env = torchrl_env(make_env(N, motions="walk", autoreset_mode=AutoresetMode.DISABLED))
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    net = torch.nn.Sequential(torch.nn.Linear(size, 32), torch.nn.ELU(), torch.nn.Linear(32, 2 * actions))
    actor = ProbabilisticActor(
        TensorDictModule(torch.nn.Sequential(net, NormalParamExtractor()), ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        return_log_prob=True,
    )
    critic = ValueOperator(torch.nn.Linear(size, 1), in_keys=["observation"])
    advantage, loss = GAE(gamma=0.97, lmbda=0.95, value_network=critic), ClipPPOLoss(actor, critic)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    before = net[0].weight.detach().clone()
    collector = Collector(env, actor, frames_per_batch=N * 16, total_frames=N * 16)
    for data in collector:
        assert data.shape == (N, 16)
        advantage(data)
        losses = loss(data.flatten())
        total = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
        total.backward()
        optimizer.step()
    collector.shutdown(close_env=False)
    assert torch.isfinite(total) and not torch.equal(before, net[0].weight)


@pytest.mark.slow  # its imports alone take ten seconds
def test_rl_games_trains(make_env, tmp_path, monkeypatch):
    pytest.importorskip("rl_games")
    from rl_games.torch_runner import Runner

    from proto_envs.adapters.rl_games import register

    monkeypatch.chdir(tmp_path)
    made = []

    def make(num_envs, **settings):
        made.append(make_env(num_envs, **settings))
        return made[-1]

    register("proto_walk", make)
    settings = {
        "name": "test",
        "env_name": "proto_walk",
        "env_config": {"motions": "walk"},
        "num_actors": N,
        "device": "cpu",
        "device_name": "cpu",
        "torch_compile": False,
        "ppo": True,
        "normalize_input": True,
        "normalize_value": True,
        "value_bootstrap": True,
        "normalize_advantage": True,
        "mixed_precision": False,
        "reward_shaper": {"scale_value": 1.0},
        "gamma": 0.97,
        "tau": 0.95,
        "learning_rate": 3e-4,
        "lr_schedule": "identity",
        "e_clip": 0.2,
        "clip_value": True,
        "entropy_coef": 0.0,
        "critic_coef": 1.0,
        "grad_norm": 1.0,
        "truncate_grads": True,
        "bounds_loss_coef": 0.0,
        "horizon_length": 16,
        "minibatch_size": 64,
        "mini_epochs": 2,
        "max_epochs": 2,
        "score_to_win": 1e9,
        "train_dir": str(tmp_path),
    }
    network = {
        "name": "actor_critic",
        "separate": True,
        "space": {
            "continuous": {
                "mu_activation": "None",
                "sigma_activation": "None",
                "mu_init": {"name": "default"},
                "sigma_init": {"name": "const_initializer", "val": -2.3},
                "fixed_sigma": True,
            }
        },
        "mlp": {"units": [32], "activation": "elu", "initializer": {"name": "default"}},
    }
    runner = Runner()
    runner.load(
        {
            "params": {
                "seed": 0,
                "algo": {"name": "a2c_continuous"},
                "model": {"name": "continuous_a2c_logstd"},
                "network": network,
                "config": settings,
            }
        }
    )
    runner.run({"train": True, "play": False})
    assert len(made) == 1 and int(made[0].unwrapped.episode_steps.sum()) > 0
    assert list(tmp_path.rglob("*.pth"))


@pytest.mark.slow  # its imports alone take ten seconds
def test_tianshou_trains(make_env):
    pytest.importorskip("tianshou")
    from tianshou.algorithm import PPO
    from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.utils.net.common import Net
    from tianshou.utils.net.continuous import ContinuousActorProbabilistic, ContinuousCritic
    from torch.distributions import Independent, Normal

    from proto_envs.adapters.tianshou import TianshouVecEnv

    proto = make_env(N, motions="walk", autoreset_mode=AutoresetMode.DISABLED, task={"episode_seconds": 0.5})
    env = TianshouVecEnv(proto)
    shape = proto.single_observation_space.shape
    actor = ContinuousActorProbabilistic(
        preprocess_net=Net(state_shape=shape, hidden_sizes=[32]), action_shape=proto.single_action_space.shape
    )
    policy = ProbabilisticActorPolicy(
        actor=actor,
        dist_fn=lambda loc_scale: Independent(Normal(*loc_scale), 1),
        action_space=proto.single_action_space,
        observation_space=proto.single_observation_space,
    )
    algorithm = PPO(
        policy=policy,
        critic=ContinuousCritic(preprocess_net=Net(state_shape=shape, hidden_sizes=[32])),
        optim=AdamOptimizerFactory(lr=1e-3),
    )
    buffer = VectorReplayBuffer(N * 32, N)
    collector = Collector(policy, env, buffer)
    collector.reset()
    stats = collector.collect(n_step=N * 20)
    assert stats.n_collected_episodes >= N  # each of at most 15 steps
    assert 1 < np.mean(stats.lens) <= 15
    before = [parameter.clone() for parameter in actor.parameters()]
    algorithm.train()
    from tianshou.utils.torch_utils import policy_within_training_step

    with policy_within_training_step(policy):
        algorithm.update(buffer=buffer, batch_size=64, repeat=2)
    assert not all(map(torch.equal, before, actor.parameters()))


@pytest.mark.slow
def test_tianshou_resets_those_that_it_asks_for(make_env, noisy):
    pytest.importorskip("tianshou")
    from proto_envs.adapters.tianshou import TianshouVecEnv

    keywords = {"autoreset_mode": AutoresetMode.DISABLED, "motions": "walk", "task": {"episode_seconds": 0.3}}
    proto, twin = (make_env(4, **keywords) for _ in range(2))
    env = TianshouVecEnv(proto)
    env.seed(3)
    observation, infos = env.reset()
    np.testing.assert_array_equal(observation, twin.reset(seed=3)[0])
    assert [info["env_id"] for info in infos] == [0, 1, 2, 3]
    ended = False
    for step in range(9):
        actions = noisy(twin, step)
        found, wanted = env.step(actions.numpy()), twin.step(actions)
        for mine, theirs in zip(found[:4], wanted[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)
        ended |= bool((found[2] | found[3]).any())
    assert ended
    observation, _ = env.reset([1, 3])
    wanted, _ = twin.reset(options={"reset_mask": torch.tensor([False, True, False, True])})
    np.testing.assert_array_equal(observation, wanted[[1, 3]])
    part = env.step(np.zeros((2, env.action_space[0].shape[0])), id=[0, 2])
    whole = twin.step(torch.zeros(twin.action_space.shape))
    np.testing.assert_array_equal(part[0], whole[0][[0, 2]])
