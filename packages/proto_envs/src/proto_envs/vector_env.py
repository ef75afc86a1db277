"""The vector environment: a robot, a task and an engine behind gymnasium's `VectorEnv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from motionlib import MotionLib
from proto_envs.attributes import SharedAttributes
from proto_envs.border import Border, Chosen, blanked, looking_is_free
from proto_envs.components.motion_metrics import with_detailed_metrics
from proto_envs.components.terms import Kernel, any_failure, measure, observe, token_indices, total_reward
from proto_envs.context import Context, RobotState
from proto_envs.picture_model import Sight, sights
from proto_envs.randomization.config import Randomization
from proto_envs.randomization.randomizer import Randomizer
from proto_envs.recording import SceneRenderer
from proto_envs.robots import Robot
from proto_envs.saving import LiveTensors, Part, collect, restore
from proto_envs.simulators import Simulator
from proto_envs.symmetry import mirror_image
from proto_envs.tasks.base import Setup, Task
from proto_envs.tasks.foundation import Foundation, with_foundation_senses
from proto_envs.terrain.ground import Ground

__all__ = ["ProtoVectorEnv"]

Observation = Any
"""(N, F) tensor or array, or a dict of them by group"""


class ProtoVectorEnv(SharedAttributes):
    """N robots that do one task, stepped together.

    A step is: actions to joint targets, physics, time of the controls, rewards and ends from the new state, the
    controls' look at it, observations, autoreset; `randomization` comes between commands and physics, and between
    observations and the policy. Tensors that are handed out are never written again.
    """

    def __init__(
        self,
        robot: Robot,
        task: Task,
        simulator: Simulator,
        motions: MotionLib | None,
        *,
        observation: Literal["flat", "groups"] = "flat",
        output: Literal["torch", "numpy"] = "torch",
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        uneven: bool = False,
        randomization: Randomization | None = None,
        foundation: Foundation | None = None,
        detailed_metrics: bool = False,
    ) -> None:
        """Put the parts together; `proto_envs.factory.make_vector_env` makes them from names."""
        self.robot = robot
        self.task = task
        self.simulator = simulator
        self.num_envs = simulator.num_envs
        self.device = simulator.device
        self.render_mode = render_mode
        self.rendered: Sequence[int] = range(simulator.num_envs)  # what `render` draws: many are slow, a few may do
        self.autoreset_mode = autoreset_mode
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": round(1.0 / simulator.dt),
            "autoreset_mode": autoreset_mode,
        }
        self.max_episode_length = round(task.episode_seconds / simulator.dt)
        self.ground = Ground(simulator.terrain, robot, self.num_envs, self.device)
        setup = Setup(robot, self.num_envs, simulator.dt, self.device, motions, self.ground, uneven, simulator.scenes)
        components = task.components(setup).showing("policy" if observation == "flat" else "")
        if foundation is not None:
            components = with_foundation_senses(components, setup, task, foundation)
        self.components = with_detailed_metrics(components, setup) if detailed_metrics else components
        self.generator = torch.Generator(device=self.device)
        self.generator.seed()
        self._border = Border(self.num_envs, robot.skeleton.num_dofs, self.device, observation, output)
        self._renderer: SceneRenderer | None = None
        self._started = False
        self._allocate()
        groups = self._define_spaces()
        self.randomization = Randomizer(
            randomization or Randomization(),
            robot,
            simulator,
            self.components.observations,
            groups,
            lambda: self._context(None),
        )

    def _allocate(self) -> None:
        n, dofs = self.num_envs, self.robot.skeleton.num_dofs
        self._targets = torch.zeros(n, dofs, device=self.device)
        self._previous_targets = torch.zeros(n, dofs, device=self.device)
        self._steps = torch.zeros(n, dtype=torch.long, device=self.device)
        self._returns = torch.zeros(n, device=self.device)
        self._done = torch.zeros(n, dtype=torch.bool, device=self.device)
        self._all = torch.arange(n, device=self.device)

    def _define_spaces(self) -> tuple[str, ...]:
        """Set the spaces; returns the groups that are observed."""
        with torch.no_grad():
            groups = self._observe(self._context(None))
        boxes: dict[str, spaces.Space[Any]] = {
            name: spaces.Box(-np.inf, np.inf, (part.shape[1],), np.float32) for name, part in groups.items()
        }
        grouped = self._border.observation == "groups"
        self.single_observation_space = spaces.Dict(boxes) if grouped else boxes["policy"]
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.robot.skeleton.num_dofs,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        return tuple(groups)

    # --- gymnasium ---------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new episodes everywhere, or where `options["reset_mask"]` (N,) is true.

        Args:
            seed: of all randomness from here on.
            options: `{"reset_mask": bool array or tensor (N,)}`; nothing else is known.
        """
        self._require_open()
        # Plain mode even if the caller is in inference mode: our buffers must stay writable outside of it.
        with torch.inference_mode(False), torch.no_grad():
            super().reset(seed=seed)
            self._started = True
            if seed is not None:
                self.generator.manual_seed(seed)
                self.randomization.seed(seed)
                for control in self.components.controls.values():
                    control.forget()
            ids = self._reset_ids(options or {})
            self._reset(ids)
            observation = blanked(self._observe(self._context(None)), self.simulator.unstable())
            observation = self.randomization.perceive_reset(ids, observation)
            return self._border.out(self._border.view(observation)), {}

    def step(self, actions: Any) -> tuple[Observation, Any, Any, Any, dict[str, Any]]:  # noqa: ANN401
        """Advance every environment by one control step.

        Args:
            actions: (N, D) tensor or array; values outside [-1, 1] are clamped.

        Returns:
            Observation, reward (N,) float32, terminated (N,) and truncated (N,) bool, and info: "metrics" with values
            of this step, and where episodes ended "episode" with masks "_episode". In SAME_STEP mode the observation is
            already that of the new episode there; "final_obs" holds the last one of the old.

        Raises:
            ValueError: for a wrong shape or an action that is NaN or infinite.
            ResetNeeded: before the first reset.
            ClosedEnvironmentError: after `close`.
        """
        self._require_open()
        if not self._started:
            raise ResetNeeded("step was called before reset")
        with torch.inference_mode(False), torch.no_grad():
            return self._step(self._border.actions(actions))

    def _step(self, actions: Tensor) -> tuple[Observation, Any, Any, Any, dict[str, Any]]:
        waiting = self._done.clone() if self.autoreset_mode is AutoresetMode.NEXT_STEP else None
        beginning = None if waiting is None else Chosen(waiting)
        self._previous_targets.copy_(self._targets)
        self._targets.copy_(self.components.action(actions.clamp(-1.0, 1.0)))
        self.simulator.step(self.randomization.act(self._targets))
        self._steps += 1
        for control in self.components.controls.values():
            control.step(self.generator)
            if (moved := control.held_objects()) is not None:
                self.simulator.set_objects(None, moved, held_only=True)

        state = self.simulator.robot()
        reward, terminated, truncated, metrics = self._outcome(self._context(None, state))
        unstable = metrics["unstable"].bool()
        if waiting is not None:
            reward, terminated, truncated = (x.masked_fill(waiting, 0) for x in (reward, terminated, truncated))
            metrics = {name: value.masked_fill(waiting, 0) for name, value in metrics.items()}
        self._returns += reward
        self._done = terminated | truncated
        ended = Chosen(self._done)
        info: dict[str, Any] = {"metrics": metrics}
        bare = self._bare_context(None, state)
        for control in self.components.controls.values():
            info |= control.info()
            control.observe(bare, self.generator)
        observation = self._observe(self._context(None, state))
        if not looking_is_free(self.device) or unstable.any():
            observation = blanked(observation, unstable)
        observation = self.randomization.perceive(observation)
        if beginning is not None and len(ids := beginning.ids()):
            observation = self._merge(observation, ids, self._reset(ids))
        # The only time that a step waits for a GPU: how many episodes end decides on sizes of tensors.
        if len(ids := ended.ids()):
            observation = self._end_episodes(observation, info, terminated, ids)
        out = self._border.out
        return out(self._border.view(observation)), out(reward), out(terminated), out(truncated), out(info)

    def _outcome(self, context: Context) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Reward, terminated, truncated and metrics of the step just made."""
        grace = self._steps <= self.task.grace_steps
        reward, raw = total_reward(self.components.rewards, context, grace)
        metrics = {f"reward/{name}": value for name, value in raw.items()}
        metrics |= measure(self.components.metrics, context)
        unstable = self.simulator.unstable() | ~torch.isfinite(reward)
        terminated = (any_failure(self.components.terminations, context) & ~grace) | unstable
        # What was measured on a lost state is no measurement: it counts as 0, so that means stay finite.
        reward = reward.masked_fill(unstable, 0.0)
        metrics = {k: v.masked_fill(unstable, 0.0) if v.is_floating_point() else v for k, v in metrics.items()}
        metrics["unstable"] = unstable.float()
        truncated = self._steps >= self.max_episode_length
        for control in self.components.controls.values():
            if (finished := control.finished()) is not None:
                truncated |= finished
        return reward, terminated, truncated & ~terminated, metrics

    def _end_episodes(
        self, observation: dict[str, Tensor], info: dict[str, Any], failed: Tensor, ids: Tensor
    ) -> dict[str, Tensor]:
        done = self._done
        info["episode"] = {"r": self._returns.clone(), "l": self._steps.clone()}
        info["_episode"] = done.clone()
        for control in self.components.controls.values():
            control.episode_ended(ids, failed[ids])
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            return observation
        info["final_obs"] = self._border.view(observation)
        info["_final_obs"] = done.clone()
        return self._merge(observation, ids, self._reset(ids))

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ANN401
        """Free the engine and the renderer."""
        if self._renderer is not None:
            self._renderer.close()
        self.simulator.close()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """One (480, 640, 3) uint8 frame of each of the environments `rendered`, with the controls' ghost and markers.

        Returns None where `render_mode` is None.
        """
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = SceneRenderer(self.robot, self.ground.terrain, self.simulator.scenes)
        seen = zip(self.rendered, self._sights(self.rendered), strict=True)
        frame = self._renderer.frame
        return tuple(frame(s.qpos, s.ghost, s.markers, s.objects, number=i) for i, s in seen)

    def sight(self, index: int) -> Sight:
        """What there is to see of one environment."""
        return self._sights([index])[0]

    def _sights(self, which: Sequence[int]) -> tuple[Sight, ...]:
        return sights(which, self.simulator, self.components.controls.values(), self.randomization.thrown())

    # --- episodes ----------------------------------------------------------------------------------------------------

    def _reset(self, ids: Tensor) -> RobotState:
        """Begin episodes in `ids`; returns the robots' states there."""
        start = None
        for control in self.components.controls.values():
            start = control.reset(ids, self.generator) or start
        if start is None:
            raise RuntimeError(f"task {type(self.task).__name__}: no control gave a start state")
        start = self.ground.place(ids, start, self.generator)
        self.randomization.reset(ids)
        self.simulator.set_state(ids, start)
        self._targets[ids] = start.dof_positions
        self._previous_targets[ids] = start.dof_positions
        self.randomization.begin(ids, start.dof_positions)
        self._steps[ids] = 0
        self._returns[ids] = 0.0
        state = self.simulator.robot(ids)
        context = self._bare_context(ids, state)
        for control in self.components.controls.values():
            objects = control.begin(ids, context, self.generator)
            if objects is not None:
                self.simulator.set_objects(ids, objects)
                context = replace(context, objects=self.simulator.objects(ids))
        return state

    def _reset_ids(self, options: Mapping[str, Any]) -> Tensor:
        mask = self._border.reset_mask(options)
        if mask is None:
            self._done.zero_()
            return self._all
        self._done &= ~mask
        return mask.nonzero().squeeze(-1)

    def _context(self, ids: Tensor | None, state: RobotState | None = None) -> Context:
        """What components see of all environments, or of `ids`; `state` is read from the engine if left out."""
        fields: dict[str, Any] = {}
        for control in self.components.controls.values():
            fields |= control.context(ids)
        return self._bare_context(ids, self.simulator.robot(ids) if state is None else state, **fields)

    def _bare_context(self, ids: Tensor | None, state: RobotState, **fields: Any) -> Context:  # noqa: ANN401
        """A context with no other fields of controls than those given."""

        def rows(field: Tensor) -> Tensor:
            return field if ids is None else field[ids]

        return Context(
            robot=self.robot,
            dt=self.simulator.dt,
            state=state,
            steps=rows(self._steps),
            targets=rows(self._targets),
            previous_targets=rows(self._previous_targets),
            ground_height=self.ground.terrain.heights(state.body_positions[:, 0]),
            terrain=self.ground.terrain,
            objects=None if self.simulator.scenes is None else self.simulator.objects(ids),
            **fields,
        )

    def _observe(self, context: Context) -> dict[str, Tensor]:
        known: dict[Kernel, Tensor] = {}
        return {name: observe(kernels, context, known) for name, kernels in self.components.observations.items()}

    def _merge(self, observation: dict[str, Tensor], ids: Tensor, state: RobotState) -> dict[str, Tensor]:
        """A copy of `observation` whose rows `ids` show the episodes that have just begun, in `state`."""
        fresh = self.randomization.perceive_start(ids, self._observe(self._context(ids, state)))
        return {name: part.index_copy(0, ids, fresh[name]) for name, part in observation.items()}

    # --- border ------------------------------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("this environment is closed: make a new one")

    def context(self) -> Context:
        """This moment as components see it, to look at: what controls keep in it may change with the next step."""
        with torch.no_grad():
            return self._context(None)

    @property
    def episode_steps(self) -> Tensor:
        """(N,) long, control steps since each episode began. May be set, so that episodes end at different times."""
        return self._steps.clone()

    @episode_steps.setter
    def episode_steps(self, steps: Tensor) -> None:
        self._steps.copy_(steps)

    @property
    def clip_names(self) -> tuple[str, ...]:
        """Names of the clips that `info["clip"]` numbers; empty for a task without motions."""
        return next((c.clip_names for c in self.components.controls.values() if c.clip_names), ())

    @property
    def style_clips(self) -> tuple[str, ...]:
        """Names of the clips that `sample_style` draws from; empty for a task without style."""
        return self.components.style_clips

    def sample_style(self, count: int, generator: torch.Generator | None = None, clips: Tensor | None = None) -> Any:  # noqa: ANN401
        """Draw what the observation group "style" would show, were the robots to move like the clips.

        Args:
            count: how many.
            generator: of the draw; the environment's own if left out, which `state_dict` saves.
            clips: (count,) numbers of `style_clips`, of which each is to be; drawn by weight if left out.

        Returns:
            (count, F), features as in the group.

        Raises:
            RuntimeError: if the task has no such group, or no motions to draw from.
        """
        if self.components.sample_style is None:
            raise RuntimeError(f"task {type(self.task).__name__} has no motions to draw style from: pass motions=...")
        return self._border.out(self.components.sample_style(count, generator or self.generator, clips))

    def expert_action(self, actions: Any) -> Any:  # noqa: ANN401
        """The actions of this environment that command the same joint targets as the expert's would now.

        To be asked before the step that the expert was shown the group "expert" for.

        Args:
            actions: (N, D) of the expert; like those of a step, they count within [-1, 1].

        Returns:
            (N, D). Targets that no action of this environment commands are clamped to its range; an expert's actions
            that mean the same here are returned as they are.

        Raises:
            RuntimeError: if the task has no expert.
            ValueError: for a wrong shape or an action that is NaN or infinite.
        """
        if self.components.expert_action is None:
            raise RuntimeError(f"task {type(self.task).__name__} shows no expert anything: there are no actions of one")
        with torch.inference_mode(False), torch.no_grad():
            return self._border.out(self.components.expert_action(self._border.actions(actions)))

    @property
    def symmetry(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Indices and signs of "action" and of the observations "policy": the mirrored one is signs * vector[indices].

        Raises:
            ValueError: if the robot or the task is not symmetric, or the ground is uneven.
        """
        return mirror_image(self.context(), self.components)

    @property
    def observation_tokens(self) -> dict[str, Tensor]:
        """How the observations "policy" split into tokens, for a transformer: indices (T, n) by kind, "state" first.

        Raises:
            ValueError: if the task does not say so.
        """
        return token_indices(self.components, self.context())

    # --- exact resume ------------------------------------------------------------------------------------------------

    def _parts(self) -> dict[str, Part]:
        """All that has a state."""
        own = {key: getattr(self, f"_{key}") for key in ("targets", "previous_targets", "steps", "returns", "done")}
        return {
            "simulator": self.simulator,
            **{f"control.{name}": control for name, control in self.components.controls.items()},
            "ground": self.ground,
            "randomization": self.randomization,
            "env": LiveTensors(own, self.generator),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the future depends on, as flat named tensors: after loading, steps go on bit for bit."""
        return collect(self._parts())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict` of an environment made with the same arguments.

        Raises:
            ValueError: for an entry that is missing or of another shape, before anything has changed.
        """
        restore(self._parts(), state)
        self._started = True
