"""What robots did, as clips that motionlib reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from motionlib import Motion
from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["MotionRecorder"]


class MotionRecorder:
    """Keeps the poses of some robots, step by step."""

    def __init__(self, env: ProtoVectorEnv, which: Sequence[int], fps: float | None = None) -> None:
        """Begin without any pose.

        Args:
            env: where the robots are.
            which: environments.
            fps: of the clips; the environment's control rate if left out.
        """
        self._env, self._which = env, torch.tensor(list(which), device=env.device)
        self._fps = 1.0 / env.simulator.dt if fps is None else fps
        self._roots: list[Tensor] = []
        self._poses: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._roots)

    def add(self) -> None:
        """Take the present poses."""
        state, skeleton = self._env.simulator.robot(self._which), self._env.robot.skeleton
        joints = skeleton.local_rotations_from_dofs(state.dof_positions, state.body_rotations[:, 0])
        self._roots.append(state.body_positions[:, 0].cpu())
        self._poses.append(joints.cpu())

    def motion(self, row: int, name: str, frames: int | None = None) -> Motion:
        """The clip of one robot.

        Args:
            row: its place among `which`.
            name: of the clip.
            frames: how many, from the first; all if left out.

        Raises:
            MotionError: for fewer than two frames, or poses that are not finite.
        """
        skeleton = self._env.robot.skeleton
        return Motion(
            name=name,
            fps=self._fps,
            body_names=skeleton.body_names,
            parents=skeleton.parents,
            offsets=skeleton.offsets,
            root_positions=torch.stack([roots[row] for roots in self._roots[:frames]]),
            local_rotations=torch.stack([poses[row] for poses in self._poses[:frames]]),
            source=f"recorded from {type(self._env.task).__name__} on {self._env.robot.name}",
        )
