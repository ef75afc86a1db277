"""What adapters to other RL libraries add to a step of the environment.

    uv run --group libraries python benchmarks/adapters.py --output benchmarks/results/adapters.json

Each library's way to step (its adapter) and `env.step` itself play the same actions in environments made alike, in turn
and step by step, so that a busy machine slows them alike. Reported is the median of how much longer an adapter takes
than `env.step` did for the same actions, with quartiles. Nothing learns here, so a library's own conversions of
observations do not count, but those of its adapter do. Libraries that are not installed are left out.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
import tyro
from engine_tables import provenance
from gymnasium.vector import AutoresetMode
from torch import Tensor

import proto_envs  # noqa: F401  registers the ids

Step = Callable[[Tensor], object]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to measure."""

    env: str = "ProtoMimic-AMP-v0"
    """environment id"""
    num_envs: int = 256
    """environments stepped together"""
    steps: int = 100
    """of each"""
    output: Path | None = None
    """JSON file"""


def main(args: Arguments) -> None:
    """Measure, print, write."""
    steps = {"env.step": plain(args)} | {name: made for name, made in adapters(args).items() if made is not None}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    size = gymnasium.make_vec(args.env, num_envs=1).action_space.shape
    assert size is not None
    generator = torch.Generator().manual_seed(0)
    for index in range(args.steps + 5):
        actions = 0.2 * torch.randn(args.num_envs, size[1], generator=generator)
        for name, step in steps.items():
            began = time.perf_counter()
            step(actions)
            if index >= 5:
                seconds[name].append(time.perf_counter() - began)
    rows = []
    for name, taken in seconds.items():
        more = [theirs / mine - 1.0 for theirs, mine in zip(taken, seconds["env.step"], strict=True)]
        first, middle, third = statistics.quantiles(more, n=4)
        milliseconds = 1000.0 * statistics.median(taken)
        rows.append({"step": name, "ms": milliseconds, "overhead": middle, "overhead_quartiles": [first, third]})
        print(f"{name:10s} {milliseconds:8.2f} ms  {middle:+7.1%}  ({first:+.1%} to {third:+.1%})")
    if args.output is not None:
        settings = {name: value for name, value in asdict(args).items() if name != "output"}
        content = {"settings": settings, "rows": rows} | provenance()
        args.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def make(args: Arguments, **keywords: Any) -> Any:  # noqa: ANN401
    """An environment whose robots soon fall, as at the beginning of training."""
    env = gymnasium.make_vec(args.env, num_envs=args.num_envs, **keywords)
    env.reset(seed=0)
    return env


def plain(args: Arguments) -> Step:
    """`env.step`."""
    return make(args).step


def adapters(args: Arguments) -> dict[str, Step | None]:
    """How each library steps; None where it is not installed."""
    made = (sb3, rsl_rl, skrl, rl_games, torchrl, tianshou)
    return {step.__name__: _or_none(step, args) for step in made}


def _or_none(step: Callable[[Arguments], Step], args: Arguments) -> Step | None:
    try:
        return step(args)
    except ImportError as error:
        print(error)
        return None


def sb3(args: Arguments) -> Step:
    """Stable-Baselines3: arrays in and out, a dict for each environment."""
    from proto_envs.adapters.sb3 import Sb3VecEnv

    adapter = Sb3VecEnv(make(args))
    return lambda actions: adapter.step(actions.numpy())


def rsl_rl(args: Arguments) -> Step:
    """rsl_rl: a TensorDict and means of the metrics."""
    from proto_envs.adapters.rsl_rl import RslRlVecEnv

    return RslRlVecEnv(make(args)).step


def skrl(args: Arguments) -> Step:
    """skrl: columns and means of the metrics."""
    from proto_envs.adapters.skrl import SkrlWrapper

    return SkrlWrapper(make(args)).step


def rl_games(args: Arguments) -> Step:
    """rl_games."""
    from proto_envs.adapters.rl_games import RlGamesVecEnv

    return RlGamesVecEnv(make(args)).step


def torchrl(args: Arguments) -> Step:
    """TorchRL: tensordicts, and resets in a call of their own."""
    from proto_envs.adapters.torchrl import torchrl_env

    env = torchrl_env(make(args, autoreset_mode=AutoresetMode.DISABLED))
    state = [env.reset()]

    def step(actions: Tensor) -> None:
        _, state[0] = env.step_and_maybe_reset(state[0].set("action", actions))

    return step


def tianshou(args: Arguments) -> Step:
    """Tianshou: arrays, a dict for each environment, and resets in a call of their own."""
    from proto_envs.adapters.tianshou import TianshouVecEnv

    env = TianshouVecEnv(make(args, autoreset_mode=AutoresetMode.DISABLED))
    env.reset()

    def step(actions: Tensor) -> None:
        _, _, terminated, truncated, _ = env.step(actions.numpy())
        if len(ended := (terminated | truncated).nonzero()[0]):
            env.reset(ended)

    return step


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
