"""Perturbs N environments as a `Randomization` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from proto_envs.components.terms import Kernel
from proto_envs.context import Context, ObjectState
from proto_envs.randomization.channels import Senses, TargetChannel
from proto_envs.randomization.config import Randomization
from proto_envs.randomization.parameters import Parameters
from proto_envs.randomization.projectiles import Thrower
from proto_envs.randomization.pushes import Pusher
from proto_envs.robots import Robot
from proto_envs.scenes import SceneBatch
from proto_envs.simulators import Simulator

__all__ = ["Randomizer"]

_STREAM = 0x9E3779B9
"""keeps our random numbers apart from those of an environment with the same seed"""


class Randomizer:
    """What an environment asks for around each of its steps and resets.

    It draws from a stream of its own: with the same seed an environment has the same clips, starts and goals, perturbed
    or not. What is off costs nothing, and hands through what it is given.
    """

    def __init__(
        self,
        config: Randomization,
        robot: Robot,
        simulator: Simulator,
        groups: Mapping[str, Sequence[Kernel]],
        observed: Sequence[str],
        moment: Callable[[], Context],
    ) -> None:
        """Make ready what is on.

        Args:
            config: what to perturb.
            robot: whose names it uses.
            simulator: that runs the robots.
            groups: observation kernels by group.
            observed: groups that the environment returns.
            moment: gives a context, from which sizes of observations are read.

        Raises:
            ValueError: for a body, joint, group or kernel that is not there.
            UnsupportedError: for what the engine cannot do.
        """
        n, device = simulator.num_envs, simulator.device
        self.config = config
        self._generator = torch.Generator(device=device)
        self._generator.seed()
        self._all = torch.arange(n, device=device)
        self._parameters = Parameters(config, robot, simulator)
        self._targets = self._senses = self._pusher = self._thrower = None
        if config.action_noise is not None or config.action_delay is not None:
            dofs = robot.skeleton.num_dofs
            self._targets = TargetChannel(config.action_noise, config.action_delay, n, dofs, device)
        if config.observation_noise or config.observation_delay is not None:
            self._senses = Senses(config.observation_noise, config.observation_delay, groups, observed, moment())
        if config.pushes is not None:
            self._pusher = Pusher(config.pushes, robot, simulator)
        if config.projectiles is not None:
            self._thrower = Thrower(config.projectiles, simulator)
        self._draw(self._all, everything=True)

    @property
    def values(self) -> dict[str, Tensor]:
        """(N, ...) what the environments have now: physical parameters as `Simulator.set_params` names them, and
        "action_delay" and "observation_delay" in control steps.
        """  # noqa: D205
        delays = {"action_delay": self._targets, "observation_delay": self._senses}
        steps = {name: channel.steps for name, channel in delays.items() if channel and getattr(self.config, name)}
        return {name: value.clone() for name, value in {**self._parameters.values, **steps}.items()}

    def thrown(self) -> list[tuple[SceneBatch, ObjectState]]:
        """What flies around the robots, for pictures."""
        return [] if self._thrower is None else [self._thrower.state()]

    def disturb(self, ids: Tensor) -> str:
        """Throw a box in environments `ids` (n,) with the next step, or else push; "" where both are off."""
        if self._thrower is not None:
            self._thrower.throw(ids)
            return "throw"
        if self._pusher is not None:
            self._pusher.push(ids)
            return "push"
        return ""

    # --- episodes ----------------------------------------------------------------------------------------------------

    def seed(self, seed: int) -> None:
        """Begin the stream anew, and draw again what is drawn once."""
        self._generator.manual_seed(seed ^ _STREAM)
        self._draw(self._all, everything=True)

    def reset(self, ids: Tensor) -> None:
        """Begin new episodes in environments `ids` (n,), before the robots are put into their start state."""
        self._draw(ids, everything=False)
        for part in (self._pusher, self._thrower):
            if part is not None:
                part.reset(ids, self._generator)

    def begin(self, ids: Tensor, targets: Tensor) -> None:
        """Go on once they are there, their drives at `targets` (n, D)."""
        if self._targets is not None:
            self._targets.fill(ids, targets)

    def _draw(self, ids: Tensor, *, everything: bool) -> None:
        for part in (self._parameters, self._targets, self._senses):
            if part is not None:
                part.draw(ids, self._generator, everything=everything)

    # --- steps -------------------------------------------------------------------------------------------------------

    def act(self, targets: Tensor) -> Tensor:
        """Push, throw, and say what reaches the drives in this step when `targets` (N, D) rad are commanded."""
        for part in (self._pusher, self._thrower):
            if part is not None:
                part.act(self._generator)
        return targets if self._targets is None else self._targets.send(targets, self._generator)

    def perceive(self, observation: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the policy gets for a step's observation, (N, F) by group."""
        return observation if self._senses is None else self._senses.perceive(observation, self._generator)

    def perceive_start(self, ids: Tensor, observation: dict[str, Tensor]) -> dict[str, Tensor]:
        """What it gets for the first observation of new episodes in `ids`, (n, F) by group."""
        return observation if self._senses is None else self._senses.begin(ids, observation, self._generator)

    def perceive_reset(self, ids: Tensor, observation: dict[str, Tensor]) -> dict[str, Tensor]:
        """What it gets of all environments when those in `ids` have just begun; (N, F) by group.

        The others are seen as they were seen last.
        """
        if self._senses is None:
            return observation
        self._senses.begin(ids, {name: part[ids] for name, part in observation.items()}, self._generator)
        return self._senses.read()

    # --- exact resume ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the physical parameters, which the engine saves; empty where nothing is perturbed."""
        parts = {"targets": self._targets, "senses": self._senses, "pushes": self._pusher, "throws": self._thrower}
        state = {f"{name}.{k}": v for name, part in parts.items() if part for k, v in part.state_dict().items()}
        if state or self._parameters.values:
            state["generator"] = self._generator.get_state()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        for name, live in self.state_dict().items():
            if name == "generator":
                self._generator.set_state(state[name])
            else:
                live.copy_(state[name])
