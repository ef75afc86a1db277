"""A policy with all that surrounds it in its environment, as one function of raw state.

Observations and the meaning of actions are those of the environment, by the very same functions: there is no second
version of them that could differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from motionlib import BodyState
from proto_envs.components.actions import ActionMap, reference_offsets
from proto_envs.components.control import MotionReference
from proto_envs.components.terms import observe
from proto_envs.context import Context, RobotState
from proto_envs.goals import Goal
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["DeploymentError", "PolicyGraph"]


class DeploymentError(ValueError):
    """A policy that cannot be had outside of its environment."""


class PolicyGraph(nn.Module):
    """(state, reference or goal) to (action, joint targets, set-points of MuJoCo's actuators), all with one row.

    Inputs are, by name:

    - `qpos` (1, nq) and `qvel` (1, nv), as MuJoCo lays them out: root position m and orientation (wxyz) in the world,
      joint angles rad and the quaternions of ball joints; root velocity in the world m/s, its angular velocity in its
      own frame, joint velocities rad/s.
    - `previous_targets` (1, D) rad: the targets that came out the last time; at first where the joints are.
    - `motion.*` and `upcoming.*`: the reference now (1, B, ...) and at moments to come (1, K, B, ...), in the world.
    - `next.local_rotations` (1, B, 4) and `next.dof_velocities` (1, D): the reference a control step ahead, which
      actions are offsets from.
    - `steering.*`, `path.*`, `reach.*`, `jump.*`: a task's goal, as in `proto_envs.goals`.

    Those that nothing depends on are left out when the graph is written.
    """

    def __init__(self, env: ProtoVectorEnv, policy: Callable[[Tensor], Tensor]) -> None:
        """Take an environment apart.

        Args:
            env: with one robot, in MuJoCo on the CPU, that was reset.
            policy: observations (1, F) to actions (1, D), which are clamped to [-1, 1] as a step does; a module, where
                it has weights.

        Raises:
            DeploymentError: the environment has parts that are no function of the inputs above.
        """
        super().__init__()
        if not isinstance(env.simulator, MujocoSimulator) or env.num_envs != 1:
            raise DeploymentError("want an environment of backend 'mujoco' with num_envs=1")
        if not env.ground.terrain.is_flat:
            raise DeploymentError("what a robot sees of uneven ground cannot be exported yet: want flat terrain")
        self.env = env
        self.policy = policy
        self.residual = getattr(env.task, "action", "absolute") == "residual"
        self._coordinates = Coordinates(env.robot, env.simulator.model, env.device)
        self._structure = {name: type(part) for name, part in _parts(env.context()).items()}
        examples = self.inputs()
        self.names = tuple(examples)
        try:
            with torch.no_grad():
                self(*examples.values())
        except (LookupError, TypeError, AttributeError) as error:  # a part of the context that is not there
            task = type(env.task).__name__
            raise DeploymentError(
                f"task {task}: the policy sees more than state, reference and goal ({error})"
            ) from error

    def inputs(self) -> dict[str, Tensor]:
        """What the inputs are in the environment at this moment."""
        env, simulator = self.env, self.env.simulator
        assert isinstance(simulator, MujocoSimulator)
        qpos, qvel = simulator.generalized_state()
        context = env.context()
        values = {"qpos": qpos.float(), "qvel": qvel.float(), "previous_targets": context.targets}
        for name, part in _parts(context).items():
            values |= {f"{name}.{field.name}": getattr(part, field.name) for field in fields(part)}
        if self.residual:
            rotations, velocities = self._reference().joints_at(simulator.dt)
            values |= {"next.local_rotations": rotations, "next.dof_velocities": velocities}
        return {name: value.clone() for name, value in values.items()}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the inputs in the order of `names`: action (1, D), targets (1, D) rad, set-points (1, D)."""
        values = dict(zip(self.names, inputs, strict=True))
        observation = observe(self.env.components.observations["policy"], self._context(values), {})
        action = self.policy(observation).clamp(-1.0, 1.0)
        targets = self._action_map(values)(action)
        return action, targets, self._coordinates.setpoints(targets, values["qpos"])

    def _context(self, values: Mapping[str, Tensor]) -> Context:
        env, coordinates = self.env, self._coordinates
        qpos, qvel, targets = values["qpos"], values["qvel"], values["previous_targets"]

        def read(name: str) -> Tensor:
            if name == "dof_positions":
                return coordinates.dof_positions(qpos)
            if name == "dof_velocities":
                return coordinates.dof_velocities(qvel)
            raise DeploymentError(f"the policy sees {name}, which only a simulator knows")

        parts = {
            name: kind(**{field.name: values[f"{name}.{field.name}"] for field in fields(kind)})
            for name, kind in self._structure.items()
        }
        return Context(
            robot=env.robot,
            dt=env.simulator.dt,
            state=RobotState(*coordinates.bodies(qpos, qvel), read),
            steps=torch.zeros(1, dtype=torch.long),
            targets=targets,
            previous_targets=targets,
            ground_height=torch.zeros(1),
            terrain=env.ground.terrain,
            **parts,
        )

    def _action_map(self, values: Mapping[str, Tensor]) -> ActionMap:
        task: Any = self.env.task
        if not self.residual:
            return self.env.components.action
        reference: Any = _NextPose(
            self.env.simulator.dt, torch.zeros(1), (values["next.local_rotations"], values["next.dof_velocities"])
        )
        return reference_offsets(self.env.robot, reference, task.residual_scale, task.residual_lead)

    def _reference(self) -> MotionReference:
        control = self.env.components.controls["reference"]
        assert isinstance(control, MotionReference)
        return control


@dataclass(frozen=True)
class _NextPose:
    """Stands for a `MotionReference` of which only the next pose is known."""

    dt: float
    starts: Tensor
    joints: tuple[Tensor, Tensor]

    def joints_at(self, ahead: float) -> tuple[Tensor, Tensor]:
        assert ahead == self.dt
        return self.joints


def _parts(context: Context) -> dict[str, Any]:
    """What controls have filled into a context and is nothing but tensors, by field: references and goals."""
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    return {name: value for name, value in values.items() if isinstance(value, (BodyState, Goal))}
