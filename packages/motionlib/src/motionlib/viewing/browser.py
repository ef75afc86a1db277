"""Replays in the browser, through viser: play, pause, step, speed, and which clips to see."""

from __future__ import annotations

import importlib.util
import time
from functools import partial
from typing import Any

import numpy as np

from motionlib.motion import MotionError
from motionlib.viewing.pictures import PALETTE
from motionlib.viewing.replay import Actor, Replay
from motionlib.viewing.shapes import Shape
from motionlib.viewing.triangles import triangles

__all__ = ["Viewer"]

_SPEEDS = (0.1, 2.0, 0.05)
"""slowest, fastest, step"""


class Viewer:
    """A web page that plays a replay, over and over. Needs the extra `proto-motionlib[view]`."""

    def __init__(self, replay: Replay, *, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Serve the page; it stands still until `run` or `show`.

        Args:
            replay: what to play.
            host: address to listen at; "0.0.0.0" lets other machines look.
            port: of the page; the next free one is taken where it is in use.

        Raises:
            MotionError: if viser or trimesh is missing.
        """
        if missing := [name for name in ("viser", "trimesh") if importlib.util.find_spec(name) is None]:
            raise MotionError(f"the viewer needs {' and '.join(missing)}: pip install 'proto-motionlib[view]'")
        import viser

        self.replay = replay
        self.server = viser.ViserServer(host=host, port=port, label="motionlib", verbose=False)
        self.index = 0
        self._painted: list[np.ndarray | None] = [None] * len(replay.actors)
        self._build_scene()
        self._build_controls()
        self.show(0)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def _build_scene(self) -> None:
        scene = self.server.scene
        scene.set_up_direction("+z")
        middle = np.concatenate([actor.roots[:, :2] for actor in self.replay.actors]).mean(axis=0)
        scene.add_grid("/floor", width=40.0, height=40.0, position=(*middle, 0.0), cell_size=1.0, plane="xy")
        camera = self.server.initial_camera
        camera.position, camera.look_at = (middle[0] + 4.5, middle[1] + 2.0, 1.8), (*middle, 0.9)
        self._meshes: list[list[Any]] = []
        self._labels: list[Any] = []
        for number, actor in enumerate(self.replay.actors):
            scene.add_frame(f"/clip{number}", show_axes=False)
            self._meshes.append([self._add_mesh(number, index, shape) for index, shape in enumerate(actor.shapes)])
            self._labels.append(scene.add_label(f"/clip{number}/name", actor.name))

    def _add_mesh(self, number: int, index: int, shape: Shape) -> Any:  # noqa: ANN401 - a handle of viser
        mesh = triangles(shape)
        return self.server.scene.add_mesh_simple(f"/clip{number}/solid{index}", mesh.vertices, mesh.faces)

    def _build_controls(self) -> None:
        gui: Any = self.server.gui  # the types of viser's handles say that values are read-only; they are not
        replay = self.replay
        self.playing = gui.add_checkbox("playing", initial_value=True)
        self.speed = gui.add_slider("speed", min=_SPEEDS[0], max=_SPEEDS[1], step=_SPEEDS[2], initial_value=1.0)
        self.time = gui.add_slider(
            "time (s)", min=0.0, max=max(float(replay.times[-1]), 1e-3), step=1.0 / replay.fps, initial_value=0.0
        )
        self.time.on_update(lambda event: self.show(round(self.time.value * replay.fps)) if event.client else None)
        for label, step in (("previous frame", -1), ("next frame", 1)):
            gui.add_button(label).on_click(partial(self._step, step))
        self.errors = gui.add_markdown("")
        with gui.add_folder("clips"):
            for number, actor in enumerate(replay.actors):
                gui.add_checkbox(actor.name, initial_value=True).on_update(partial(self._set_visible, number))

    def _step(self, step: int, _: object) -> None:
        self.playing.value = False
        self.show(self.index + step)

    def _set_visible(self, number: int, event: Any) -> None:  # noqa: ANN401 - an event of viser
        for handle in (*self._meshes[number], self._labels[number]):
            handle.visible = event.target.value

    def show(self, index: int) -> None:
        """Show frame `index`, counted on from the last to the first."""
        self.index = index % self.replay.num_frames
        lines = []
        with self.server.atomic():
            for number, actor in enumerate(self.replay.actors):
                self._place(number, actor)
                if actor.errors is not None:
                    millimeters = 1000.0 * float(actor.errors[self.index].mean())
                    lines.append(f"{actor.name}: {millimeters:.0f} mm from {self.replay.actors[0].name}")
            self.time.value = float(self.replay.times[self.index])
            if lines:
                self.errors.content = "\n\n".join(lines)

    def _place(self, number: int, actor: Actor) -> None:
        colors = np.round(255.0 * actor.colors(self.index, PALETTE[number % len(PALETTE)])).astype(int)
        painted = self._painted[number]
        self._labels[number].position = actor.roots[self.index] + np.array([0.0, 0.0, 1.0])
        for index, mesh in enumerate(self._meshes[number]):
            x, y, z, w = actor.rotations[self.index, index]
            mesh.position, mesh.wxyz = actor.positions[self.index, index], (w, x, y, z)
            if painted is None or (colors[index] != painted[index]).any():
                mesh.color = tuple(int(value) for value in colors[index])
        self._painted[number] = colors

    def run(self, seconds: float | None = None) -> None:
        """Play until interrupted, or for `seconds` of wall time."""
        start = last = time.monotonic()
        moment = 0.0
        while seconds is None or time.monotonic() - start < seconds:
            time.sleep(1.0 / self.replay.fps)
            now = time.monotonic()
            if self.playing.value:
                moment = (moment + (now - last) * self.speed.value) % (self.replay.num_frames / self.replay.fps)
                self.show(int(moment * self.replay.fps))
            else:
                moment = self.index / self.replay.fps
            last = now

    def close(self) -> None:
        """Stop serving."""
        self.server.stop()
