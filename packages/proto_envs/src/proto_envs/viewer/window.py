"""A session in MuJoCo's own window, where there is a display."""

from __future__ import annotations

import os
import sys
import threading
import warnings
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
    """Look whether a window can be opened.

    Raises:
        ViewerError: it cannot.
    """
    elsewhere = "leave out --window for the viewer in the browser, or write a video with --video PATH"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ViewerError(f"no display (neither DISPLAY nor WAYLAND_DISPLAY is set) to open a window on: {elsewhere}")
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not glfw.init():  # MuJoCo would wait for its window for ever
            raise ViewerError(f"the display {os.environ.get('DISPLAY', '')!r} cannot be opened: {elsewhere}")


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
        before = set(threading.enumerate())
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
        self._threads = set(threading.enumerate()) - before
        self._flags = self._handle.opt.flags.copy()
        self._shown = False

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
        place = torch.from_numpy(sight.qpos[:2]).float()
        with handle.lock():
            moved = picture.lay_terrain(place)
        if moved:
            handle.update_hfield(0)  # takes the lock itself
        with handle.lock():
            if not self._shown:  # the window has a camera of its own while it opens
                handle.cam.distance, handle.cam.azimuth, handle.cam.elevation = 3.5, 120.0, -12.0
                self._shown = True
            ghost = sight.ghost if session.shows["reference"] else None
            picture.pose(sight.qpos, ghost)
            handle.opt.geomgroup[3] = ghost is not None
            # The window's own shortcuts are some of our keys.
            handle.opt.flags[:] = self._flags
            handle.user_scn.ngeom = 0
            picture.decorate(handle.user_scn, sight.markers if session.shows["goals"] else (), sight.objects)
            if session.camera != "free":
                handle.cam.lookat[:] = *sight.qpos[:2], 0.9 + float(picture.terrain.heights(place))
        while session.notices:
            print(session.notices.popleft())
        handle.sync()

    def close(self) -> None:
        """Close the window."""
        self._handle.close()
        # It draws in a thread of its own, which must not outlive what it draws.
        for thread in self._threads:
            thread.join(timeout=5.0)


def _code(key: str) -> int:
    return _CODES.get(key, ord(key[0].upper()))
