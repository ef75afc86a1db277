"""rsl_rl's PPO on a Proto environment, its critic seeing a group of its own; `pip install "proto-envs[rsl-rl]"`."""

import argparse

import gymnasium
from rsl_rl.runners import OnPolicyRunner

import proto_envs  # noqa: F401  registers the ids
from proto_envs.adapters.rsl_rl import RslRlVecEnv

NETWORK = {"class_name": "MLPModel", "hidden_dims": [256, 256], "obs_normalization": True}
SETTINGS = {
    "num_steps_per_env": 16,
    "save_interval": 50,
    "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
    "actor": NETWORK | {"distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.1}},
    "critic": dict(NETWORK),
    "algorithm": {"class_name": "PPO", "num_learning_epochs": 5, "num_mini_batches": 4, "gamma": 0.97},
}


def main() -> None:
    """Train G1 to follow a walk by its own senses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--output", default="runs/rsl_rl_g1")
    args = parser.parse_args()
    env = gymnasium.make_vec("ProtoDeployableMimic-G1-v0", num_envs=args.num_envs, motions="walk", observation="groups")
    runner = OnPolicyRunner(RslRlVecEnv(env, seed=0), SETTINGS, log_dir=args.output, device=str(env.unwrapped.device))
    runner.learn(args.iterations, init_at_random_ep_len=True)
    env.close()


if __name__ == "__main__":
    main()
