"""How a robot has moved of late, for a discriminator that tells its motion from that of clips (AMP, ASE).

The same function of states makes the observation of a robot and the sample of a clip, so that nothing but the motion
tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from motionlib import MotionLib
from poselib.kinematics import forward_kinematics, local_rotations_from_world
from poselib.rotations import heading_quat, quat_apply_inverse, quat_difference, rotation_6d_from_quat
from poselib.skeleton import Skeleton
from proto_envs.components.control import Control
from proto_envs.components.start import StartStates
from proto_envs.context import Context, given
from proto_envs.robots import Robot

__all__ = ["StyleHistory", "style_features", "style_history"]


def style_features(
    skeleton: Skeleton,
    root: tuple[Tensor, Tensor, Tensor, Tensor],
    height: Tensor,
    local_rotations: Tensor,
    dof_velocities: Tensor,
    key_positions: Tensor,
) -> Tensor:
    """One moment as a discriminator sees it, (..., 13 + 6 J + D + 3 K) for J joints, D dofs and K key bodies.

    Root height 1, root orientation 6, root velocity 3 and angular velocity 3, orientation of each joint 6, joint
    velocities D, key bodies against the root 3 each; vectors and the root's orientation in the heading frame of that
    moment (AMP, Peng et al. 2021; layout of ProtoMotions 1).

    Args:
        skeleton: of the robot.
        root: position (..., 3), orientation (..., 4), velocity (..., 3) and angular velocity (..., 3) in the world.
        height: (...) m, of the root above the ground.
        local_rotations: (..., B, 4).
        dof_velocities: (..., D) rad/s.
        key_positions: (..., K, 3) m, world.
    """
    position, orientation, velocity, angular_velocity = root
    heading = heading_quat(orientation)
    vectors = torch.cat(
        [
            torch.stack([velocity, angular_velocity], dim=-2),
            key_positions - position.unsqueeze(-2),
        ],
        dim=-2,
    )
    vectors = quat_apply_inverse(heading.unsqueeze(-2), vectors)
    moving = [body for body, joint in enumerate(skeleton.joints) if body and joint.names]
    return torch.cat(
        [
            height.unsqueeze(-1),
            rotation_6d_from_quat(quat_difference(heading, orientation)),
            vectors[..., :2, :].flatten(-2),
            rotation_6d_from_quat(local_rotations[..., moving, :]).flatten(-2),
            dof_velocities,
            vectors[..., 2:, :].flatten(-2),
        ],
        dim=-1,
    )


def style_history(ctx: Context) -> Tensor:
    """What `StyleHistory` remembers, the newest moment first, (N, K F)."""
    return given(ctx.style_frames)().flatten(1)


class StyleHistory(Control):
    """Remembers the style features of each robot at some control steps back.

    An episode that begins at a moment of a clip has that clip's past; any other has stood still before.
    """

    serves = "style"

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        dt: float,
        motions: MotionLib,
        start: StartStates,
        *,
        steps: Sequence[int] = tuple(range(10)),
    ) -> None:
        """Begin with an empty past.

        Args:
            robot: whose.
            num_envs: N.
            dt: s per control step.
            motions: clips to draw samples from.
            start: where the episodes begin.
            steps: control steps back that are shown, growing from 0; the ten latest as in AMP if left out.

        Raises:
            ValueError: if the steps do not grow from 0.
        """
        if list(steps) != sorted(set(steps)) or not steps or steps[0] != 0:
            raise ValueError(f"style steps must grow from 0, such as (0, 1, 2); got {tuple(steps)}")
        device = motions.device
        self.motions, self.start, self.dt = motions, start, dt
        self._skeleton = robot.skeleton
        self._keys = robot.skeleton.body_indices(robot.key_bodies)
        self._steps = torch.tensor(list(steps), device=device)
        self._length = steps[-1] + 1
        size = self.sample(1, torch.Generator(device=device).manual_seed(0)).shape[-1] // len(steps)
        self._frames = torch.zeros(num_envs, self._length, size, device=device)
        """a ring: the newest moment stands at `_head`, the one before at `_head` + 1, ..."""
        self._head = 0

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Remember the past of new episodes: that of the clip, or rest."""
        del generator
        now = self._features_of(context).unsqueeze(1)
        past = now.expand(-1, self._length, -1)
        if self._length > 1:
            before = torch.arange(1, self._length, device=ids.device)
            played = self._frames_at(self.start.clips[ids], self.start.times[ids], before)
            from_clip = self.start.from_clip[ids].view(-1, 1, 1)
            past = torch.where(from_clip, torch.cat([now, played], dim=1), past)
        self._frames[ids] = past.roll(self._head, dims=1)

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Remember this moment, forget the oldest."""
        del generator
        self._head = (self._head - 1) % self._length
        self._frames[:, self._head] = self._features_of(context)

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """The remembered moments, gathered only where they are asked for."""

        def frames() -> Tensor:
            columns = (self._steps + self._head) % self._length
            rows = self._frames if ids is None else self._frames[ids]
            return rows.index_select(1, columns)

        return {"style_frames": frames}

    def sample(self, count: int, generator: torch.Generator, clips: Tensor | None = None) -> Tensor:
        """Draw (count, K F) from the clips: what `style_history` shows of a robot that moves like them.

        Clips are drawn by weight, unless `clips` (count,) says of which each is to be. The newest moment is uniform
        over the clip, where the clip ends over those that have enough of it before them.
        """
        clips = self.motions.sample_motions(count, generator) if clips is None else clips
        span = (self._length - 1) * self.dt
        earliest = torch.where(self.motions.loops[clips], 0.0, span)
        draw = torch.rand(count, generator=generator, device=clips.device)
        times = earliest + draw * (self.motions.durations[clips] - earliest).clamp_min(0.0)
        return self._frames_at(clips, times, self._steps).flatten(1)

    def _features_of(self, context: Context) -> Tensor:
        state = context.state
        root = (
            state.body_positions[:, 0],
            state.body_rotations[:, 0],
            state.body_velocities[:, 0],
            state.body_angular_velocities[:, 0],
        )
        local_rotations = local_rotations_from_world(self._skeleton, state.body_rotations)
        keys = state.body_positions[:, self._keys]
        height = root[0][:, 2] - context.ground_height
        return style_features(self._skeleton, root, height, local_rotations, state.dof_velocities, keys)

    def _frames_at(self, clips: Tensor, times: Tensor, steps: Tensor) -> Tensor:
        """Features of clips `steps` (K,) control steps before `times`, (n, K, F)."""
        moments = (times.unsqueeze(1) - steps * self.dt).flatten()
        state = self.motions.get_motion_state(clips.repeat_interleave(len(steps)), moments)
        root_position = state.body_positions[:, 0]
        # A robot's joints can do no more than their coordinates say, and its bodies are where they put them.
        local = self._skeleton.local_rotations_from_dofs(state.dof_positions, state.local_rotations[:, 0])
        positions, _ = forward_kinematics(self._skeleton, root_position, local)
        root = (root_position, local[:, 0], state.body_velocities[:, 0], state.body_angular_velocities[:, 0])
        features = style_features(
            self._skeleton, root, root_position[:, 2], local, state.dof_velocities, positions[:, self._keys]
        )
        return features.unflatten(0, (len(clips), len(steps)))

    def state_dict(self) -> dict[str, Tensor]:
        """The remembered moments, the newest first."""
        return {"frames": self._frames.roll(-self._head, dims=1)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        self._frames.copy_(state["frames"])
        self._head = 0
