"""Tiny deterministic environments in torch: a point on a line that should go to zero; one that is told where to go."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class PointEnv(VectorEnv):
    """position += 0.2 action (+ noise); fails beyond 2 m; times out after 8 to 14 steps.

    `log` keeps every true transition (step, env, observation, reward, next observation, terminated, truncated), so that
    tests can compute what they expect without the code under test.
    """

    clip_names = ("even", "odd")
    control_hz = 10.0

    def __init__(
        self,
        num_envs: int = 4,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        groups: bool = False,
        render_mode: str | None = None,
        nan_at: int | None = None,
        limit: float = 2.0,
        **unused: Any,
    ) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": autoreset_mode, "render_modes": ["rgb_array"]}
        self.render_mode = render_mode
        self.groups, self.nan_at, self.limit = groups, nan_at, limit
        box = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.single_observation_space = gymnasium.spaces.Dict({"policy": box, "critic": box}) if groups else box
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generator = torch.Generator().manual_seed(0)
        self.position = torch.zeros(num_envs)
        self.steps = torch.zeros(num_envs, dtype=torch.long)
        self.length = torch.zeros(num_envs, dtype=torch.long)
        self.done = torch.zeros(num_envs, dtype=torch.bool)
        self.count = 0
        self.log: list[tuple] = []

    def _observe(self) -> Any:
        time = self.steps.float() / 10.0
        flat = torch.stack((self.position, time, self.position.square()), dim=-1)
        return {"policy": flat, "critic": flat * 2.0} if self.groups else flat

    def _restart(self, mask: torch.Tensor) -> None:
        fresh = torch.rand(self.num_envs, generator=self.generator) * 2.0 - 1.0
        length = torch.randint(8, 15, (self.num_envs,), generator=self.generator)
        self.position = torch.where(mask, fresh, self.position)
        self.length = torch.where(mask, length, self.length)
        self.steps = torch.where(mask, 0, self.steps)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        if options and "reset_mask" in options:
            mask = torch.as_tensor(options["reset_mask"])
        else:
            mask = torch.ones(self.num_envs, dtype=torch.bool)
            if seed is not None:
                self.generator.manual_seed(seed)
        self._restart(mask)
        self.done = self.done & ~mask
        return self._observe(), {}

    def step(self, actions):
        mode = self.metadata["autoreset_mode"]
        resetting = self.done if mode == AutoresetMode.NEXT_STEP else torch.zeros_like(self.done)
        before = self._observe()
        noise = torch.randn(self.num_envs, generator=self.generator) * 0.05
        moved = self.position + 0.2 * torch.as_tensor(actions)[:, 0].clamp(-1, 1) + noise
        self.position = torch.where(resetting, self.position, moved)
        self.steps = self.steps + (~resetting).long()
        if bool(resetting.any()):
            self._restart(resetting)
        reward = torch.where(resetting, 0.0, 1.0 - self.position.square())
        terminated = (self.position.abs() > self.limit) & ~resetting
        truncated = (self.steps >= self.length) & ~terminated & ~resetting
        after = self._observe()
        if not self.groups:
            for env in range(self.num_envs):
                if not resetting[env]:
                    row = (before[env], reward[env], after[env], terminated[env], truncated[env])
                    self.log.append((self.count, env, *row))
        self.count += 1
        self.done = terminated | truncated
        info: dict[str, Any] = {
            "metrics": {"mpjpe_mm": self.position.abs() * 1000.0, "failed": self.position.abs() > 1.5},
            "clip": torch.arange(self.num_envs) % 2,
        }
        observation = after
        if mode == AutoresetMode.SAME_STEP:
            info |= {"final_obs": after, "_final_obs": self.done}
            self._restart(self.done)
            observation = self._observe()
        if self.nan_at is not None and self.count == self.nan_at:
            observation = observation.clone()
            observation[1, 0] = torch.nan
        return observation, reward, terminated, truncated, info

    def render(self):
        return tuple(np.full((4, 6, 3), self.count % 256, np.uint8) for _ in range(self.num_envs))

    def state_dict(self) -> dict[str, torch.Tensor]:
        tensors = {name: getattr(self, name) for name in ("position", "steps", "length", "done")}
        return tensors | {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for name in ("position", "steps", "length", "done"):
            setattr(self, name, state[name].clone())
        self.generator.set_state(state["generator"])


SLOTS = 3


class MaskedPointEnv(VectorEnv):
    """position += 0.2 action. The expert sees where the point should be; the student only in slots that are shown.

    Each of the slots holds the goal and a number that says which slot it is. Hidden slots hold garbage, so that who
    looks at them is led astray.
    """

    def __init__(self, num_envs: int = 64, shown: float = 0.5, length: int = 10, task: bool = False) -> None:
        self.num_envs, self.shown, self.length, self.task = num_envs, shown, length, task
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        sizes = {"policy": 2, "self": 1, "sparse_poses": 2 * SLOTS, "sparse_poses_mask": SLOTS, "expert": 2}
        if task:
            sizes = {**sizes, "goal": 1}
            del sizes["expert"]
        boxes = {name: gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in sizes.items()}
        self.single_observation_space = gymnasium.spaces.Dict(boxes)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generator = torch.Generator().manual_seed(0)
        self.position, self.goal = torch.zeros(num_envs), torch.zeros(num_envs)
        self.steps = torch.zeros(num_envs, dtype=torch.long)
        self.mask = torch.zeros(num_envs, SLOTS)

    def _draw(self, *shape: int) -> torch.Tensor:
        return 2.0 * torch.rand(*shape, generator=self.generator) - 1.0

    def _observe(self) -> dict[str, torch.Tensor]:
        own, goal, slots = self.position.unsqueeze(-1), self.goal.unsqueeze(-1), torch.arange(SLOTS).float()
        values = torch.where(self.mask > 0, goal.expand(-1, SLOTS), 50.0 * self._draw(self.num_envs, SLOTS))
        sparse = torch.stack([values, slots.expand(self.num_envs, -1)], dim=-1).flatten(1)
        seen = {
            "policy": torch.cat([own, goal], dim=-1),
            "self": own,
            "sparse_poses": sparse,
            "sparse_poses_mask": self.mask,
        }
        return seen | ({"goal": goal} if self.task else {"expert": torch.cat([own, goal], dim=-1)})

    def _restart(self, ended: torch.Tensor) -> None:
        n = self.num_envs
        self.position = torch.where(ended, self._draw(n), self.position)
        self.goal = torch.where(ended, self._draw(n), self.goal)
        mask = (torch.rand(n, SLOTS, generator=self.generator) < self.shown).float()
        self.mask = torch.where(ended.unsqueeze(-1), mask, self.mask)
        self.steps = torch.where(ended, torch.randint(0, self.length // 2, (n,), generator=self.generator), self.steps)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        if seed is not None:
            self.generator.manual_seed(seed)
        mask = (options or {}).get("reset_mask")
        self._restart(torch.ones(self.num_envs, dtype=torch.bool) if mask is None else torch.as_tensor(mask))
        return self._observe(), {}

    def step(self, actions: Any):
        self.position = self.position + 0.2 * torch.as_tensor(actions)[:, 0].clamp(-1, 1)
        self.steps = self.steps + 1
        error = (self.position - self.goal).abs()
        truncated = self.steps >= self.length
        final = self._observe()
        self._restart(truncated)
        info = {"metrics": {"error": error}, "final_obs": final, "_final_obs": truncated}
        return self._observe(), 1.0 - error, torch.zeros_like(truncated), truncated, info


def masked_point_teacher(observations: dict[str, torch.Tensor]) -> torch.Tensor:
    """Goes to the goal as fast as it may."""
    position, goal = observations["expert"].unbind(-1)
    return (5.0 * (goal - position)).clamp(-1.0, 1.0).unsqueeze(-1)


gymnasium.register("PointTest-v0", vector_entry_point=PointEnv)


@pytest.fixture
def point_env():
    """The class, for tests that want several or other arguments."""
    return PointEnv


@pytest.fixture
def masked_point():
    """The class, and who knows where its points should go."""
    return MaskedPointEnv, masked_point_teacher


@pytest.fixture(autouse=True)
def one_thread():
    """Two pytest workers share the machine."""
    torch.set_num_threads(1)
