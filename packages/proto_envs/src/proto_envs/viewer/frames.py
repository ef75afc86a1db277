"""One moment of one environment, as numbers to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from poselib.kinematics import forward_kinematics
from proto_envs.components.control import Markers
from proto_envs.scenes import SceneObject
from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["Frame", "frame_of"]


@dataclass(frozen=True, eq=False)
class Frame:
    """World frame; bodies in the skeleton's order."""

    positions: np.ndarray
    """(B, 3) m"""
    rotations: np.ndarray
    """(B, 4) xyzw"""
    ground_height: float
    """m, under the root"""
    ghost: tuple[np.ndarray, np.ndarray] | None
    """positions and rotations of the reference's bodies"""
    markers: Sequence[Markers]
    """goals, (K, 3) in each field"""
    objects: Sequence[tuple[SceneObject, Tensor, Tensor]]
    """what stands beside the robot, with position (3,) and rotation (4,)"""
    forces: np.ndarray | None
    """(B, 3) N, of the ground on each body, where they are measured"""

    @property
    def root(self) -> np.ndarray:
        """(3,) m."""
        return self.positions[0]


def frame_of(env: ProtoVectorEnv, index: int) -> Frame:
    """What there is to see of an environment now."""
    state, sight = env.simulator.robot(), env.sight(index)
    ghost = None
    if sight.ghost is not None:
        root, local = sight.ghost
        poses = forward_kinematics(env.robot.skeleton, root.cpu(), local.cpu())
        ghost = (poses[0].numpy(), poses[1].numpy())
    root_position = state.body_positions[index, 0]
    return Frame(
        positions=state.body_positions[index].cpu().numpy(),
        rotations=state.body_rotations[index].cpu().numpy(),
        ground_height=float(env.ground.terrain.heights(root_position)),
        ghost=ghost,
        markers=sight.markers,
        objects=sight.objects,
        forces=state.contact_forces[index].cpu().numpy() if env.simulator.capabilities.contact_forces else None,
    )
