"""Pictures without a display: one MuJoCo renderer for every engine, and a video file written frame by frame."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mujoco
import numpy as np
from mujoco.rendering.classic import gl_context
from torch import Tensor

from poselib.rotations import wxyz_from_xyzw
from proto_envs.robots import Robot
from proto_envs.simulators.base import SimulationSettings
from proto_envs.simulators.mjcf import GROUND, JointLayout, physics_spec

__all__ = ["RenderError", "SceneRenderer", "VideoWriter"]

_GHOST = "reference_"
_BODY_COLOR = (0.85, 0.60, 0.35, 1.0)
_GHOST_COLOR = (0.35, 0.65, 0.95, 0.35)


class RenderError(RuntimeError):
    """No picture could be made; the message says what to install."""


class SceneRenderer:
    """Draws a robot on a checkered floor, with its reference as a translucent ghost, and follows it with the camera."""

    def __init__(self, robot: Robot, *, width: int = 640, height: int = 480) -> None:
        """Compile the picture's model.

        Raises:
            RenderError: if no OpenGL without a display is available.
        """
        self._robot = robot
        self.model = _picture_model(robot, width, height)
        self._data = mujoco.MjData(self.model)
        self._layout = JointLayout.of(robot, self.model)
        self._robot_nq = physics_spec(robot, SimulationSettings()).compile().nq
        try:
            _use_headless_opengl()
            self._renderer = mujoco.Renderer(self.model, height=height, width=width)
        except Exception as error:  # OpenGL loaders raise whatever their bindings raise
            raise RenderError(
                f"cannot render without a display ({error}): install EGL (Debian: apt-get install libegl1"
                " libgl1-mesa-dri) or OSMesa (apt-get install libosmesa6) and set MUJOCO_GL=osmesa"
            ) from error
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.azimuth, self._camera.elevation = 3.5, 120.0, -12.0
        self._look_at: np.ndarray | None = None

    def frame(self, qpos: np.ndarray, ghost: tuple[Tensor, Tensor] | None = None) -> np.ndarray:
        """One picture.

        Args:
            qpos: (nq,) of the physics model, as `Simulator.render_state` gives it.
            ghost: root position (3,) and local rotations (B, 4) of the reference.

        Returns:
            (height, width, 3) uint8.
        """
        data, n = self._data, self._robot_nq
        data.qpos[:n] = qpos
        data.qpos[n:] = qpos if ghost is None else self._ghost_qpos(*ghost)
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_camlight(self.model, data)
        target = np.array([qpos[0], qpos[1], 0.9])
        # Follow softly, so that steps and jumps stay visible.
        self._look_at = target if self._look_at is None else 0.9 * self._look_at + 0.1 * target
        self._camera.lookat[:] = self._look_at
        option = mujoco.MjvOption()
        option.geomgroup[3] = ghost is not None
        self._renderer.update_scene(data, self._camera, option)
        return self._renderer.render().copy()

    def _ghost_qpos(self, root_position: Tensor, local_rotations: Tensor) -> np.ndarray:
        layout, dofs = self._layout, self._robot.skeleton.dofs_from_local_rotations(local_rotations)
        qpos = np.zeros(self._robot_nq)
        qpos[:3] = root_position.cpu().numpy()
        quats = wxyz_from_xyzw(local_rotations).cpu().numpy()
        qpos[3:7] = quats[0]
        qpos[layout.hinge_qpos] = dofs.cpu().numpy()[layout.hinge_dofs]
        qpos[layout.ball_qpos] = quats[layout.ball_bodies]
        return qpos

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()


def _use_headless_opengl() -> None:
    """Without a display, make MuJoCo draw through EGL, or OSMesa where there is no EGL.

    MuJoCo looks at MUJOCO_GL once, when it is first imported; that module is loaded anew with the right value.
    """
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("MUJOCO_GL"):
        return
    for platform in ("egl", "osmesa"):
        os.environ["MUJOCO_GL"] = platform
        try:
            importlib.reload(gl_context)
        except (ImportError, AttributeError, RuntimeError):
            del os.environ["MUJOCO_GL"]
            os.environ.pop("PYOPENGL_PLATFORM", None)
            continue
        return


def _picture_model(robot: Robot, width: int, height: int) -> mujoco.MjModel:
    spec = physics_spec(robot, SimulationSettings())
    ghost = physics_spec(robot, SimulationSettings())
    ghost.delete(ghost.geom(GROUND))
    for geom in ghost.geoms:
        geom.rgba, geom.contype, geom.conaffinity, geom.group = _GHOST_COLOR, 0, 0, 3
    for geom in spec.geoms:
        geom.rgba = _BODY_COLOR
    spec.attach(ghost, prefix=_GHOST, frame=spec.worldbody.add_frame())
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.45,) * 3, (0.5,) * 3
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.75, 0.82, 0.9), rgb2=(0.95, 0.96, 0.98), width=128, height=128,
    )  # fmt: skip
    spec.add_texture(
        name="checker", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=(0.80, 0.82, 0.84), rgb2=(0.68, 0.71, 0.74), width=256, height=256,
    )  # fmt: skip
    material = spec.add_material(name="checker", texrepeat=(1, 1), texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "checker"
    floor = spec.geom(GROUND)
    floor.material, floor.rgba = "checker", (1, 1, 1, 1)
    # The light hangs over the robot, so that its shadow stays inside a small map: software OpenGL draws this twice as
    # fast as the default size.
    light = spec.body(robot.skeleton.body_names[0]).add_light(pos=(0, 0, 4), dir=(0, 0, -1))
    light.mode, light.type = mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.diffuse = (0.5, 0.5, 0.5)
    spec.visual.map.shadowclip = 0.7
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 1024, 2
    return spec.compile()


class VideoWriter:
    """Writes an H.264 mp4 frame by frame; the file appears under its name only when it is complete.

    An error inside the with-block leaves nothing behind.

    Use as a context manager. Needs the extra `proto-envs[render]`.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        """Open a video.

        Args:
            path: ends in .mp4.
            fps: frames per second.

        Raises:
            RenderError: if imageio is missing, the folder is not there, or the name does not end in .mp4.
        """
        if missing := [name for name in ("imageio", "imageio_ffmpeg") if importlib.util.find_spec(name) is None]:
            raise RenderError(f"writing video needs {' and '.join(missing)}: pip install 'proto-envs[render]'")
        import imageio

        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise RenderError(f"no folder {self.path.parent} to write the video {self.path.name} into")
        if self.path.suffix != ".mp4":
            raise RenderError(f"videos are .mp4 files, got {self.path.name}")
        self._partial = self.path.with_name(f".partial-{self.path.name}")
        self._writer: Any = imageio.get_writer(self._partial, fps=fps, codec="libx264", macro_block_size=16)

    def write(self, frame: np.ndarray) -> None:
        """Add a frame (height, width, 3) uint8."""
        self._writer.append_data(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                if not self._partial.exists():
                    raise RenderError(f"no frame was written to {self.path.name}")
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)
