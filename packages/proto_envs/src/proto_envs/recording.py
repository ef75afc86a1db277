"""Pictures without a display: one MuJoCo renderer for every engine."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import torch
from torch import Tensor

from motionlib.viewing import RenderError, VideoWriter
from motionlib.viewing.pictures import open_renderer
from proto_envs.components.control import Markers
from proto_envs.picture_model import PictureModel
from proto_envs.robots import Robot
from proto_envs.scenes import SceneBatch, SceneObject
from proto_envs.terrain import FLAT, Terrain

__all__ = ["RenderError", "SceneRenderer", "VideoWriter"]

_ELSEWHERE = 3.0
"""m, farther than a robot gets between two pictures: another robot, or a new episode"""


class SceneRenderer:
    """Draws a robot on checkered ground, with its reference as a translucent ghost, and follows it with the camera."""

    def __init__(
        self,
        robot: Robot,
        terrain: Terrain = FLAT,
        scenes: SceneBatch | None = None,
        *,
        width: int = 640,
        height: int = 480,
    ) -> None:
        """Compile the picture's model.

        Raises:
            RenderError: if no OpenGL without a display is available.
        """
        self._picture = PictureModel(robot, terrain, scenes, width=width, height=height)
        self.model = self._picture.model
        self._renderer = open_renderer(self.model, width, height)
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.azimuth, self._camera.elevation = 3.5, 120.0, -12.0
        self._look_at: dict[int, np.ndarray] = {}
        """(3,) m, by camera"""

    def frame(
        self,
        qpos: np.ndarray,
        ghost: tuple[Tensor, Tensor] | None = None,
        markers: Sequence[Markers] = (),
        objects: Sequence[tuple[SceneObject, Tensor, Tensor]] = (),
        camera: int = 0,
    ) -> np.ndarray:
        """One picture.

        Args:
            qpos: (nq,) of the physics model, as `Simulator.render_state` gives it.
            ghost: root position (3,) and local rotations (B, 4) of the reference.
            markers: goals, (K, 3) in each field.
            objects: what stands beside the robot, with position (3,) and rotation (4,): `SceneBatch.standing`.
            camera: number of the one that follows this robot, where several robots are drawn in turn.

        Returns:
            (height, width, 3) uint8.
        """
        place = torch.from_numpy(qpos[:2]).float()
        self._draw_terrain(place)
        self._picture.pose(qpos, ghost)
        target = np.array([qpos[0], qpos[1], 0.9 + float(self._picture.terrain.heights(place))])
        before = self._look_at.get(camera, target)
        if np.linalg.norm(target - before) > _ELSEWHERE:
            before = target
        # Follow softly, so that steps and jumps stay visible.
        self._look_at[camera] = self._camera.lookat[:] = 0.9 * before + 0.1 * target
        option = mujoco.MjvOption()
        option.geomgroup[3] = ghost is not None
        self._renderer.update_scene(self._picture.data, self._camera, option)
        self._picture.decorate(self._renderer.scene, markers, objects)
        return self._renderer.render().copy()

    def _draw_terrain(self, place: Tensor) -> None:
        if self._picture.lay_terrain(place):
            # The renderer has no public way to draw changed heights.
            self._renderer._gl_context.make_current()
            mujoco.mjr_uploadHField(self.model, self._renderer._mjr_context, 0)

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()
