"""The scene in the browser: robot, reference, ground, objects, goals, forces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from poselib.rotations import heading_angle
from proto_envs.components.control import Markers
from proto_envs.picture_model import BODY_COLOR, GHOST_COLOR
from proto_envs.terrain.window import TerrainWindow
from proto_envs.vector_env import ProtoVectorEnv
from proto_envs.viewer.frames import Frame
from proto_envs.viewer.session import Camera
from proto_envs.viewer.solids import Solid, body_solids, ground_lines, ground_solid, object_solid

__all__ = ["BrowserScene"]

_FLOOR = 60.0
"""m, side of the flat floor"""
_TILE = 2.0
"""m, by which the flat floor moves, so that its lines do not slide"""
_HORIZON, _ZENITH = (226, 232, 240), (168, 190, 216)
_GROUND_COLOR, _LINE_COLOR = (128, 136, 148), (96, 106, 122)
_LINES = 1.0
"""m between the lines on uneven ground"""
_FORCE_COLOR = (205, 30, 30)
_METERS_PER_NEWTON = 1.0 / 1500.0
_FAINTEST = 5.0
"""N; weaker forces have no arrow"""
_LOWEST = -100.0
"""m; goals that ask for nothing are put below"""
_SOFT = 0.2
"""share of the way that the camera goes with each picture"""
_ELSEWHERE = 3.0
"""m, farther than a robot gets between two pictures"""


class BrowserScene:
    """Draws frames into a viser server.

    It is the world that moves: the robot that is followed stays where the camera looks, and the camera stays as the
    person has turned it.
    """

    def __init__(self, server: Any, env: ProtoVectorEnv) -> None:  # noqa: ANN401 - viser is an extra
        """Build robot, ghost and ground."""
        self._server, self._scene, self._robot = server, server.scene, env.robot
        scene = self._scene
        scene.set_up_direction("+z")
        scene.configure_default_lights(enabled=True, cast_shadow=True)
        scene.configure_environment_map("studio", environment_intensity=0.35)
        scene.set_background_image(_sky())
        scene.configure_fog(12.0, 30.0, color=_HORIZON)
        camera = server.initial_camera
        camera.position, camera.look_at = (3.0, -2.2, 1.5), (0.0, 0.0, 0.85)
        self._world = scene.add_frame("/world", show_axes=False)
        solids = body_solids(env.robot)
        self._bodies = {body: self._add(f"/world/robot/{body}", solid, BODY_COLOR) for body, solid in solids.items()}
        self._ghost = {body: self._add(f"/world/ghost/{body}", solid, GHOST_COLOR) for body, solid in solids.items()}
        self._objects: tuple[list[Any], list[Any]] = ([], [])
        """what stands there, and its handles"""
        self._marks: list[_Marks] = []
        self._forces = _Arrows(scene, "/world/forces", _FORCE_COLOR, 0.025)
        self._middle: np.ndarray | None = None
        """(3,) m, what the camera looks at"""
        self._yaw = 0.0
        self._build_ground(env)

    def _add(self, name: str, solid: Solid, color: Sequence[float]) -> Any:  # noqa: ANN401
        opacity = color[3] if len(color) > 3 and color[3] < 1.0 else None
        return self._scene.add_mesh_simple(
            name,
            solid.vertices,
            solid.faces,
            color=_bytes(color),
            opacity=opacity,
            cast_shadow=opacity is None,
            receive_shadow=opacity is None,
        )

    def _build_ground(self, env: ProtoVectorEnv) -> None:
        terrain = env.ground.terrain.to("cpu")
        self._window = None if terrain.is_flat else TerrainWindow(terrain)
        self._floor = None
        if terrain.is_flat:
            self._floor = self._scene.add_grid(
                "/world/floor",
                width=_FLOOR,
                height=_FLOOR,
                cell_size=0.5,
                cell_color=(188, 196, 207),
                section_size=_TILE,
                section_color=(140, 150, 165),
                plane_color=(206, 213, 222),
                plane_opacity=1.0,
                shadow_opacity=0.35,
                fade_distance=30.0,
            )

    def show(self, frame: Frame, camera: Camera, shows: dict[str, bool]) -> None:
        """Draw a frame."""
        with self._server.atomic():
            self._follow(frame, camera)
            self._lay_ground(frame)
            _pose(self._bodies, frame.positions, frame.rotations)
            ghost = frame.ghost if shows["reference"] else None
            for handle in self._ghost.values():
                handle.visible = ghost is not None
            if ghost is not None:
                _pose(self._ghost, *ghost)
            self._place_objects(frame)
            self._mark(frame.markers if shows["goals"] else ())
            self._draw_forces(frame.forces if shows["contact forces"] else None, frame.positions)

    def _follow(self, frame: Frame, camera: Camera) -> None:
        target = np.array([frame.root[0], frame.root[1], frame.ground_height])
        if camera != "free" or self._middle is None:
            middle = target if self._middle is None else self._middle
            far = np.linalg.norm(target - middle) > _ELSEWHERE
            self._middle = target if far else middle + _SOFT * (target - middle)
            heading = float(heading_angle(torch.from_numpy(frame.rotations[0]))) if camera == "behind" else 0.0
            turn = (heading - self._yaw + np.pi) % (2.0 * np.pi) - np.pi
            self._yaw += 0.5 * _SOFT * turn
        half = -0.5 * self._yaw
        cosine, sine = np.cos(-self._yaw), np.sin(-self._yaw)
        x, y, z = -self._middle
        self._world.position = (cosine * x - sine * y, sine * x + cosine * y, z)
        self._world.wxyz = (np.cos(half), 0.0, 0.0, np.sin(half))

    def _lay_ground(self, frame: Frame) -> None:
        if self._floor is not None:
            place = _TILE * np.round(frame.root[:2] / _TILE)
            self._floor.position = (*place, 0.0)
        if self._window is not None:
            vertices = self._window.follow(torch.from_numpy(frame.root[:2]))
            if vertices is not None:
                solid = ground_solid(vertices)
                self._scene.add_mesh_simple(
                    "/world/ground", solid.vertices, solid.faces, color=_GROUND_COLOR, flat_shading=True, side="double"
                )
                lines = ground_lines(vertices, _LINES)
                self._scene.add_line_segments("/world/lines", lines, colors=_LINE_COLOR, thickness=0.015)

    def _place_objects(self, frame: Frame) -> None:
        things, handles = self._objects
        if [id(thing) for thing in things] != [id(thing) for thing, *_ in frame.objects]:
            for handle in handles:
                handle.remove()
            things = [thing for thing, *_ in frame.objects]
            handles = [self._add(f"/world/object/{k}", object_solid(t), t.color) for k, t in enumerate(things)]
            self._objects = things, handles
        for handle, (_, position, rotation) in zip(handles, frame.objects, strict=True):
            x, y, z, w = rotation.tolist()
            handle.position, handle.wxyz = position.tolist(), (w, x, y, z)

    def _mark(self, markers: Sequence[Markers]) -> None:
        while len(self._marks) < len(markers):
            self._marks.append(_Marks(self._scene, f"/world/goals/{len(self._marks)}"))
        for k, marks in enumerate(self._marks):
            marks.show(markers[k] if k < len(markers) else None)

    def _draw_forces(self, forces: np.ndarray | None, positions: np.ndarray) -> None:
        if forces is None:
            self._forces.show(np.zeros((0, 2, 3)))
            return
        strong = np.linalg.norm(forces, axis=-1) > _FAINTEST
        start = positions[strong]
        self._forces.show(np.stack([start, start + _METERS_PER_NEWTON * forces[strong]], axis=1))


class _Arrows:
    """Any number of arrows of a colour; viser has none of no length and no empty sets of them."""

    def __init__(self, scene: Any, name: str, color: tuple[int, ...], radius: float) -> None:  # noqa: ANN401
        self._handle = scene.add_arrows(
            name,
            np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]),
            color,
            shaft_radius=radius,
            head_radius=2.5 * radius,
            head_length=5.0 * radius,
            visible=False,
        )

    def show(self, points: np.ndarray) -> None:
        """Arrows (K, 2, 3) m from start to tip."""
        points = points[np.linalg.norm(points[:, 1] - points[:, 0], axis=-1) > 1e-3]
        if len(points):
            self._handle.points = points.astype(np.float32)
        self._handle.visible = len(points) > 0


class _Marks:
    """One group of goals: spheres or arrows, in whatever number."""

    def __init__(self, scene: Any, name: str) -> None:  # noqa: ANN401
        self._scene, self._name = scene, name
        self._kind: tuple[Any, ...] = ()
        self._arrows: _Arrows | None = None
        self._spheres: list[Any] = []

    def show(self, markers: Markers | None) -> None:
        """Show them; None: hide what there is."""
        places = np.zeros((0, 3)) if markers is None else markers.positions.cpu().numpy().astype(float)
        here = places[:, 2] > _LOWEST
        if markers is not None and markers.arrows is not None:
            if self._arrows is None:
                self._arrows = _Arrows(self._scene, self._name, _bytes(markers.color), markers.radius)
            arrows = markers.arrows.cpu().numpy().astype(float)
            self._arrows.show(np.stack([places, places + arrows], axis=1)[here])
            return
        if self._arrows is not None:
            self._arrows.show(np.zeros((0, 2, 3)))
        while markers is not None and len(self._spheres) < len(places):
            name, color = f"{self._name}/{len(self._spheres)}", _bytes(markers.color)
            self._spheres.append(self._scene.add_icosphere(name, radius=markers.radius, color=color))
        for k, sphere in enumerate(self._spheres):
            sphere.visible = k < len(places) and bool(here[k])
            if sphere.visible:
                sphere.position = places[k]


def _sky() -> np.ndarray:
    """A picture (H, 2, 3) uint8: dark above, light at the horizon and below."""
    share = np.clip(np.linspace(-0.1, 2.1, 256), 0.0, 1.0)[:, None, None]
    return np.repeat((1.0 - share) * np.array(_ZENITH) + share * np.array(_HORIZON), 2, axis=1).astype(np.uint8)


def _pose(handles: dict[int, Any], positions: np.ndarray, rotations: np.ndarray) -> None:
    for body, handle in handles.items():
        x, y, z, w = rotations[body]
        handle.position, handle.wxyz = positions[body], (w, x, y, z)


def _bytes(color: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in color[:3])
