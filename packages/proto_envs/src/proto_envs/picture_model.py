"""What pictures are drawn of: a MuJoCo model of the robot and its ghost on the ground, whatever the engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from motionlib.viewing.pictures import add_studio
from poselib.rotations import matrix_from_quat, wxyz_from_xyzw, xyzw_from_wxyz
from proto_envs.components.control import Control, Markers
from proto_envs.context import ObjectState
from proto_envs.robots import Robot
from proto_envs.scenes import Box, Cylinder, Mesh, SceneBatch, SceneObject, Shape, Sphere
from proto_envs.simulators.base import SimulationSettings, Simulator
from proto_envs.simulators.mjcf import GROUND, JointLayout, add_height_field, physics_spec
from proto_envs.simulators.objects import add_meshes, mesh_name
from proto_envs.terrain import Terrain
from proto_envs.terrain.window import TerrainWindow

__all__ = ["BODY_COLOR", "GHOST_COLOR", "PictureModel", "Sight", "sights"]

BODY_COLOR = (0.85, 0.60, 0.35, 1.0)
GHOST_COLOR = (0.35, 0.65, 0.95, 0.35)
_GHOST = "reference_"


@dataclass(frozen=True, eq=False)
class Sight:
    """What there is to see of one environment."""

    qpos: np.ndarray
    """(nq,) of the physics model, as `Simulator.render_state` gives it"""
    ghost: tuple[Tensor, Tensor] | None = None
    """root position (3,) and local rotations (B, 4) of the reference"""
    markers: Sequence[Markers] = ()
    """goals, (K, 3) in each field"""
    objects: Sequence[tuple[SceneObject, Tensor, Tensor]] = ()
    """what stands beside the robot, with position (3,) and rotation (4,): `SceneBatch.standing`"""


def sights(
    which: Sequence[int],
    simulator: Simulator,
    controls: Iterable[Control],
    thrown: Sequence[tuple[SceneBatch, ObjectState]] = (),
) -> tuple[Sight, ...]:
    """What there is to see of some environments, with all that is beside the robots.

    Args:
        which: environments.
        simulator: where they are.
        controls: whose markers are drawn, and the first ghost among theirs.
        thrown: objects beside those of the simulator's scenes.
    """
    parts = list(controls)
    ghost = next((ghost for control in parts if (ghost := control.ghost()) is not None), None)
    markers = [marker for control in parts for marker in control.markers()]
    beside = [] if simulator.scenes is None else [(simulator.scenes, simulator.objects())]
    beside += thrown
    return tuple(
        Sight(
            simulator.render_state(i),
            None if ghost is None else (ghost.root_positions[i], ghost.local_rotations[i]),
            [marker.of(i) for marker in markers],
            [thing for scenes, state in beside for thing in scenes.standing(i, state)],
        )
        for i in which
    )


class PictureModel:
    """The robot and its ghost in MuJoCo, to be posed; everything else is added to the scene that is drawn."""

    def __init__(
        self, robot: Robot, terrain: Terrain, scenes: SceneBatch | None, *, width: int = 640, height: int = 480
    ) -> None:
        """Compile the model; width and height are those of the largest picture."""
        self._robot, self.terrain = robot, terrain.to("cpu")
        self.model = _picture_model(robot, self.terrain, scenes, width, height)
        self.data = mujoco.MjData(self.model)
        self._layout = JointLayout.of(robot, self.model)
        self.robot_nq = physics_spec(robot, SimulationSettings()).compile().nq
        """coordinates of the robot; those of the ghost come after them"""
        self._window = TerrainWindow(self.terrain)

    def pose(self, qpos: np.ndarray, ghost: tuple[Tensor, Tensor] | None) -> None:
        """Put robot and ghost where `Sight` says they are; without a ghost it hides in the robot."""
        data, n = self.data, self.robot_nq
        data.qpos[:n] = qpos[:n]
        data.qpos[n:] = qpos[:n] if ghost is None else self.ghost_qpos(*ghost)
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_camlight(self.model, data)

    def decorate(
        self,
        scene: mujoco.MjvScene,
        markers: Sequence[Markers],
        objects: Sequence[tuple[SceneObject, Tensor, Tensor]],
    ) -> None:
        """Append goals and objects to a scene, as many as it has room for."""
        for thing in objects:
            _add_object(self.model, scene, *thing)
        for marker in markers:
            _add_markers(scene, marker)

    def lay_terrain(self, place: Tensor) -> bool:
        """Lay the terrain around `place` (2,) into the model's small height field, unless it is there already.

        Returns:
            Whether the heights have changed, so that whoever draws must look at them again.
        """
        if self.terrain.is_flat or (vertices := self._window.follow(place)) is None:
            return False
        assert self._window.middle is not None
        field, lowest, highest = self.model.geom(GROUND), self.terrain.grid.min(), self.terrain.grid.max()
        self.model.hfield_data[:] = ((vertices[..., 2] - lowest) / (highest - lowest)).flatten().numpy()
        field.pos[:] = *self._window.middle.tolist(), float(lowest)
        # It was compiled at its body's origin, which MuJoCo would go on to take for its place.
        field.sameframe[:] = int(mujoco.mjtSameFrame.mjSAMEFRAME_NONE)
        return True

    def ghost_qpos(self, root_position: Tensor, local_rotations: Tensor) -> np.ndarray:
        """The ghost's coordinates (nq,)."""
        layout, dofs = self._layout, self._robot.skeleton.dofs_from_local_rotations(local_rotations)
        qpos = np.zeros(self.robot_nq)
        qpos[:3] = root_position.cpu().numpy()
        quats = wxyz_from_xyzw(local_rotations).cpu().numpy()
        qpos[3:7] = quats[0]
        qpos[layout.hinge_qpos] = dofs.cpu().numpy()[layout.hinge_dofs]
        qpos[layout.ball_qpos] = quats[layout.ball_bodies]
        return qpos


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


def _picture_model(
    robot: Robot, terrain: Terrain, scenes: SceneBatch | None, width: int, height: int
) -> mujoco.MjModel:
    spec = physics_spec(robot, SimulationSettings())
    ghost = physics_spec(robot, SimulationSettings())
    ghost.delete(ghost.geom(GROUND))
    for geom in ghost.geoms:
        geom.rgba, geom.contype, geom.conaffinity, geom.group = GHOST_COLOR, 0, 0, 3
    for geom in spec.geoms:
        geom.rgba = BODY_COLOR
    if scenes is not None:
        add_meshes(spec, scenes.scenes)
    spec.attach(ghost, prefix=_GHOST, frame=spec.worldbody.add_frame())
    add_studio(spec, width, height)
    floor = spec.geom(GROUND)
    floor.material, floor.rgba = "checker", (1, 1, 1, 1)
    if not terrain.is_flat:
        add_height_field(spec, np.eye(TerrainWindow(terrain).cells + 1), terrain.spacing)
        spec.hfield(GROUND).size[2] = float(terrain.grid.max() - terrain.grid.min())
        floor.type, floor.hfieldname, floor.size = mujoco.mjtGeom.mjGEOM_HFIELD, GROUND, (0, 0, 0)
    # The light hangs over the robot, so that its shadow stays inside a small map.
    light = spec.body(robot.skeleton.body_names[0]).add_light(pos=(0, 0, 4), dir=(0, 0, -1))
    light.mode, light.type = mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.diffuse = (0.5, 0.5, 0.5)
    spec.visual.map.shadowclip = 0.7
    return spec.compile()
