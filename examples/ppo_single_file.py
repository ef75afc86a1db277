"""PPO in one file on a Proto environment: nothing but gymnasium and torch.

    python examples/ppo_single_file.py --iterations 200

The loop is the usual one of single-file implementations. What a vector environment of tensors makes shorter: no
conversions, and episodes that end in time are bootstrapped from their true last observation, `info["final_obs"]`.
"""

import argparse
import time

import gymnasium
import torch
from torch import Tensor, nn

import proto_envs  # noqa: F401  registers the ids

GAMMA, LAMBDA, CLIP = 0.97, 0.95, 0.2


class Agent(nn.Module):
    """Gaussian policy of constant width and a value function, on normalised observations."""

    def __init__(self, size: int, actions: int, width: int = 256, std: float = 0.07) -> None:
        """Make networks for observations of `size` numbers."""
        super().__init__()
        self.actor = nn.Sequential(*hidden(size, width), nn.Linear(width, actions))
        self.critic = nn.Sequential(*hidden(size, width), nn.Linear(width, 1))
        self.std = std
        nn.init.normal_(self.actor[-1].weight, std=0.001)
        nn.init.zeros_(self.actor[-1].bias)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.tensor(1e-4))

    def watch(self, observations: Tensor) -> None:
        """Take observations (B, F) into the running mean and variance."""
        mean, variance, count = observations.mean(0), observations.var(0, correction=0), len(observations)
        total, away = self.count + count, mean - self.mean
        self.variance = (self.variance * self.count + variance * count + away**2 * self.count * count / total) / total
        self.mean, self.count = self.mean + away * count / total, total

    def normalize(self, observations: Tensor) -> Tensor:
        """Observations in units of their deviation, bounded."""
        return ((observations - self.mean) / (self.variance + 1e-5).sqrt()).clamp(-5, 5)

    def distribution(self, normalized: Tensor) -> torch.distributions.Normal:
        """Of the actions."""
        return torch.distributions.Normal(self.actor(normalized), self.std)

    def value(self, normalized: Tensor) -> Tensor:
        """Discounted reward to come, (B,)."""
        return self.critic(normalized).squeeze(-1)


def hidden(size: int, width: int) -> list[nn.Module]:
    """Two hidden layers."""
    return [nn.Linear(size, width), nn.ELU(), nn.Linear(width, width), nn.ELU()]


def advantages(rewards: Tensor, values: Tensor, after: Tensor, ended: Tensor) -> Tensor:
    """Generalised advantage estimation, all (T, N); `after` is the value of what a step led to, 0 after a failure."""
    result, running = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        running = rewards[t] + GAMMA * after[t] - values[t] + GAMMA * LAMBDA * running * ~ended[t]
        result[t] = running
    return result


def main() -> float:
    """Train; returns the mean length of the last episodes, in control steps."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--env", default="ProtoMimic-AMP-v0")
    parser.add_argument("--motions", default="walk")
    parser.add_argument("--num-envs", type=int, default=512)
    parser.add_argument("--horizon", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=180)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    env = gymnasium.make_vec(
        args.env,
        num_envs=args.num_envs,
        motions=args.motions,
        task={"action": "residual", "rewards": "tight", "termination_distance": 0.35},
    )
    agent = Agent(env.single_observation_space.shape[0], env.single_action_space.shape[0]).to(env.device)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate)
    observation, _ = env.reset(seed=args.seed)
    lengths: list[float] = []
    began = time.perf_counter()
    for iteration in range(1, args.iterations + 1):
        steps: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            for _ in range(args.horizon):
                agent.watch(observation)
                seen = agent.normalize(observation)
                distribution = agent.distribution(seen)
                action = distribution.sample()
                observation, reward, terminated, truncated, info = env.step(action)
                last = observation
                if "final_obs" in info:
                    last = torch.where(info["_final_obs"].unsqueeze(-1), info["final_obs"], observation)
                    lengths += info["episode"]["l"][info["_episode"]].tolist()
                after = agent.value(agent.normalize(last)) * ~terminated
                log_prob = distribution.log_prob(action).sum(-1)
                steps.append((seen, action, log_prob, agent.value(seen), reward, after, terminated | truncated))
        seen, action, log_prob, value, reward, after, ended = map(torch.stack, zip(*steps, strict=True))
        advantage = advantages(reward, value, after, ended)
        returns = (advantage + value).flatten()
        advantage = ((advantage - advantage.mean()) / (advantage.std() + 1e-8)).flatten()
        seen, action, log_prob = seen.flatten(0, 1), action.flatten(0, 1), log_prob.flatten()
        for _ in range(args.epochs):
            for rows in torch.randperm(len(seen), device=env.device).chunk(args.minibatches):
                ratio = (agent.distribution(seen[rows]).log_prob(action[rows]).sum(-1) - log_prob[rows]).exp()
                gain = torch.minimum(ratio * advantage[rows], ratio.clamp(1 - CLIP, 1 + CLIP) * advantage[rows])
                error = (agent.value(seen[rows]) - returns[rows]).square()
                optimizer.zero_grad()
                (0.5 * error.mean() - gain.mean()).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
                optimizer.step()
        samples = iteration * args.horizon * args.num_envs
        recent = sum(lengths[-500:]) / max(1, len(lengths[-500:]))
        speed = samples / (time.perf_counter() - began)
        print(f"{samples:9d} samples  {speed:6.0f}/s  episodes of {recent:5.1f} steps  reward {reward.mean():.3f}")
    env.close()
    return recent


if __name__ == "__main__":
    main()
