"""Pictures of environments of any kind, ours from several cameras, tiled into one."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from proto_agents.cli.environments import INSTALL


class RenderError(RuntimeError):
    """The environment or the machine cannot render."""


class Pictures:
    """Tiled pictures of a few of an environment's robots."""

    def __init__(
        self, env: VectorEnv, which: Sequence[int], cameras: Sequence[str] = ("follow",), size: tuple[int, int] = (0, 0)
    ) -> None:
        """Get ready to draw.

        Args:
            env: where they are; one that is not ours needs render_mode "rgb_array".
            which: environments.
            cameras: names of `proto_envs.recording.CAMERAS`; others than ours have one picture each.
            size: px, width and height of each tile; others than ours draw in their own.

        Raises:
            RenderError: the environment or the machine cannot render, or not from these cameras.
        """
        self._env, self._which, self._cameras = env, list(which), tuple(cameras)
        self._last: list[list[np.ndarray]] = [[] for _ in self._which]
        self._scene: Any = None
        several = len(self._cameras) > 1
        self._columns = len(self._cameras) if several else int(np.ceil(np.sqrt(len(self._which))))
        inner: Any = env.unwrapped
        if not hasattr(inner, "sight"):
            if self._cameras != ("follow",):
                raise RenderError(f"cameras {list(cameras)}: an environment that is not of proto_envs has one picture")
            return
        recording = load_recording()
        try:
            self._scene = recording.SceneRenderer(
                inner.robot, inner.ground.terrain, inner.simulator.scenes, width=size[0], height=size[1]
            )
        except recording.RenderError as error:
            raise RenderError(str(error)) from error

    def take(self, ended: Collection[int] = ()) -> np.ndarray:
        """(height, width, 3) uint8; those that have `ended` stay as they were, in grey.

        Raises:
            RenderError: the environment cannot render.
        """
        rendered = None if self._scene is not None else render(self._env)
        for place, index in enumerate(self._which):
            if index in ended and self._last[place]:
                self._last[place] = [_grey(tile) for tile in self._last[place]]
            else:
                self._last[place] = self._seen(index) if rendered is None else [rendered[index]]
        return tiled([tile for tiles in self._last for tile in tiles], self._columns)

    def _seen(self, index: int) -> list[np.ndarray]:
        """One robot from each camera."""
        inner: Any = self._env.unwrapped
        seen = inner.sight(index)
        shown = (seen.qpos, seen.ghost, seen.markers, seen.objects)
        return [self._scene.frame(*shown, number=index, camera=camera) for camera in self._cameras]

    def close(self) -> None:
        """Free the renderer."""
        if self._scene is not None:
            self._scene.close()


def load_recording() -> Any:  # noqa: ANN401 - the module `proto_envs.recording`
    """What draws and writes videos.

    Raises:
        RenderError: it is not installed.
    """
    try:
        from proto_envs import recording
    except ImportError as error:
        raise RenderError(f"writing a video needs the package proto-envs ({error}); install it: {INSTALL}") from error
    return recording


def render(env: VectorEnv) -> Sequence[np.ndarray]:
    """The pictures that an environment makes of itself.

    Raises:
        RenderError: it makes none.
    """
    try:
        frames: Any = env.render()  # gymnasium's own type allows for text
    except Exception as error:  # a missing display or driver shows up as whatever the renderer raises
        raise RenderError(f"rendering failed: {error}") from error
    if frames is None or len(frames) == 0 or frames[0] is None:
        raise RenderError("the environment rendered nothing")
    return list(frames)


def frame_rate(env: VectorEnv) -> float:
    """Pictures per second of simulated time, one for each control step."""
    return float(getattr(env.unwrapped, "control_hz", None) or env.metadata.get("render_fps") or 30.0)


def _grey(tile: np.ndarray) -> np.ndarray:
    """The same picture without colour; one without colour stays as it is."""
    level = tile.mean(axis=-1, keepdims=True).round().astype(np.uint8)
    return np.broadcast_to(level, tile.shape).copy()


def tiled(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size (H, W, 3) beside and below each other, row by row; places that are left over are white."""
    rows = -(-len(pictures) // columns)
    blank = np.full_like(pictures[0], 255)
    filled = [*pictures, *[blank] * (rows * columns - len(pictures))]
    return np.concatenate([np.concatenate(filled[columns * row : columns * (row + 1)], axis=1) for row in range(rows)])
