"""The kinematic tree of a character: names, parents, offsets and joints, read from any MJCF by MuJoCo's own parser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from poselib.rotations import exp_map_from_quat, quat_from_exp_map, twist_angle, xyzw_from_wxyz

__all__ = ["Joint", "Skeleton", "SkeletonError", "SkeletonTables"]


class SkeletonError(ValueError):
    """A model that is no character of ours: the message says which body, what was found and what would be right."""


@dataclass(frozen=True)
class Joint:
    """How one body moves against its parent."""

    kind: Literal["fixed", "hinge", "ball"]
    names: tuple[str, ...]
    """one name per degree of freedom: none, one, or three"""
    axes: tuple[tuple[float, float, float], ...]
    """unit axis of each degree of freedom in the body's frame; those of a ball are orthogonal"""
    lower: tuple[float, ...]
    """rad, lowest target of each degree of freedom"""
    upper: tuple[float, ...]
    """rad, highest target of each degree of freedom"""


@dataclass(frozen=True, eq=False)
class SkeletonTables:
    """The constants of a skeleton as tensors of one device and one floating type; `Skeleton.tables` keeps them.

    Indexing by tensors that already lie on the device spares a CUDA program the wait that indexing by lists costs.
    """

    offsets: Tensor
    """(B, 3) m"""
    rest_rotations: Tensor
    """(B, 4)"""
    parents: Tensor
    """(B - 1,) index of the parent of each body but the root"""
    jumps: tuple[tuple[Tensor, Tensor], ...]
    """bodies that have an ancestor 1, 2, 4, ... steps above them, and that ancestor of each: what adds up from the root
    to every body does so in as many rounds"""
    dof_bodies: Tensor
    """(D,)"""
    dof_axes: Tensor
    """(D, 3) unit axes in the bodies' frames"""
    slots: Tensor
    """(B, 3) the body's degrees of freedom; D where it has fewer than three"""
    slot_axes: Tensor
    """(B, 3, 3) the axis of each slot; zero for an empty one"""
    hinge_dofs: Tensor
    """(H,) the degrees of freedom that are hinges"""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A tree of bodies joined by fixed, hinge and ball joints under one free root.

    Bodies and degrees of freedom stand in the depth-first order of the MJCF. The coordinate of a hinge is its angle;
    the three coordinates of a ball are its rotation vector (exponential map), read off along the joint's axes. A *local
    rotation* is what the joint adds: the identity leaves a body in its rest orientation against its parent. The root's
    local rotation is its orientation in the world.
    """

    name: str
    body_names: tuple[str, ...]
    parents: tuple[int, ...]
    """index of each body's parent; -1 for the root, which comes first"""
    offsets: Tensor
    """(B, 3) m, origin of each body in its parent's frame; the root's is its rest position in the world"""
    rest_rotations: Tensor
    """(B, 4) xyzw, orientation of each body in its parent's frame at joint coordinate zero"""
    joints: tuple[Joint, ...]
    """one per body; the root's is "fixed" (its six freedoms are not counted as joint coordinates)"""
    _tables: dict[tuple[torch.device, torch.dtype], SkeletonTables] = field(
        default_factory=dict, init=False, repr=False
    )

    # --- construction ------------------------------------------------------------------------------------------------

    @classmethod
    def from_mjcf(cls, source: str | Path | mujoco.MjSpec) -> Skeleton:
        """Read a skeleton from an MJCF file, an MJCF string, or a spec.

        Only the tree and its joints are looked at, so meshes and textures need not be there.

        Raises:
            SkeletonError: if the model does not have exactly one body with a free joint, if a body or joint of the
                character has no name, or if a body's joints are not none, one hinge, one ball, or three hinges about
                orthogonal axes at the body's origin.
        """
        spec = source.copy() if isinstance(source, mujoco.MjSpec) else _parse(source)
        return cls._from_model(spec.modelname, _kinematic_model(spec))

    @classmethod
    def _from_model(cls, name: str, model: mujoco.MjModel) -> Skeleton:
        roots = [int(model.jnt_bodyid[j]) for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
        if len(roots) != 1:
            raise SkeletonError(f"model {name!r}: want exactly one body with a free joint, found {len(roots)}")
        ids = [b for b in range(1, model.nbody) if _ancestor(model, b, roots[0])]
        index = {b: i for i, b in enumerate(ids)}
        for b in ids:
            if not model.body(b).name:
                raise SkeletonError(f"model {name!r}: body {b} has no name; motions are matched to bodies by name")
        rest = model.body_quat[ids].copy()
        if not np.allclose(rest[0], [1, 0, 0, 0], atol=1e-6):
            raise SkeletonError(f"model {name!r}: root body {model.body(ids[0]).name!r} must have identity orientation")
        return cls(
            name=name,
            body_names=tuple(model.body(b).name for b in ids),
            parents=tuple(-1 if b == ids[0] else index[int(model.body_parentid[b])] for b in ids),
            offsets=torch.tensor(model.body_pos[ids], dtype=torch.float32),
            rest_rotations=xyzw_from_wxyz(torch.tensor(rest, dtype=torch.float32)),
            joints=tuple(Joint("fixed", (), (), (), ()) if b == ids[0] else _joint(model, b) for b in ids),
        )

    # --- sizes and names ---------------------------------------------------------------------------------------------

    @property
    def num_bodies(self) -> int:
        """B, the root included."""
        return len(self.body_names)

    @property
    def num_dofs(self) -> int:
        """D, without the root's six."""
        return len(self.dof_names)

    @property
    def dof_names(self) -> tuple[str, ...]:
        """Names of the degrees of freedom, in order."""
        return tuple(name for joint in self.joints for name in joint.names)

    @property
    def dof_limits(self) -> Tensor:
        """(D, 2) rad, lower and upper bound of each joint coordinate."""
        pairs = [pair for j in self.joints for pair in zip(j.lower, j.upper, strict=True)]
        return torch.tensor(pairs, dtype=torch.float32).reshape(-1, 2)

    @property
    def dof_bodies(self) -> tuple[int, ...]:
        """Index of the body that each degree of freedom moves."""
        return tuple(b for b, joint in enumerate(self.joints) for _ in joint.names)

    @property
    def ball_dofs(self) -> tuple[tuple[int, int, int], ...]:
        """The three degrees of freedom of each ball joint."""
        starts = [d for d, b in enumerate(self.dof_bodies) if self.joints[b].kind == "ball"][::3]
        return tuple((d, d + 1, d + 2) for d in starts)

    def body_indices(self, names: Sequence[str]) -> list[int]:
        """Indices of bodies by name.

        Raises:
            KeyError: naming the unknown body and the skeleton's own.
        """
        missing = [n for n in names if n not in self.body_names]
        if missing:
            raise KeyError(f"skeleton {self.name!r} has no body {missing}; it has {list(self.body_names)}")
        return [self.body_names.index(n) for n in names]

    def tables(self, like: Tensor) -> SkeletonTables:
        """The skeleton's constants on the device and in the floating type of `like`; made once, then kept."""
        key = (like.device, like.dtype)
        if key not in self._tables:
            with torch.inference_mode(False):  # what an inference-mode caller makes first must serve training as well
                self._tables[key] = _make_tables(self, *key)
        return self._tables[key]

    # --- joint coordinates and local rotations -----------------------------------------------------------------------

    def local_rotations_from_dofs(self, dofs: Tensor, root_rotation: Tensor | None = None) -> Tensor:
        """Joint coordinates `(..., D)` to local rotations `(..., B, 4)`.

        The root's is `root_rotation` `(..., 4)`, or the identity without one.
        """
        rotations = quat_from_exp_map(self.joint_velocities_from_dof_velocities(dofs))
        if root_rotation is not None:
            rotations = torch.cat([root_rotation.unsqueeze(-2), rotations[..., 1:, :]], dim=-2)
        return rotations

    def dofs_from_local_rotations(self, local_rotations: Tensor) -> Tensor:
        """Local rotations `(..., B, 4)` to joint coordinates `(..., D)`, each in [-pi, pi].

        A hinge takes the part of the rotation about its axis; what a hinge cannot do is dropped.
        """
        tables = self.tables(local_rotations)
        dofs = self.dof_velocities_from_joint_velocities(exp_map_from_quat(local_rotations))
        hinges = tables.hinge_dofs
        bodies, axes = tables.dof_bodies[hinges], tables.dof_axes[hinges]
        return dofs.index_copy(-1, hinges, twist_angle(local_rotations.index_select(-2, bodies), axes))

    def dof_velocities_from_joint_velocities(self, joint_velocities: Tensor) -> Tensor:
        """Angular velocity of each body against its parent, in the body's frame `(..., B, 3)`, to `(..., D)` rad/s."""
        tables = self.tables(joint_velocities)
        return (joint_velocities.index_select(-2, tables.dof_bodies) * tables.dof_axes).sum(-1)

    def joint_velocities_from_dof_velocities(self, dof_velocities: Tensor) -> Tensor:
        """Inverse of `dof_velocities_from_joint_velocities`, `(..., D)` to `(..., B, 3)` rad/s."""
        tables = self.tables(dof_velocities)
        padded = F.pad(dof_velocities, (0, 1))  # empty slots read the zero at the end
        return (padded[..., tables.slots].unsqueeze(-1) * tables.slot_axes).sum(-2)


def _make_tables(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> SkeletonTables:
    def index(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    ways: list[tuple[int, ...]] = [(0,)]
    for body, parent in enumerate(skeleton.parents[1:], start=1):
        ways.append((*ways[parent], body))
    jumps: list[list[tuple[int, int]]] = []
    while jump := [(way[-1], way[-1 - 2 ** len(jumps)]) for way in ways if len(way) > 2 ** len(jumps)]:
        jumps.append(jump)
    axes = [axis for joint in skeleton.joints for axis in joint.axes]
    slots = torch.full((skeleton.num_bodies, 3), skeleton.num_dofs)
    slot_axes = torch.zeros(skeleton.num_bodies, 3, 3, dtype=torch.float64)
    for d, (body, axis) in enumerate(zip(skeleton.dof_bodies, axes, strict=True)):
        slot = d - skeleton.dof_bodies.index(body)
        slots[body, slot] = d
        slot_axes[body, slot] = torch.tensor(axis, dtype=torch.float64)
    return SkeletonTables(
        offsets=skeleton.offsets.to(device, dtype),
        rest_rotations=skeleton.rest_rotations.to(device, dtype),
        parents=index(skeleton.parents[1:]),
        jumps=tuple((index([body for body, _ in jump]), index([above for _, above in jump])) for jump in jumps),
        dof_bodies=index(skeleton.dof_bodies),
        dof_axes=torch.tensor(axes, dtype=dtype, device=device).reshape(-1, 3),
        slots=slots.to(device),
        slot_axes=slot_axes.to(device, dtype),
        hinge_dofs=index([d for d, b in enumerate(skeleton.dof_bodies) if skeleton.joints[b].kind == "hinge"]),
    )


# --- reading MJCF ----------------------------------------------------------------------------------------------------


def _parse(source: str | Path) -> mujoco.MjSpec:
    text = str(source)
    try:
        if isinstance(source, str) and text.lstrip().startswith("<"):
            return mujoco.MjSpec.from_string(text)
        if not Path(text).is_file():
            raise SkeletonError(f"no MJCF file at {text}")
        return mujoco.MjSpec.from_file(text)
    except ValueError as error:
        if isinstance(error, SkeletonError):
            raise
        raise SkeletonError(f"MuJoCo cannot parse {text[:80]!r}: {error}") from error


_NOT_KINEMATIC = (
    *("tuples", "keys", "sensors", "actuators", "equalities", "tendons", "excludes", "pairs", "flexes", "skins"),
    *("geoms", "sites", "cameras", "lights", "meshes", "hfields", "materials", "textures"),
)


def _kinematic_model(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Compile the tree alone: without geoms a model needs no mesh files, and a body its mass by hand."""
    for kind in _NOT_KINEMATIC:
        # Asked for kind by kind: with an element MuJoCo frees what refers to it, and a handle from before would dangle.
        for element in list(getattr(spec, kind)):
            spec.delete(element)
    spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE
    for body in spec.bodies[1:]:
        body.explicitinertial = True
        body.mass, body.inertia = 1.0, (1.0, 1.0, 1.0)
        body.fullinertia = (np.nan,) * 6
    try:
        return spec.compile()
    except ValueError as error:
        raise SkeletonError(f"MuJoCo cannot compile model {spec.modelname!r}: {error}") from error


def _ancestor(model: mujoco.MjModel, body: int, root: int) -> bool:
    while body not in (0, root):
        body = int(model.body_parentid[body])
    return body == root


def _joint(model: mujoco.MjModel, body: int) -> Joint:
    name = model.body(body).name
    ids = range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body])
    types = [model.jnt_type[j] for j in ids]
    kinds = mujoco.mjtJoint
    if not types:
        return Joint("fixed", (), (), (), ())
    if any(np.abs(model.jnt_pos[j]).max() > 1e-6 for j in ids):
        raise SkeletonError(f"body {name!r}: joints must sit at the body's origin (joint pos = 0 0 0)")
    if any(abs(model.qpos0[model.jnt_qposadr[j]]) > 1e-6 for j in ids if model.jnt_type[j] == kinds.mjJNT_HINGE):
        raise SkeletonError(f"body {name!r}: a hinge must be at angle zero in the model's own pose (ref = 0)")
    names = tuple(model.joint(j).name for j in ids)
    if not all(names):
        raise SkeletonError(f"body {name!r}: a joint has no name; degrees of freedom are matched by name")
    if types == [kinds.mjJNT_BALL]:
        bound = float(model.jnt_range[ids[0], 1]) if model.jnt_limited[ids[0]] else np.pi
        eye = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        return Joint("ball", tuple(f"{names[0]}_{a}" for a in "xyz"), eye, (-bound,) * 3, (bound,) * 3)
    if any(t != kinds.mjJNT_HINGE for t in types) or len(types) not in (1, 3):
        found = [kinds(t).name for t in types]
        raise SkeletonError(f"body {name!r}: want no joint, one hinge, one ball or three hinges; found {found}")
    axes = model.jnt_axis[list(ids)]
    if len(types) == 3 and not np.allclose(axes @ axes.T, np.eye(3), atol=1e-4):
        raise SkeletonError(f"body {name!r}: its three hinges must turn about orthogonal axes, found {axes.tolist()}")
    limits = [model.jnt_range[j] if model.jnt_limited[j] else (-np.pi, np.pi) for j in ids]
    return Joint(
        kind="hinge" if len(types) == 1 else "ball",
        names=names,
        axes=tuple((float(x), float(y), float(z)) for x, y, z in axes),
        lower=tuple(float(low) for low, _ in limits),
        upper=tuple(float(high) for _, high in limits),
    )
