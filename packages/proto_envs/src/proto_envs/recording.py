"""Pictures without a display: one MuJoCo renderer for every engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

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

__all__ = ["CAMERAS", "Camera", "RenderError", "SceneRenderer", "VideoWriter"]

Camera = Literal["follow", "side", "front", "top"]
"""From where a robot is seen. All go with it; side and front are as it faced when the camera found it."""

CAMERAS: tuple[Camera, ...] = get_args(Camera)


@dataclass(frozen=True)
class _View:
    """Place of a camera around what it looks at."""

    azimuth: float
    """degrees, direction of sight; 0 looks along x"""
    elevation: float
    """degrees, negative looks down"""
    distance: float
    """m"""
    turned: bool = False
    """whether the azimuth is from where the robot faces, not from the world's x"""
    headlight: float = 0.5
    """of the light at the camera; with it and the light from above, ground seen from above would be white"""


_VIEWS: dict[Camera, _View] = {
    "follow": _View(120.0, -12.0, 3.5),
    "side": _View(90.0, -5.0, 3.5, turned=True),
    "front": _View(180.0, -5.0, 3.5, turned=True),
    "top": _View(90.0, -80.0, 4.5, headlight=0.0),
}
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
        self._look_at: dict[tuple[int, Camera], np.ndarray] = {}
        """(3,) m, by robot and camera"""
        self._faced: dict[tuple[int, Camera], float] = {}
        """degrees, where the robot faced when the camera found it"""

    def frame(
        self,
        qpos: np.ndarray,
        ghost: tuple[Tensor, Tensor] | None = None,
        markers: Sequence[Markers] = (),
        objects: Sequence[tuple[SceneObject, Tensor, Tensor]] = (),
        number: int = 0,
        camera: Camera = "follow",
    ) -> np.ndarray:
        """One picture.

        Args:
            qpos: (nq,) of the physics model, as `Simulator.render_state` gives it.
            ghost: root position (3,) and local rotations (B, 4) of the reference.
            markers: goals, (K, 3) in each field.
            objects: what stands beside the robot, with position (3,) and rotation (4,): `SceneBatch.standing`.
            number: of the robot, where several are drawn in turn.
            camera: from where it is seen.

        Returns:
            (height, width, 3) uint8.
        """
        place = torch.from_numpy(qpos[:2]).float()
        self._draw_terrain(place)
        self._picture.pose(qpos, ghost)
        self._aim((number, camera), qpos, 0.9 + float(self._picture.terrain.heights(place)))
        option = mujoco.MjvOption()
        option.geomgroup[3] = ghost is not None
        self._renderer.update_scene(self._picture.data, self._camera, option)
        self._picture.decorate(self._renderer.scene, markers, objects)
        return self._renderer.render().copy()

    def _aim(self, which: tuple[int, Camera], qpos: np.ndarray, height: float) -> None:
        """Point the camera at the robot; height: m, of what it looks at."""
        view, target = _VIEWS[which[1]], np.array([qpos[0], qpos[1], height])
        before = self._look_at.get(which)
        if before is None or np.linalg.norm(target - before) > _ELSEWHERE:
            before = target
            w, x, y, z = qpos[3:7]
            self._faced[which] = math.degrees(math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))
        # Follow softly, so that steps and jumps stay visible.
        self._look_at[which] = self._camera.lookat[:] = 0.9 * before + 0.1 * target
        self._camera.azimuth = view.azimuth + (self._faced[which] if view.turned else 0.0)
        self._camera.elevation, self._camera.distance = view.elevation, view.distance
        self.model.vis.headlight.diffuse[:] = self.model.vis.headlight.specular[:] = view.headlight

    def _draw_terrain(self, place: Tensor) -> None:
        if self._picture.lay_terrain(place):
            # The renderer has no public way to draw changed heights.
            self._renderer._gl_context.make_current()
            mujoco.mjr_uploadHField(self.model, self._renderer._mjr_context, 0)

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()
