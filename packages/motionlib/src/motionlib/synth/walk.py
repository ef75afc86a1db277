"""Walking at any speed along a straight or curved path, made of published joint curves instead of a recording."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from motionlib.motion import Motion, MotionError
from motionlib.synth.curves import adult_stride, gait_curves, speed_range
from motionlib.synth.figures import Figure, Side, figure
from motionlib.synth.footsteps import (
    Course,
    FootTargets,
    Path,
    Support,
    fit_support,
    foot_targets,
    smooth_cover,
    sole_of,
)
from motionlib.synth.legs import FootPose, place_feet
from motionlib.synth.posture import WalkStyle, foot_pitch, posture
from poselib.kinematics import forward_kinematics
from poselib.rotations import (
    quat_apply,
    quat_from_euler,
    quat_from_exp_map,
    quat_from_yaw,
    quat_multiply,
)

__all__ = ["synthesize_walk", "walking_speeds"]

_GRAVITY = 9.81
_SAMPLES = 240
"""at least so many phases of a stride are worked out"""
_ROUNDS = 8
_STRETCH = 0.999
"""of a straight leg's length, that a leg is stretched to at most"""
_MOST_TURN = 0.5 * math.pi
"""rad in a stride"""
_MOST_STRETCH = 1.05
"""times the stride that the joint curves make; adults take longer strides than the children of the curves"""
_SHIFT_COST = 0.4
"""m of a leg's lack that a meter is worth by which the feet stand off from where the joint curves have them"""
_MISS = 1e-3
"""m"""
_LEAN_SHARE = 0.4
"""of what the ankles can tilt; the rest is for the swaying of the legs"""
_GAP = 0.01
"""m between the insides of the feet, at least"""


def walking_speeds(character: str) -> tuple[float, float]:
    """Lowest and highest speed in m/s that there are curves for; both grow with the root of the leg's length.

    Raises:
        MotionError: listing the characters that can walk.
    """
    unit = math.sqrt(_GRAVITY * figure(character).leg_length)
    low, high = speed_range()
    return low * unit, high * unit


def synthesize_walk(
    character: str,
    speed: float,
    turn_rate: float = 0.0,
    *,
    duration: float = 5.0,
    fps: float = 30.0,
    style: WalkStyle | None = None,
    seed: int | None = None,
) -> Motion:
    """A walk that wraps, starting at the origin with the touch-down of the left foot, facing x.

    Args:
        character: name of a built-in character, see `FIGURES`.
        speed: m/s, within `walking_speeds`.
        turn_rate: rad/s, to the left.
        duration: s; rounded to whole strides, at least one.
        fps: frames per second.
        style: how it differs from the average walk.
        seed: draws a style instead.

    Raises:
        MotionError: for an unknown character, a speed that there are no curves for, a turn that these legs cannot
            reach, or a style beside a seed.
    """
    who = figure(character)
    style = _checked(character, speed, duration, fps, style, seed)
    froude = speed / math.sqrt(_GRAVITY * who.leg_length)
    stride = _Stride(who, froude, style)
    frames = max(round(stride.length / speed * fps), 2)
    period = frames / fps
    if not abs(turn_rate) * period <= _MOST_TURN:
        most = _MOST_TURN / period
        raise MotionError(
            f"{character!r} turns by at most {most:.2f} rad/s at {speed:g} m/s, not by {turn_rate:g} rad/s"
        )
    path = Path(speed, turn_rate)
    root, local = stride.on(path, period, frames)
    strides = max(round(duration / period), 1)
    return _unrolled(who, path, root, local, fps, strides, label=_label(speed, turn_rate))


def _checked(
    character: str, speed: float, duration: float, fps: float, style: WalkStyle | None, seed: int | None
) -> WalkStyle:
    low, high = walking_speeds(character)
    if not low <= speed <= high:
        raise MotionError(f"{character!r} walks at {low:.2f} to {high:.2f} m/s, not at {speed:g} m/s")
    if not (duration > 0 and fps > 0):
        raise MotionError(f"duration and fps must be positive, found {duration:g} s and {fps:g} frames per second")
    if style is not None and seed is not None:
        raise MotionError("give a style or a seed, not both")
    return WalkStyle.random(seed) if seed is not None else style or WalkStyle()


class _Stride:
    """One stride of a figure at a speed, before it is put on a path."""

    def __init__(self, who: Figure, froude: float, style: WalkStyle) -> None:
        self.who, self.froude, self.style = who, froude, style
        self.curves = gait_curves(froude)
        self.soles = sole_of(who, who.left), sole_of(who, who.right)
        natural = self._support(torch.arange(_SAMPLES).double() / _SAMPLES)[0].stride
        usual = adult_stride(froude) * who.leg_length
        self.stretch = style.stride * min(max(usual / natural, 1.0), _MOST_STRETCH)
        self.length = self.stretch * natural

    def _support(self, phase: Tensor) -> tuple[Support, Tensor, Tensor]:
        local = posture(self.who, self.curves, self.style, self.froude, phase)
        ankles = self._ankles(local)
        flat = []
        for i, sole in enumerate(self.soles):
            level, turned = sole.pivot_arm(foot_pitch(self.curves, phase + 0.5 * i))
            flat.append(ankles[:, i] + turned - level)
        depths = self.soles[0].depth, self.soles[1].depth
        return fit_support(phase, torch.stack(flat, dim=1), self.curves.foot_off, depths), local, ankles

    def _ankles(self, local: Tensor) -> Tensor:
        """(M, 2, 3) m from the root, in the moving frame."""
        positions, _ = forward_kinematics(self.who.skeleton, torch.zeros(len(local), 3).double(), local)
        return positions[:, self.who.skeleton.body_indices([side.ankle[-1] for side in self._sides])]

    @property
    def _sides(self) -> tuple[Side, Side]:
        return self.who.left, self.who.right

    def on(self, path: Path, period: float, frames: int) -> tuple[Tensor, Tensor]:
        """Root positions `(frames, 3)` and local rotations `(frames, B, 4)` of one stride, in the moving frame."""
        fine = -(-_SAMPLES // frames)
        phase = torch.arange(frames * fine).double() / (frames * fine)
        courses = [
            Course(
                path, period, (phase + 0.5 * i) % 1.0, self.curves.foot_off, foot_pitch(self.curves, phase + 0.5 * i)
            )
            for i in (0, 1)
        ]
        support, local, ankles = self._support(phase)
        local, lean = _leaning(local, path, self.who)
        root, ahead = support.root, support.print_ahead
        out = math.tan(lean) * float(root[:, 2].mean())
        aside = self._aside(support.print_aside)
        for attempt in range(_ROUNDS):
            hips = self._hips(root, local)
            prints = [(ahead, side.sign * aside - out) for side in self._sides]
            targets = self._targets(courses, root.unsqueeze(1) + ankles, prints)
            if attempt == 0:
                ahead += self._shift(hips, targets)
                continue
            lack = torch.stack([self._lack(i, hips[:, i], targets[i].position) for i in (0, 1)], dim=-1)
            lack = torch.where(torch.stack([t.stands for t in targets], dim=-1), lack, 0.0)
            if float(lack.max()) <= _MISS:
                feet = [self._pose(i, hips[:, i], targets[i], courses[i].pitch).every(fine) for i in (0, 1)]
                placed, miss = place_feet(self.who, root[::fine], local[::fine], (feet[0], feet[1]))
                if float(miss.max()) <= _MISS:
                    return root[::fine], self._with_toes(placed, [target.toe_bend[::fine] for target in targets])
                lack = torch.where(miss > _MISS, miss.clamp(max=0.02), 0.0).repeat_interleave(fine, dim=0)
            # A lower root leaves its feet where they stand.
            lower = smooth_cover(lack.amax(dim=-1), len(phase) // 12)
            root = root - lower.unsqueeze(-1) * torch.tensor([0.0, 0.0, 1.0])
        raise MotionError(
            f"{self.who.character!r} cannot walk {path.speed:g} m/s with {path.turn_rate:g} rad/s: "
            f"its legs are {1000 * float(lack.max()):.0f} mm too short; turn less or walk slower"
        )

    def _targets(self, courses: list[Course], nominal: Tensor, prints: list[tuple[float, float]]) -> list[FootTargets]:
        """Of both feet; `nominal` `(M, 2, 3)` m."""
        return [
            foot_targets(sole, courses[i], nominal[:, i], prints[i], self._sides[i].sign * self.style.toe_out)
            for i, sole in enumerate(self.soles)
        ]

    def _hips(self, root: Tensor, local: Tensor) -> Tensor:
        """(M, 2, 3) m."""
        bodies = self.who.skeleton.body_indices([self.who.flexing(side) for side in self._sides])
        return forward_kinematics(self.who.skeleton, root, local)[0][:, bodies]

    def _shift(self, hips: Tensor, targets: list[FootTargets]) -> float:
        """How far ahead, in m, both feet had better stand, so that no leg is asked for too much."""
        shifts = torch.linspace(-0.08, 0.04, 25).tolist()

        def worst(shift: float) -> float:
            move = torch.tensor([shift, 0.0, 0.0])
            return max(
                float(self._lack(i, hips[:, i], t.position + move)[t.stands].max()) for i, t in enumerate(targets)
            )

        return min(shifts, key=lambda shift: worst(shift) + _SHIFT_COST * abs(shift))

    def _with_toes(self, local: Tensor, bends: list[Tensor]) -> Tensor:
        for side, bend in zip(self._sides, bends, strict=True):
            if side.toe:
                toe = self.who.skeleton.body_indices([side.toe])[0]
                turn = torch.tensor([0.0, -1.0, 0.0]) * bend.unsqueeze(-1)
                local[:, toe] = quat_from_exp_map(turn)
        return local

    def _lack(self, index: int, hip: Tensor, ankle: Tensor) -> Tensor:
        """How far the root must come down for a leg to reach, `(M,)` m."""
        reach = _STRETCH * self.who.reach(self._sides[index])
        height = (reach**2 - (hip - ankle)[:, :2].square().sum(dim=-1)).clamp(min=0.0).sqrt()
        return (hip[:, 2] - ankle[:, 2] - height).clamp(min=0.0)

    def _aside(self, usual: float) -> float:
        if self.style.step_width is not None:
            return 0.5 * self.style.step_width
        return max(usual, *(sole.inner + 0.5 * _GAP for sole in self.soles))

    def _pose(self, index: int, hip: Tensor, target: FootTargets, pitch: Tensor) -> FootPose:
        """Where the foot goes; one that swings further than the leg is long is held back."""
        side = self._sides[index]
        leg = target.position - hip
        share = (_STRETCH * self.who.reach(side) / leg.norm(dim=-1, keepdim=True)).clamp(max=1.0)
        position = torch.where(target.stands.unsqueeze(-1), target.position, hip + share * leg)
        angles = torch.stack([target.yaw, -pitch, 0 * pitch], dim=-1)
        body = self.who.skeleton.body_indices([side.ankle[-1]])[0]
        rest = self.who.rest_rotations[body].expand(len(pitch), 4)
        return FootPose(side, position, quat_multiply(quat_from_euler("ZYX", angles), rest))


def _leaning(local: Tensor, path: Path, who: Figure) -> tuple[Tensor, float]:
    """The whole body leans into a turn by the angle of the force that it feels, as far as its feet can tilt."""
    most = _LEAN_SHARE * who.foot_tilt
    lean = min(max(math.atan(path.speed * path.turn_rate / _GRAVITY), -most), most)
    roll = quat_from_exp_map(torch.tensor([-lean, 0.0, 0.0]).double())
    local = local.clone()
    local[:, 0] = quat_multiply(roll.expand(len(local), 4), local[:, 0])
    return local, lean


def _unrolled(who: Figure, path: Path, root: Tensor, local: Tensor, fps: float, strides: int, label: str) -> Motion:
    """The stride again and again along the path, and the first frame of the next one."""
    count = strides * len(root) + 1
    frames = torch.arange(count) % len(root)
    position, yaw = path.at(torch.arange(count).double() / fps)
    turn = quat_from_yaw(yaw)
    rotations = local[frames]
    rotations[:, 0] = quat_multiply(turn, rotations[:, 0])
    skeleton = who.skeleton
    return Motion(
        name=f"walk_{path.speed:.2f}" + (f"_turn_{path.turn_rate:+.2f}" if path.turn_rate else ""),
        fps=fps,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=quat_apply(turn, root[frames]) + torch.cat([position, torch.zeros(count, 1)], dim=-1),
        local_rotations=rotations,
        loop="wrap",
        labels=(label,),
        source="synthesized by motionlib from mean joint angles of Schwartz et al., 2008",
    )


def _label(speed: float, turn_rate: float) -> str:
    pace = "slowly" if speed < 1.0 else "fast" if speed > 1.6 else "forward"
    if abs(turn_rate) < 0.05:
        return f"a person walks {pace}"
    return f"a person walks {pace} and turns {'left' if turn_rate > 0 else 'right'}"
