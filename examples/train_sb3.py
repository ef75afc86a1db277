"""Stable-Baselines3's PPO on a Proto environment; `pip install "proto-envs[sb3]"`."""

import argparse

import gymnasium
from stable_baselines3 import PPO

import proto_envs  # noqa: F401  registers the ids
from proto_envs.adapters.sb3 import Sb3VecEnv


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--output", default="sb3_walk")
    args = parser.parse_args()
    env = gymnasium.make_vec(
        "ProtoMimic-AMP-v0",
        num_envs=args.num_envs,
        motions="walk",
        task={"action": "residual", "rewards": "tight", "termination_distance": 0.35},
    )
    model = PPO("MlpPolicy", Sb3VecEnv(env), n_steps=16, batch_size=1024, gamma=0.97, device="cpu", verbose=1)
    model.learn(args.samples)
    model.save(args.output)
    env.close()


if __name__ == "__main__":
    main()
