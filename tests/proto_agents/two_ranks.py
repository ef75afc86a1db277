"""What two processes compute together, each result next to what one process makes of the same data.

Run as a script, `two_ranks.py FOLDER`, it becomes two processes, which write `rank0.pt` and `rank1.pt`, and single
ones, which write `alone.pt` and `one_goes_on.pt`; `two_ranks.py FOLDER learning`, three that write how well they learn.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch

from proto_agents import PPO, ActorCriticConfig, EvaluationConfig, PPOConfig, Runner, RunnerConfig, distributed
from proto_agents.algorithms.discriminator_reward import DiscriminatorConfig, DiscriminatorReward
from proto_agents.algorithms.distillation import Distillation, DistillationConfig
from proto_agents.environment import Transition
from proto_agents.models import RunningNormalizer
from proto_agents.models.masked_mimic import MaskedMimicConfig
from proto_agents.noise_env import EpisodeNoiseEnv
from proto_agents.optimizers import gradient_step
from proto_agents.rollout import PolicyStep

_spec = importlib.util.spec_from_file_location("toys", Path(__file__).with_name("conftest.py"))
toys = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toys)

MODEL = ActorCriticConfig(hidden_sizes=(16,), critic_hidden_sizes=(16,))
WHOLE = PPOConfig(horizon=8, minibatch_size=64, epochs=3)
"""one minibatch of all samples, so that it does not matter who shuffles them"""
LIVELY = PPOConfig(horizon=8, minibatch_size=32, epochs=4, learning_rate=3e-3, kl_target=0.02, kl_stop=0.05)
"""many updates stop early, and the learning rate moves"""


def mine(rows):
    """This rank's part of a tensor's rows, of two unequal ones."""
    first = len(rows) * 5 // 8
    return (rows[:first], rows[first:])[distributed.rank()] if distributed.world_size() > 1 else rows


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def normalizer():
    """Mean and variance of three batches, of which the second is rank 0's alone."""
    statistics = RunningNormalizer((3,))
    for seed, rows in enumerate((40, 0, 24)):
        batch = 100.0 + (seed + 1.0) * noise(rows or 16, 3, seed=seed)
        statistics.update(mine(batch) if rows else batch[: 16 * distributed.is_main()])
    return {"count": statistics.count, "mean": statistics.mean, "m2": statistics.m2}


def regression():
    """Three gradient steps on unequal shares of the samples."""
    torch.manual_seed(3)
    network = torch.nn.Linear(4, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    seen, wanted = mine(noise(64, 4)), mine(noise(64, 2, seed=1))
    for _ in range(3):
        norm = gradient_step(optimizer, (network(seen) - wanted).square().mean(), len(seen), max_norm=0.5)
    return {"weight": network.weight.detach(), "bias": network.bias.detach(), "norm": norm}


def update():
    """PPO on a rollout of eight environments, or on this rank's four of them."""
    env = toys.PointEnv(8)
    learner = PPO(env.single_observation_space, env.single_action_space, WHOLE, MODEL)
    lanes = slice(4 * distributed.rank(), 4 * distributed.rank() + 4) if distributed.world_size() > 1 else slice(8)
    count = lanes.stop - (lanes.start or 0)
    buffer = learner.make_buffer(count)
    for step in range(8):
        seen = {"policy": 3.0 * noise(8, 3, seed=10 + step)[lanes]}
        acted = learner.act(seen)
        action = acted.parameters + 0.1 * noise(8, 1, seed=30 + step)[lanes]
        log_prob = learner.model.distribution(acted.normalized).log_prob(action).detach()
        done = noise(8, seed=70 + step)[lanes] > 1.5
        nothing = torch.zeros(count, dtype=torch.bool)
        transition = Transition(
            observations=seen,
            reward=noise(8, seed=50 + step)[lanes],
            terminated=done,
            truncated=nothing,
            valid=~nothing,
            outcome=seen,
            truncated_rows=torch.zeros(0, dtype=torch.long),
            truncated_observations={"policy": torch.zeros(0, 3)},
            metrics={},
            info={},
        )
        acted = PolicyStep(**{**vars(acted), "action": action, "log_prob": log_prob})
        buffer.add(acted, transition, torch.zeros(0))
    values = learner.update(buffer, learner.value({"policy": noise(8, 3, seed=99)[lanes]}))
    kept = {name: torch.tensor(values[name]) for name in ("policy/kl", "policy/learning_rate", "policy/gradient_steps")}
    return {**learner.model.state_dict(), **kept}


def runner(folder, iterations, config=LIVELY, env=None, discriminator=False, **settings):
    """Of eight environments, all ranks together."""
    env = env or toys.PointEnv(8 // distributed.world_size(), groups=discriminator)
    seed = settings.get("seed", 5)
    learner = PPO(env.single_observation_space, env.single_action_space, config, MODEL, seed=seed)
    style = DiscriminatorConfig(hidden_sizes=(8,), minibatch_size=16, gradient_steps=2, kind="amp", replay_size=100)
    reward = DiscriminatorReward(3, lambda count: noise(count, 3), style) if discriminator else None
    if reward is not None:
        reward.group = "critic"  # the toy's second group stands in
    judge = toys.PointEnv(4, groups=discriminator) if distributed.is_main() else None
    given = {"run_dir": str(folder), "max_samples": 64 * iterations, "logger": "none", "evaluate_every": 128}
    return Runner(
        env,
        learner,
        RunnerConfig(**(given | settings)),
        evaluation_env=judge,
        evaluation=EvaluationConfig(num_envs=4),
        discriminator=reward,
        quiet=True,
    )


def state(run):
    extra = {} if run.discriminator is None else run.discriminator.model.state_dict()
    tensors = {**run.learner.model.state_dict(), **{f"style/{name}": value for name, value in extra.items()}}
    return {"model": {name: tensor.clone() for name, tensor in tensors.items()}, "rate": run.learner.learning_rate}


def training(folder):
    """Twelve iterations with evaluations on rank 0, an adaptive learning rate and updates that stop early."""
    run = runner(folder / "training", 12)
    result = run.run()
    return state(run) | {"samples": result.samples, "position": run.env.env.position, "report": result.report}


def style(folder):
    """Four iterations with a discriminator."""
    run = runner(folder / "style", 4, discriminator=True)
    run.run()
    return state(run) | {"replay": run.discriminator.replay.samples.clone()}


def distillation(folder):
    """Four iterations of a student with a teacher."""
    env = toys.MaskedPointEnv(8)
    env = EpisodeNoiseEnv(env, 4, seed=distributed.rank_seed(0))
    sizes = MaskedMimicConfig(latent_size=4)
    student = Distillation(
        env.single_observation_space,
        env.single_action_space,
        DistillationConfig(horizon=4, minibatch_size=16),
        sizes,
        teacher=toys.masked_point_teacher,
    )
    settings = RunnerConfig(max_samples=4 * 4 * 16, run_dir=str(folder / "student"), logger="none")
    run = Runner(env, student, settings, quiet=True)
    run.run()
    return state(run)


def resumed(folder):
    """Six iterations at once, and three and three."""
    whole = runner(folder / "whole", 6, discriminator=True)
    whole.run()
    first = runner(folder / "parts", 3, discriminator=True)
    first.run()
    second = runner(folder / "parts", 6, discriminator=True)
    second.resume()
    second.run()
    return {
        "whole": state(whole),
        "parts": state(second),
        "positions": (whole.env.env.position, second.env.env.position),
    }


def interrupted(folder):
    """SIGTERM comes to rank 1 alone, in its third iteration."""

    class Signalling(toys.PointEnv):
        def step(self, actions):
            if self.count == 20 and not distributed.is_main():
                os.kill(os.getpid(), signal.SIGTERM)
            return super().step(actions)

    run = runner(folder / "interrupted", 100, env=Signalling(4))
    result = run.run()
    return {"samples": result.samples, "interrupted": result.interrupted}


def agreements():
    """Decisions, and an error of rank 0."""
    failed = ""
    try:
        distributed.from_main(lambda: 1 // 0)
    except ZeroDivisionError as error:
        failed = str(error)
    own = {"both": float(distributed.rank()), f"of {distributed.rank()}": 7.0}
    return {
        "any": distributed.any_rank(distributed.rank() == 1),
        "none": distributed.any_rank(False),
        "from_main": distributed.from_main(lambda: f"said by {distributed.rank()}"),
        "failed": failed,
        "averaged": distributed.averaged(own),
        "seed": distributed.rank_seed(10),
    }


def learning(folder):
    """Mean return of the episodes of the last ten of forty iterations, for each of eight seeds."""
    returns = []
    for seed in range(8):
        place = folder / f"{distributed.world_size()}-{seed}"
        runner(place, 40, seed=seed).run()
        if distributed.is_main():
            rows = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
            returns.append(sum(row["episode/return"] for row in rows[-10:]) / 10.0)
    if distributed.is_main():
        (folder / f"returns-{distributed.world_size()}.json").write_text(json.dumps(returns))


def one_goes_on(folder):
    """One process resumes what two have done six iterations of."""
    shutil.copytree(folder / "parts", folder / "one_goes_on")
    run = runner(folder / "one_goes_on", 8, discriminator=True)
    run.resume()
    begun = state(run) | {"iteration": run.iteration, "replay": len(run.discriminator.replay)}
    return begun | {"samples": run.run().samples}


def alone(folder):
    torch.save({"normalizer": normalizer(), "regression": regression(), "update": update()}, folder / "alone.pt")


def together(folder):
    results = {"normalizer": normalizer(), "regression": regression(), "update": update()}
    results |= {"agreements": agreements(), "training": training(folder), "style": style(folder)}
    results |= {"distillation": distillation(folder), "resumed": resumed(folder)}
    results |= {"interrupted": interrupted(folder)}
    torch.save(results, folder / f"rank{distributed.rank()}.pt")


def joined(function, folder):
    with distributed.joined():
        function(folder)


def forked(function, **variables):
    """Starts a process that does this and ends; returns its number."""
    if child := os.fork():
        return child
    os.environ |= variables
    try:
        function()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(folder, for_two, for_one):
    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.Adam([weight]).step()  # imports for seconds what all need; no threads come of it, so forks are safe
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    start = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [forked(lambda: joined(for_two, folder), **start, RANK=number, LOCAL_RANK=number) for number in "01"]
    wait([*ranks, forked(lambda: for_one(folder))])


def wait(children):
    for child in children:
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(1)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if "learning" in sys.argv:
        main(place, learning, learning)
    else:
        main(place, together, alone)
        wait([forked(lambda: torch.save(one_goes_on(place), place / "one_goes_on.pt"))])
