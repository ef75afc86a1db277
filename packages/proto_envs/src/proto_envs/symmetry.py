"""A task in the mirror: which number of an observation or an action becomes which when left and right are exchanged.

No kernel has to say it. A few situations are drawn at random, mirrored across the plane y = 0, and shown to the task's
kernels; each number of the mirrored observation is then found, with its sign, among those of the first. The rewards
must be the same on both sides. Of a robot or a task that is not symmetric it says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from motionlib import BodyState, MotionError
from motionlib.processing import counterparts
from poselib.rotations import quat_normalize
from poselib.skeleton import Skeleton
from proto_envs.components.terms import Components, Kernel, kernel_name, observe
from proto_envs.context import Context, RobotState
from proto_envs.goals import Goal
from proto_envs.robots import Robot

__all__ = ["mirror_image", "signed_permutation"]

_GROUPS = frozenset({"policy", "critic"})
_SITUATIONS = 96
_TOLERANCE = 1e-3
_HALVES = 0.06
"""m by which a part may be off the place of its mirror image; in SMPL some are by 11 mm, in SMPL-X by 50"""
_POLAR, _AXIAL, _QUATERNION = (1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (-1.0, 1.0, -1.0, 1.0)
_BODIES = {
    "body_positions": _POLAR,
    "body_rotations": _QUATERNION,
    "body_velocities": _POLAR,
    "body_angular_velocities": _AXIAL,
}


def mirror_image(template: Context, components: Components) -> dict[str, tuple[Tensor, Tensor]]:
    """Indices and signs for "action", "policy" and "critic", if there is one: mirrored = signs * vector[..., indices].

    Args:
        template: any moment of the environment; tells which goals its task has and how many moments it looks ahead.
        components: of the task.

    Raises:
        ValueError: if the robot's halves differ, the ground is uneven, or the task has parts whose mirror image is not
            known or another task.
    """
    robot, device = template.robot, template.state.body_positions.device
    other = _other_side(robot)
    joints = _mirrored_joints(robot.skeleton, other)
    _check_drives(robot, joints)
    if not template.terrain.is_flat:
        raise ValueError("the ground is uneven: only flat ground looks the same in the mirror")
    here = _situation(template)
    there = _in_mirror(here, other, joints)
    result = {"action": joints}
    for name in _GROUPS & set(components.observations):
        result[name] = _matched(name, components.observations[name], here, there)
    for name, reward in components.rewards.items():
        mine, theirs = _shown(reward.kernel, here), _shown(reward.kernel, there)
        if not torch.allclose(mine, theirs, rtol=_TOLERANCE, atol=1e-5):
            raise ValueError(f"the task is not symmetric: reward {name!r} differs in the mirror")
    return {name: (indices.to(device), signs.to(device)) for name, (indices, signs) in result.items()}


def signed_permutation(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (F,) and signs (F,) such that `after` is `signs * before[:, indices]`.

    Args:
        before: (S, F) vectors, S of them, drawn so that no two of their numbers go together.
        after: (S, F) their images. Numbers that are always equal are told apart by their order.

    Raises:
        ValueError: naming the first number of `after` that is not one of `before`.
    """
    first, second = (part.double() / part.double().norm(dim=0).clamp_min(1e-6) for part in (before, after))
    likeness = first.T @ second
    twins = (first.T @ first).abs() > 1.0 - _TOLERANCE**2
    rank = (twins & torch.ones_like(twins).tril(-1)).sum(1)
    same = likeness.abs() > 1.0 - _TOLERANCE**2
    # The candidate of a number's own rank among its twins: of the columns that match it, the one with `rank` before it.
    chosen = same & (same.long().cumsum(0) == rank.unsqueeze(0) + 1)
    indices = chosen.long().argmax(0)
    still = (before.abs().amax(0) < 1e-6) & (after.abs().amax(0) < 1e-6)
    indices = torch.where(still, torch.arange(len(indices)), indices)
    signs = torch.where(likeness.gather(0, indices.unsqueeze(0)).squeeze(0) < 0.0, -1.0, 1.0)
    wrong = (after - signs * before[:, indices]).abs().amax(0) > _TOLERANCE * (1.0 + after.abs().amax(0))
    if wrong.any():
        raise ValueError(f"number {int(wrong.nonzero()[0])} has no counterpart in the mirror")
    return indices, signs


def _matched(name: str, kernels: Sequence[Kernel], here: Context, there: Context) -> tuple[Tensor, Tensor]:
    for kernel in kernels:
        _shown(kernel, here)
    try:
        return signed_permutation(observe(kernels, here), observe(kernels, there))
    except ValueError as error:
        raise ValueError(f"the task is not symmetric: observations {name!r}: {error}") from error


def _shown(kernel: Kernel, situation: Context) -> Tensor:
    try:
        return kernel(situation)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"the mirror image of what {kernel_name(kernel)} looks at is not known: {error}") from error


def _other_side(robot: Robot) -> list[int]:
    skeleton = robot.skeleton
    try:
        other = counterparts(skeleton.body_names)
    except MotionError as error:
        raise ValueError(f"robot {robot.name} has no two halves: {error}") from error
    mirrored = skeleton.offsets[other] * torch.tensor(_POLAR)
    for body, name in enumerate(skeleton.body_names[1:], start=1):
        far = float((mirrored[body] - skeleton.offsets[body]).norm())
        if other[skeleton.parents[body]] != skeleton.parents[other[body]] or far > _HALVES:
            raise ValueError(f"robot {robot.name}: body {name!r} is not the mirror image of its counterpart")
    return other


def _mirrored_joints(skeleton: Skeleton, other: Sequence[int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    dofs = 0.6 * torch.rand(_SITUATIONS, skeleton.num_dofs, generator=generator) - 0.3
    local = skeleton.local_rotations_from_dofs(dofs)
    image = skeleton.dofs_from_local_rotations(local[:, other] * torch.tensor(_QUATERNION))
    try:
        return signed_permutation(dofs, image)
    except ValueError as error:
        raise ValueError(f"the joints of {skeleton.name} are not mirror images of each other: {error}") from error


def _check_drives(robot: Robot, joints: tuple[Tensor, Tensor]) -> None:
    indices, signs = joints
    numbers: Mapping[str, tuple[Tensor, Tensor | float]] = {
        "targets at action 0": (robot.action_offset, signs),
        "ranges": (robot.action_scale, 1.0),
        "damping ratios": (robot.damping_ratio, 1.0),
    }
    for name, (values, sign) in numbers.items():
        apart = (values - sign * values[indices]).abs() > _TOLERANCE + 0.01 * values.abs()
        if apart.any():
            joint = robot.skeleton.dof_names[int(apart.nonzero()[0])]
            raise ValueError(f"robot {robot.name}: the {name} of {joint!r} and its counterpart differ")


def _situation(template: Context) -> Context:
    """A moment like the template's, but of other robots, whose every number is drawn at random."""
    generator = torch.Generator().manual_seed(1)
    skeleton = template.robot.skeleton

    def draw(*shape: int) -> Tensor:
        return torch.randn(_SITUATIONS, *shape, generator=generator)

    def bodies(*shape: int) -> dict[str, Tensor]:
        drawn = {name: draw(*shape, skeleton.num_bodies, len(factor)) for name, factor in _BODIES.items()}
        return drawn | {"body_rotations": quat_normalize(drawn["body_rotations"])}

    def touching(*shape: int) -> Tensor:
        return draw(*shape, skeleton.num_bodies) > 0.0

    now = bodies()
    near = {name: part + 0.05 * draw(*part.shape[1:]) for name, part in now.items()}
    near["body_rotations"] = quat_normalize(near["body_rotations"])
    joints = {name: draw(skeleton.num_dofs) for name in ("dof_positions", "dof_velocities", "dof_forces")}
    joints["contact_forces"] = draw(skeleton.num_bodies, 3)
    moments = None if template.upcoming is None else template.upcoming.body_positions.shape[1]
    changes: dict[str, Any] = {
        # What is not drawn here is left out, so that a kernel that wants it says so.
        name: None
        for name, default in ((field.name, field.default) for field in fields(template))
        if default is None
    }
    for name, goal in _goals(template).items():
        live = {field.name: getattr(goal, field.name) for field in fields(goal)}
        changes[name] = type(goal)(
            **{
                part: draw(*value.shape[1:]) if value.is_floating_point() else value[:1].repeat(_SITUATIONS)
                for part, value in live.items()
            }
        )
    changes |= {
        "state": RobotState(**now, read=joints.__getitem__),
        "steps": torch.zeros(_SITUATIONS, dtype=torch.long),
        "targets": draw(skeleton.num_dofs),
        "previous_targets": draw(skeleton.num_dofs),
        "ground_height": torch.zeros(_SITUATIONS),
        "motion": None if template.motion is None else BodyState(**near, contacts=touching()),
        "upcoming": None if moments is None else BodyState(**bodies(moments), contacts=touching(moments)),
    }
    return replace(template, **changes)


def _in_mirror(ctx: Context, other: Sequence[int], joints: tuple[Tensor, Tensor]) -> Context:
    indices, signs = joints

    def bodies(state: RobotState | BodyState) -> dict[str, Tensor]:
        return {name: getattr(state, name)[..., other, :] * torch.tensor(factor) for name, factor in _BODIES.items()}

    def read(name: str) -> Tensor:
        if name == "contact_forces":
            return ctx.state.contact_forces[:, other] * torch.tensor(_POLAR)
        return getattr(ctx.state, name)[:, indices] * signs

    def reference(state: BodyState | None) -> BodyState | None:
        return None if state is None else BodyState(**bodies(state), contacts=state.contacts[..., other])

    changes: dict[str, Any] = {
        name: replace(goal, **{field.name: _vectors(getattr(goal, field.name)) for field in fields(goal)})
        for name, goal in _goals(ctx).items()
    }
    changes |= {
        "state": RobotState(**bodies(ctx.state), read=read),
        "targets": ctx.targets[:, indices] * signs,
        "previous_targets": ctx.previous_targets[:, indices] * signs,
        "motion": reference(ctx.motion),
        "upcoming": reference(ctx.upcoming),
    }
    return replace(ctx, **changes)


def _goals(ctx: Context) -> dict[str, Goal]:
    values = {field.name: getattr(ctx, field.name) for field in fields(ctx)}
    return {name: value for name, value in values.items() if isinstance(value, Goal)}


def _vectors(part: Tensor) -> Tensor:
    """A field of a goal in the mirror: points and directions, on the ground or in space, turn their y around."""
    if part.dim() > 1 and part.is_floating_point() and part.shape[-1] in (2, 3):
        return part * torch.tensor(_POLAR[: part.shape[-1]])
    return part
