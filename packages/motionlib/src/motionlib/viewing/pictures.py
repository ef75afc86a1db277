"""Pictures and videos without a display, drawn by MuJoCo's renderer."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mujoco
import numpy as np
from mujoco.rendering.classic import gl_context

from motionlib.viewing.replay import Actor, Replay

__all__ = [
    "PALETTE",
    "Painter",
    "RenderError",
    "VideoWriter",
    "add_studio",
    "open_renderer",
    "pictures",
    "use_headless_opengl",
    "write_video",
]

_GEOMS = {
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
}
PALETTE = ((0.85, 0.60, 0.35), (0.35, 0.60, 0.85), (0.55, 0.75, 0.45), (0.75, 0.50, 0.75), (0.85, 0.75, 0.35))
"""colours of clips that are not compared"""


class RenderError(RuntimeError):
    """No picture could be made; the message says what to install."""


class Painter:
    """Draws replays on a checkered floor; the camera follows their middle."""

    def __init__(self, *, width: int = 960, height: int = 544, max_shapes: int = 5000) -> None:
        """Open the renderer.

        Raises:
            RenderError: if no OpenGL without a display is available.
        """
        spec = mujoco.MjSpec()
        add_studio(spec, width, height)
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 1), material="checker")
        spec.worldbody.add_light(
            pos=(0, 0, 4), dir=(0, 0, -1), type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, diffuse=(0.5, 0.5, 0.5)
        )
        spec.visual.map.shadowclip = 4.0
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._renderer = open_renderer(self._model, width, height, max_shapes)
        self._camera = mujoco.MjvCamera()
        self._camera.azimuth, self._camera.elevation = 150.0, -12.0
        self._look_at: np.ndarray | None = None

    def frame(self, replay: Replay, index: int) -> np.ndarray:
        """Picture `index` of a replay, (height, width, 3) uint8."""
        roots = np.stack([actor.roots[index] for actor in replay.actors])
        target = np.array([*roots[:, :2].mean(axis=0), 0.85])
        self._look_at = target if self._look_at is None else 0.9 * self._look_at + 0.1 * target
        self._camera.lookat[:] = self._look_at
        reach = float(np.abs(roots[:, :2] - target[:2]).max())
        self._camera.distance = 3.2 + 1.6 * reach
        self._model.light_pos[0, :2] = target[:2]  # shadows are only drawn near their light
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera)
        for number, actor in enumerate(replay.actors):
            self._add(actor, index, PALETTE[number % len(PALETTE)])
        return self._renderer.render().copy()

    def _add(self, actor: Actor, index: int, plain: tuple[float, float, float]) -> None:
        scene, colors = self._renderer.scene, actor.colors(index, plain)
        matrix = np.zeros(9)
        for number, shape in enumerate(actor.shapes):
            if scene.ngeom >= scene.maxgeom:
                raise RenderError(f"a picture holds at most {scene.maxgeom} solids: show fewer clips at once")
            x, y, z, w = actor.rotations[index, number].astype(float)
            mujoco.mju_quat2Mat(matrix, np.array([w, x, y, z]))
            position, color = actor.positions[index, number].astype(float), np.array([*colors[number], 1.0], np.float32)
            geom, size = scene.geoms[scene.ngeom], np.array(shape.size)
            mujoco.mjv_initGeom(geom, int(_GEOMS[shape.kind]), size, position, matrix, color)
            scene.ngeom += 1

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()


def write_video(replay: Replay, path: str | Path, *, width: int = 960, height: int = 544) -> None:
    """Film a replay as an H.264 mp4.

    Raises:
        RenderError: if there is no OpenGL or no video writer, or `path` is no .mp4 in a folder that exists.
    """
    with VideoWriter(path, replay.fps) as video:
        for picture in pictures(replay, width=width, height=height):
            video.write(picture)


def pictures(replay: Replay, *, width: int, height: int) -> Iterator[np.ndarray]:
    """All frames of a replay, one after the other."""
    painter = Painter(width=width, height=height)
    try:
        for index in range(replay.num_frames):
            yield painter.frame(replay, index)
    finally:
        painter.close()


def open_renderer(model: mujoco.MjModel, width: int, height: int, max_shapes: int = 10000) -> mujoco.Renderer:
    """MuJoCo's renderer, without a display where there is none.

    Raises:
        RenderError: saying what to install.
    """
    _load_triton()
    try:
        use_headless_opengl()
        return mujoco.Renderer(model, height=height, width=width, max_geom=max_shapes)
    except Exception as error:  # OpenGL loaders raise whatever their bindings raise
        raise RenderError(
            f"cannot render without a display ({error}): install EGL (Debian: apt-get install libegl1"
            " libgl1-mesa-dri) or OSMesa (apt-get install libosmesa6) and set MUJOCO_GL=osmesa"
        ) from error


def _load_triton() -> None:
    """Load triton before OpenGL, where it is installed.

    Triton, which torch imports with its first optimizer, and Mesa's software OpenGL each bring an LLVM of their own.
    The process dies of a segmentation fault when triton's comes second.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")


def add_studio(spec: mujoco.MjSpec, width: int, height: int) -> None:
    """Give a scene its sky, a material "checker" for its floor, soft light, and room for pictures of this size."""
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
    # Software OpenGL draws small shadow maps twice as fast as the default ones.
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 1024, 2


def use_headless_opengl() -> None:
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


class VideoWriter:
    """Writes an H.264 mp4 frame by frame; the file appears under its name only when it is complete.

    An error inside the with-block leaves nothing behind.

    Use as a context manager. Needs the extra `proto-motionlib[render]`.
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
            raise RenderError(f"writing video needs {' and '.join(missing)}: pip install 'proto-motionlib[render]'")
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
