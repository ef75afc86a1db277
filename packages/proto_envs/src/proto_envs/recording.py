"""Pictures without a display: one MuJoCo renderer for every engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import mujoco
import numpy as np
import torch
from torch import Tensor

from motionlib.viewing import RenderError, VideoWriter
from motionlib.viewing.pictures import add_studio, open_renderer
from poselib.rotations import matrix_from_quat, wxyz_from_xyzw, xyzw_from_wxyz
from proto_envs.components.control import Control, Markers
from proto_envs.context import ObjectState
from proto_envs.robots import Robot
from proto_envs.scenes import Box, Cylinder, Mesh, SceneBatch, SceneObject, Shape, Sphere
from proto_envs.simulators.base import SimulationSettings, Simulator
from proto_envs.simulators.mjcf import GROUND, JointLayout, add_height_field, physics_spec
from proto_envs.simulators.objects import add_meshes, mesh_name
from proto_envs.terrain import FLAT, Terrain

__all__ = ["RenderError", "SceneRenderer", "VideoWriter"]

_GHOST = "reference_"
_BODY_COLOR = (0.85, 0.60, 0.35, 1.0)
_GHOST_COLOR = (0.35, 0.65, 0.95, 0.35)
_WINDOW = 24.0
"""m, side of the part of a terrain that is drawn"""
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
        self._robot = robot
        self._terrain = terrain.to("cpu")
        self.model = _picture_model(robot, self._terrain, scenes, width, height)
        self._data = mujoco.MjData(self.model)
        self._layout = JointLayout.of(robot, self.model)
        self._robot_nq = physics_spec(robot, SimulationSettings()).compile().nq
        self._renderer = open_renderer(self.model, width, height)
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.azimuth, self._camera.elevation = 3.5, 120.0, -12.0
        self._look_at: dict[int, np.ndarray] = {}
        """(3,) m, by camera"""
        self._drawn: Tensor | None = None
        """(2,) m, middle of the part of the terrain that is drawn now"""

    def frames(
        self,
        which: Sequence[int],
        simulator: Simulator,
        controls: Iterable[Control],
        thrown: Sequence[tuple[SceneBatch, ObjectState]] = (),
    ) -> tuple[np.ndarray, ...]:
        """One picture of each of some environments, with all that is beside the robot.

        Args:
            which: environments.
            simulator: where they are.
            controls: whose markers are drawn, and the first ghost among theirs.
            thrown: objects beside those of the simulator's scenes.

        Returns:
            (height, width, 3) uint8 each.
        """
        parts = list(controls)
        ghost = next((ghost for control in parts if (ghost := control.ghost()) is not None), None)
        markers = [marker for control in parts for marker in control.markers()]
        beside = [] if simulator.scenes is None else [(simulator.scenes, simulator.objects())]
        beside += thrown
        return tuple(
            self.frame(
                simulator.render_state(i),
                None if ghost is None else (ghost.root_positions[i], ghost.local_rotations[i]),
                [marker.of(i) for marker in markers],
                [thing for scenes, state in beside for thing in scenes.standing(i, state)],
                camera=i,
            )
            for i in which
        )

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
        data, n = self._data, self._robot_nq
        place = torch.from_numpy(qpos[:2]).float()
        self._draw_terrain(place)
        data.qpos[:n] = qpos[:n]
        data.qpos[n:] = qpos[:n] if ghost is None else self._ghost_qpos(*ghost)
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_camlight(self.model, data)
        target = np.array([qpos[0], qpos[1], 0.9 + float(self._terrain.heights(place))])
        before = self._look_at.get(camera, target)
        if np.linalg.norm(target - before) > _ELSEWHERE:
            before = target
        # Follow softly, so that steps and jumps stay visible.
        self._look_at[camera] = self._camera.lookat[:] = 0.9 * before + 0.1 * target
        option = mujoco.MjvOption()
        option.geomgroup[3] = ghost is not None
        self._renderer.update_scene(data, self._camera, option)
        for thing in objects:
            _add_object(self.model, self._renderer.scene, *thing)
        for marker in markers:
            _add_markers(self._renderer.scene, marker)
        return self._renderer.render().copy()

    def _draw_terrain(self, place: Tensor) -> None:
        """Lay the terrain around `place` (2,) into the picture's small height field, unless it is there already.

        The middle moves by whole cells, and by metres at a time, so that neither ground nor checkers slide.
        """
        if self._terrain.is_flat or (self._drawn is not None and (place - self._drawn).abs().max() < _WINDOW / 4):
            return
        cell, field = self._terrain.spacing, self.model.geom(GROUND)
        jump = cell * round(2.0 / cell)
        corner = -0.5 * torch.tensor(self._terrain.size)
        self._drawn = middle = corner + jump * ((place - corner) / jump).round()
        line = cell * (torch.arange(_cells(cell) + 1) - 0.5 * _cells(cell))
        y, x = torch.meshgrid(middle[1] + line, middle[0] + line, indexing="ij")
        lowest = self._terrain.grid.min()
        share = (self._terrain.heights(torch.stack([x, y], dim=-1)) - lowest) / (self._terrain.grid.max() - lowest)
        self.model.hfield_data[:] = share.flatten().numpy()
        field.pos[:] = *middle.tolist(), float(lowest)
        # It was compiled at its body's origin, which MuJoCo would go on to take for its place.
        field.sameframe[:] = int(mujoco.mjtSameFrame.mjSAMEFRAME_NONE)
        # The renderer has no public way to draw changed heights.
        self._renderer._gl_context.make_current()
        mujoco.mjr_uploadHField(self.model, self._renderer._mjr_context, 0)

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


def _add_object(
    model: mujoco.MjModel, scene: mujoco.MjvScene, thing: SceneObject, position: Tensor, rotation: Tensor
) -> None:
    """Append the solids of an object to a scene, as many as it has room for."""
    turn, place = matrix_from_quat(rotation.double().cpu()).numpy(), position.double().cpu().numpy()
    color = np.array([*thing.color, 1.0], dtype=np.float32)
    for part in thing.parts:
        for kind, size, asset in _drawn(part):
            if scene.ngeom >= scene.maxgeom:
                return
            geom, matrix, middle = scene.geoms[scene.ngeom], turn @ part.matrix, place + turn @ np.array(part.position)
            mesh = None if asset is None else model.mesh(asset).id
            if mesh is not None:
                # A compiled mesh stands on its centre of mass and along its axes of inertia.
                inner = xyzw_from_wxyz(torch.from_numpy(model.mesh_quat[mesh].copy()))
                middle = middle + matrix @ model.mesh_pos[mesh]
                matrix = matrix @ matrix_from_quat(inner).numpy()
            mujoco.mjv_initGeom(geom, kind, size, middle, matrix.ravel(), color)
            if mesh is not None:
                geom.dataid = 2 * mesh  # even numbers are meshes, odd ones their hulls
            geom.category = mujoco.mjtCatBit.mjCAT_DYNAMIC  # decoration casts no shadow
            scene.ngeom += 1


def _drawn(part: Shape) -> list[tuple[mujoco.mjtGeom, np.ndarray, str | None]]:
    """Kind, size and mesh of what is drawn of a solid."""
    kinds = mujoco.mjtGeom
    match part:
        case Box():
            return [(kinds.mjGEOM_BOX, 0.5 * np.array(part.size), None)]
        case Sphere():
            return [(kinds.mjGEOM_SPHERE, np.full(3, part.radius), None)]
        case Cylinder():
            return [(kinds.mjGEOM_CYLINDER, np.array([part.radius, 0.5 * part.height, 0.0]), None)]
        case Mesh():
            return [(kinds.mjGEOM_MESH, np.zeros(3), mesh_name(part, i)) for i in range(len(part.pieces()))]
    raise TypeError(f"no picture of a {type(part).__name__}")


def _add_markers(scene: mujoco.MjvScene, markers: Markers) -> None:
    """Append spheres or arrows to a scene, as many as it has room for."""
    positions = markers.positions.double().cpu().numpy()
    arrows = None if markers.arrows is None else markers.arrows.double().cpu().numpy()
    size, identity, color = np.full(3, markers.radius), np.eye(3).ravel(), np.array(markers.color, dtype=np.float32)
    for k, position in enumerate(positions[: scene.maxgeom - scene.ngeom]):
        geom = scene.geoms[scene.ngeom]
        if arrows is None:
            mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_SPHERE, size, position, identity, color)
        else:
            kind = mujoco.mjtGeom.mjGEOM_ARROW
            mujoco.mjv_initGeom(geom, kind, size, position, identity, color)
            mujoco.mjv_connector(geom, kind, markers.radius, position, position + arrows[k])
        scene.ngeom += 1


def _cells(spacing: float) -> int:
    """Cells along each side of the part of a terrain that is drawn: an even number."""
    return 2 * round(_WINDOW / (2.0 * spacing))


def _picture_model(
    robot: Robot, terrain: Terrain, scenes: SceneBatch | None, width: int, height: int
) -> mujoco.MjModel:
    spec = physics_spec(robot, SimulationSettings())
    ghost = physics_spec(robot, SimulationSettings())
    ghost.delete(ghost.geom(GROUND))
    for geom in ghost.geoms:
        geom.rgba, geom.contype, geom.conaffinity, geom.group = _GHOST_COLOR, 0, 0, 3
    for geom in spec.geoms:
        geom.rgba = _BODY_COLOR
    if scenes is not None:
        add_meshes(spec, scenes.scenes)
    spec.attach(ghost, prefix=_GHOST, frame=spec.worldbody.add_frame())
    add_studio(spec, width, height)
    floor = spec.geom(GROUND)
    floor.material, floor.rgba = "checker", (1, 1, 1, 1)
    if not terrain.is_flat:
        add_height_field(spec, np.eye(_cells(terrain.spacing) + 1), terrain.spacing)
        spec.hfield(GROUND).size[2] = float(terrain.grid.max() - terrain.grid.min())
        floor.type, floor.hfieldname, floor.size = mujoco.mjtGeom.mjGEOM_HFIELD, GROUND, (0, 0, 0)
    # The light hangs over the robot, so that its shadow stays inside a small map.
    light = spec.body(robot.skeleton.body_names[0]).add_light(pos=(0, 0, 4), dir=(0, 0, -1))
    light.mode, light.type = mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.diffuse = (0.5, 0.5, 0.5)
    spec.visual.map.shadowclip = 0.7
    return spec.compile()
