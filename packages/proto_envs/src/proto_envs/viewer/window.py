"""A session in MuJoCo's own window, where there is a display."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

from proto_envs.picture_model import PictureModel
from proto_envs.viewer.actions import actions_of
from proto_envs.viewer.errors import ViewerError
from proto_envs.viewer.session import Session

__all__ = ["WindowViewer"]

_CODES = {"space": 32, "arrowright": 262, "arrowleft": 263, "arrowdown": 264, "arrowup": 265}
"""what GLFW calls keys that have a name; others have their capital letter's number"""


def _require_display() -> None:
    """Raises: ViewerError: there is no display to open a window on."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ViewerError(
            "no display (neither DISPLAY nor WAYLAND_DISPLAY is set) to open a window on: leave out --window for the "
            "viewer in the browser, or write a video with --video PATH"
        )


class WindowViewer:
    """Robot, reference, ground, objects and goals; the same keys as in the browser."""

    def __init__(self, session: Session) -> None:
        """Open the window.

        Raises:
            ViewerError: there is no display.
        """
        _require_display()
        import mujoco.viewer

        self.session, world = session, session.world
        self._picture = PictureModel(world.robot, world.ground.terrain, world.simulator.scenes)
        self._do = {_code(key): action.do for action in actions_of(session) for key in action.keys}
        try:
            self._handle: Any = mujoco.viewer.launch_passive(
                self._picture.model,
                self._picture.data,
                key_callback=self._pressed,
                show_left_ui=False,
                show_right_ui=False,
            )
        except RuntimeError as error:
            raise ViewerError(f"MuJoCo cannot open a window: {error}") from error
        self._flags = self._handle.opt.flags.copy()
        camera = self._handle.cam
        camera.distance, camera.azimuth, camera.elevation = 3.5, 120.0, -12.0

    def _pressed(self, code: int) -> None:
        if (do := self._do.get(code)) is not None:
            self.session.ask(lambda: do(self.session))

    def is_open(self) -> bool:
        """Whether the window is still there."""
        return self._handle.is_running()

    def show(self) -> None:
        """Show the session as it is now."""
        session, handle, picture = self.session, self._handle, self._picture
        sight = session.world.sight(session.index)
        with handle.lock():
            ghost = sight.ghost if session.shows["reference"] else None
            if picture.lay_terrain(torch.from_numpy(sight.qpos[:2]).float()):
                handle.update_hfield(0)
            picture.pose(sight.qpos, ghost)
            handle.opt.geomgroup[3] = ghost is not None
            # The window's own shortcuts are some of our keys.
            handle.opt.flags[:] = self._flags
            handle.user_scn.ngeom = 0
            picture.decorate(handle.user_scn, sight.markers if session.shows["goals"] else (), sight.objects)
            if session.camera != "free":
                handle.cam.lookat[:] = *sight.qpos[:2], 0.9
        while session.notices:
            print(session.notices.popleft())
        handle.sync()

    def close(self) -> None:
        """Close the window."""
        self._handle.close()


def _code(key: str) -> int:
    return _CODES.get(key, ord(key[0].upper()))
