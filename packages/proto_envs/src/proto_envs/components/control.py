"""Controls, the only stateful parts of a task: they decide what the robot should do and say so in the context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from motionlib import BodyState, MotionLib
from poselib.rotations import quat_multiply
from poselib.skeleton import Skeleton
from proto_envs.components.user_control import Dial, Menu, Settings
from proto_envs.context import Context, ObjectState, ResetState
from proto_envs.terrain.ground import Ground, Lift

__all__ = ["AddUp", "Control", "Ghost", "Markers", "MotionReference", "ResetNoise"]

AddUp = Callable[[Tensor], object]
"""Adds a tensor up over all processes, in place, such as `torch.distributed.all_reduce`."""


@dataclass(frozen=True)
class Ghost:
    """A pose to draw beside each robot."""

    root_positions: Tensor
    """(N, 3) m, world"""
    local_rotations: Tensor
    """(N, B, 4); the root's is its orientation in the world"""


@dataclass(frozen=True)
class Markers:
    """Goals to draw: K spheres beside each robot, or arrows."""

    positions: Tensor
    """(N, K, 3) m, world"""
    color: tuple[float, float, float, float] = (0.9, 0.2, 0.2, 0.9)
    """red, green, blue, opacity in [0, 1]"""
    radius: float = 0.05
    """m, of the spheres or the arrows' shafts"""
    arrows: Tensor | None = None
    """(N, K, 3) m, from each position to the tip of its arrow; None: spheres"""

    def of(self, index: int) -> Markers:
        """Those of one environment, (K, 3)."""
        arrows = None if self.arrows is None else self.arrows[index]
        return Markers(self.positions[index], self.color, self.radius, arrows)


class Control:
    """Stateful task manager; subclasses override what they need. `ids` are (n,) long.

    In a step the environment calls `step`, judges the new state with the goals that the policy saw, then calls
    `observe`, and shows the policy what follows from that. In a reset it calls `reset`, then `begin`.
    """

    clip_names: tuple[str, ...] = ()
    """names of the clips that `info()["clip"]` numbers"""
    serves: ClassVar[str] = ""
    """the group of observations that alone shows what this control does: where it is not shown, the control is left
    out. Empty: it is always needed"""

    def reset(self, ids: Tensor, generator: torch.Generator) -> ResetState | None:
        """Begin new episodes; returns the start state if this control decides it."""

    def forget(self) -> None:
        """Drop what was drawn ahead of time: the generator has been seeded anew."""

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> ObjectState | None:
        """Place goals around the robots of new episodes; returns the start of the objects if this control decides it.

        Args:
            ids: (n,) environments.
            context: of these n environments, without the fields of controls.
            generator: of all randomness.
        """

    def step(self, generator: torch.Generator) -> None:
        """Advance by one control step."""

    def held_objects(self) -> ObjectState | None:
        """Where the objects that are held are after a step, all N environments; None: where they were."""

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """See where the robots are after a step, once it is judged, and choose new goals where it is time to.

        Args:
            context: of all N environments, without the fields of controls.
            generator: of all randomness.
        """

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """Fields of `Context` that this control fills in; None stands for all environments."""
        return {}

    def finished(self) -> Tensor | None:
        """(N,) bool: nothing is left to do (end of a clip), which truncates the episode. None: never."""

    def episode_ended(self, ids: Tensor, failed: Tensor) -> None:
        """Learn how episodes ended; `failed` is (n,) bool."""

    def learn_together(self, add_up: AddUp) -> None:
        """Learn of the episodes of all processes from now on; they have the same controls and step together."""

    def info(self) -> Mapping[str, Tensor]:
        """(N, ...) tensors for the `info` of a step, not aliased to the control's own."""
        return {}

    def dials(self) -> Sequence[Dial | Menu]:
        """What a person may set while robots move."""
        return ()

    def obey(self, settings: Settings, ids: Tensor) -> None:
        """Do in environments `ids` what a person has set, from the next step on, until told otherwise.

        Nobody's settings are part of `state_dict`. Episodes that begin later may forget them.

        Args:
            settings: of some of the `dials`; empty: the task decides again.
            ids: (n,).
        """

    def renew(self, ids: Tensor) -> bool:
        """Choose other goals in environments `ids` (n,) with the next step; False: this control does not do that."""
        return False

    def ghost(self) -> Ghost | None:
        """A pose to draw beside each robot."""

    def markers(self) -> Sequence[Markers]:
        """Goals to draw."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly from here."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`, whose tensors are live ones unless a control says otherwise."""
        for name, live in self.state_dict().items():
            live.copy_(state[name])


@dataclass(frozen=True)
class ResetNoise:
    """Standard deviations of normal noise on the state that an episode starts from."""

    joints: float = 0.0
    """rad, each joint coordinate"""
    root_velocity: float = 0.0
    """m/s, each axis"""
    joint_velocities: float = 0.0
    """rad/s, each joint coordinate"""

    def apply(self, state: ResetState, skeleton: Skeleton, generator: torch.Generator) -> ResetState:
        """A noisy copy of `state`; the same one where all deviations are 0."""
        if not (self.joints or self.root_velocity or self.joint_velocities):
            return state

        def draw(like: Tensor, deviation: float) -> Tensor:
            return deviation * torch.randn(like.shape, generator=generator, device=like.device)

        local_rotations, dof_positions = state.local_rotations, state.dof_positions
        if self.joints:
            turn = skeleton.local_rotations_from_dofs(draw(state.dof_velocities, self.joints))
            local_rotations = quat_multiply(local_rotations, turn)
            dof_positions = skeleton.dofs_from_local_rotations(local_rotations)
        return replace(
            state,
            local_rotations=local_rotations,
            dof_positions=dof_positions,
            root_velocity=state.root_velocity + draw(state.root_velocity, self.root_velocity),
            dof_velocities=state.dof_velocities + draw(state.dof_velocities, self.joint_velocities),
        )


class MotionReference(Control):
    """Plays a clip of a motion library beside each robot: the reference it should imitate.

    Clips are drawn by weight times how often they failed of late, start times uniformly (reference-state
    initialisation, DeepMimic), so that hard clips are practised more.

    Poses are asked of the library once: what was k + 1 steps ahead is, a step later, k steps ahead. `times` therefore
    counts whole steps from the start of an episode, so that a moment has the same time whenever it is asked for.
    """

    def __init__(
        self,
        library: MotionLib,
        num_envs: int,
        dt: float,
        *,
        future_steps: tuple[int, ...] = (1,),
        start: str = "random",
        start_at_zero: float = 0.0,
        failure_weighting: bool = True,
        failure_rate_step: float = 0.05,
        failure_floor: float = 0.1,
        noise: ResetNoise | None = None,
        ground: Ground | None = None,
        lift: Lift = "root",
        allowed: Tensor | None = None,
        repeat: bool | Sequence[str] = True,
    ) -> None:
        """Give every environment a clip; `reset` draws which.

        Args:
            library: the clips, on the environment's device.
            num_envs: N.
            dt: s per control step.
            future_steps: control steps ahead that `Context.future` shows.
            start: "random" phase, "zero", or "sequential": environment i plays clip i (modulo their number) from 0.
            start_at_zero: share of episodes that start at time 0 although `start` is "random".
            failure_weighting: draw clips by failure rate.
            failure_rate_step: weight of one episode in the running failure rate of its clip.
            failure_floor: added to the rate, so that solved clips are still practised.
            noise: on the robot's start state.
            ground: what the reference moves on; None: flat.
            lift: how it is raised onto uneven ground.
            allowed: (N, M) bool, clips that each environment may play; None: all.
            repeat: whether clips that wrap go on beyond their end, over and over, or names of those that do; names
                of clips that are not in the library do not matter.

        Raises:
            ValueError: for an unknown `start` or a clip that cannot repeat.
        """
        if start not in ("random", "zero", "sequential"):
            raise ValueError(f"start={start!r}: there are 'random', 'zero' and 'sequential'")
        device = library.device
        self.library = library
        self.clip_names = tuple(library.names)
        self.dt = dt
        self.start = start
        self.start_at_zero = start_at_zero
        self.failure_weighting = failure_weighting
        self.failure_rate_step = failure_rate_step
        self.failure_floor = failure_floor
        self.noise = noise or ResetNoise()
        self.ground = ground
        self.lift = lift
        self.allowed = allowed
        self.repeats = _repeating(library, repeat)
        """(M,) bool, clips that go on beyond their end"""
        self.clips = torch.zeros(num_envs, dtype=torch.long, device=device)
        self.starts = torch.zeros(num_envs, device=device)
        self.played = torch.zeros(num_envs, dtype=torch.long, device=device)
        self.failure_rates = torch.full((library.num_motions,), 0.5, device=device)
        self._ended = torch.zeros(2, library.num_motions, device=device)
        """episodes of each clip and failures among them that its rate does not know of yet"""
        self._add_up: AddUp | None = None
        self._moments = (0, *future_steps)
        self._window: list[BodyState] | None = None
        """the reference of all environments at `_moments`; None where it has to be looked up"""

    @property
    def times(self) -> Tensor:
        """(N,) s from the start of the clip; goes on beyond its end where the clip repeats."""
        return self.starts + self.played * self.dt

    def reset(self, ids: Tensor, generator: torch.Generator) -> ResetState:
        """Draw clips and start times; the robot starts in the reference pose, give or take the noise."""
        clips, times = self._draw(ids, generator)
        self.clips[ids], self.starts[ids], self.played[ids] = clips, times, 0
        now = self._renew(ids)
        local_rotations, dof_velocities = self.library.get_joint_state(clips, times)
        skeleton = self.library.skeleton
        start = ResetState(
            root_position=now.body_positions[:, 0],
            local_rotations=local_rotations,
            dof_positions=skeleton.dofs_from_local_rotations(local_rotations),
            root_velocity=now.body_velocities[:, 0],
            root_angular_velocity=now.body_angular_velocities[:, 0],
            dof_velocities=dof_velocities,
        )
        return self.noise.apply(start, skeleton, generator)

    def _draw(self, ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clips (n,) and times in them (n,) s, at which new episodes begin."""
        clips = self._draw_clips(ids, generator)
        times = self.library.sample_times(clips, generator)
        if self.start != "random":
            return clips, torch.zeros_like(times)
        at_zero = torch.rand(len(ids), generator=generator, device=times.device) < self.start_at_zero
        return clips, times.masked_fill(at_zero, 0.0)

    def _draw_clips(self, ids: Tensor, generator: torch.Generator) -> Tensor:
        weights = self.library.weights
        if self.failure_weighting:
            weights = weights * (self.failure_rates + self.failure_floor)
        if self.allowed is None:
            if self.start == "sequential":
                return ids % self.library.num_motions
            return self.library.sample_motions(len(ids), generator, weights)
        allowed = self.allowed[ids]
        if self.start == "sequential":
            turn = ids % allowed.sum(1) + 1
            return (allowed.cumsum(1) == turn.unsqueeze(1)).int().argmax(1)
        return torch.multinomial(allowed * weights.clamp_min(1e-9), 1, generator=generator).squeeze(1)

    def step(self, generator: torch.Generator) -> None:
        """Move the clips on."""
        if self._add_up is not None and self.failure_weighting:
            self._add_up(self._ended)
            self._count_ended()
        self.played += 1
        if self._window is None:
            return
        known = dict(zip(self._moments, self._window, strict=True))
        missing = [moment for moment in self._moments if moment + 1 not in known]
        known |= {moment + 1: state for moment, state in zip(missing, self._look(missing), strict=True)}
        self._window = [known[moment + 1] for moment in self._moments]

    def context(self, ids: Tensor | None) -> dict[str, BodyState]:
        """The reference now (`motion`) and at the future moments (`upcoming`)."""
        if self._window is None:
            self._window = self._look(self._moments)
        window = self._window if ids is None else [state.map(lambda field: field[ids]) for state in self._window]
        fields = zip(*(vars(state).values() for state in window[1:]), strict=True)
        upcoming = BodyState(*(torch.stack(moments, dim=1) for moments in fields))
        return {"motion": self._on_ground(window[0], ids), "upcoming": self._on_ground(upcoming, ids)}

    def _on_ground(self, state: BodyState, ids: Tensor | None) -> BodyState:
        return state if self.ground is None else self.ground.lifted(state, ids, self.lift)

    def _look(self, moments: Sequence[int], ids: Tensor | None = None) -> list[BodyState]:
        """The reference at each of `moments` (control steps from now), (n, ...) each, in one query."""
        chosen = (self.clips, self.starts, self.played)
        clips, starts, played = chosen if ids is None else (part[ids] for part in chosen)
        times = torch.cat([starts + (played + moment) * self.dt for moment in moments])
        state = self.library.get_body_state(clips.repeat(len(moments)), times)
        parts = [field.split(len(clips)) for field in vars(state).values()]
        return [BodyState(*fields) for fields in zip(*parts, strict=True)]

    def ahead(self, steps: Tensor, ids: Tensor | None = None) -> BodyState:
        """The reference at other moments than the usual ones, in the world.

        Args:
            steps: (n, K) control steps from now, of all environments or of `ids`.
            ids: (n,); None for all.

        Returns:
            (n, K, ...) in each field.
        """
        clips, times = (part if ids is None else part[ids] for part in (self.clips, self.times))
        moments = times.unsqueeze(1) + steps * self.dt
        state = self.library.get_body_state(clips.repeat_interleave(steps.shape[1]), moments.flatten())
        return self._on_ground(state.map(lambda field: field.unflatten(0, tuple(steps.shape))), ids)

    def remaining(self) -> Tensor:
        """(N,) long, control steps until `finished`; 2³⁰ where the clip repeats."""
        left = (self.library.durations[self.clips] - self.times) / self.dt - 0.5
        return left.ceil().long().clamp_min(0).masked_fill(self.repeats[self.clips], 2**30)

    def _renew(self, ids: Tensor) -> BodyState:
        """Look up what `ids` see after a reset; returns their reference now."""
        fresh = self._look(self._moments, ids)
        if self._window is not None:
            for live, new in zip(self._window, fresh, strict=True):
                for field, rows in zip(vars(live).values(), vars(new).values(), strict=True):
                    field.index_copy_(0, ids, rows)
        return fresh[0]

    def joints_at(self, ahead: float) -> tuple[Tensor, Tensor]:
        """Local rotations (N, B, 4) and joint velocities (N, D) of the reference `ahead` s from now."""
        return self.library.get_joint_state(self.clips, self.times + ahead)

    def finished(self) -> Tensor:
        """True at the end of a clip that does not repeat."""
        ended = self.times + 0.5 * self.dt >= self.library.durations[self.clips]
        return ended & ~self.repeats[self.clips]

    def episode_ended(self, ids: Tensor, failed: Tensor) -> None:
        """Move the failure rate of each clip towards the share of its episodes that failed."""
        self._ended.index_add_(1, self.clips[ids], torch.stack([torch.ones_like(failed), failed]).float())
        if self._add_up is None:
            self._count_ended()

    def _count_ended(self) -> None:
        count, failures = self._ended
        keep = (1.0 - self.failure_rate_step) ** count
        self.failure_rates.mul_(keep).add_((1.0 - keep) * failures / count.clamp_min(1.0))
        self._ended.zero_()

    def learn_together(self, add_up: AddUp) -> None:
        """Count the episodes of all processes, who must have the same clips, with the next step."""
        self._add_up = add_up

    def info(self) -> dict[str, Tensor]:
        """The number of the clip that each environment plays."""
        return {"clip": self.clips.clone()}

    def ghost(self) -> Ghost:
        """The reference now."""
        local_rotations, _ = self.joints_at(0.0)
        return Ghost(self.context(None)["motion"].body_positions[:, 0], local_rotations)

    def state_dict(self) -> dict[str, Tensor]:
        """Clips, where in them the episodes began, steps since then, and failure rates."""
        names = ("clips", "starts", "played", "failure_rates")
        waiting = {} if self._add_up is None else {"ended": self._ended}
        return {name: getattr(self, name) for name in names} | waiting

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        for name, live in self.state_dict().items():
            live.copy_(state[name])
        self._window = None


def _repeating(library: MotionLib, repeat: bool | Sequence[str]) -> Tensor:
    if isinstance(repeat, bool):
        return library.loops & repeat
    named = torch.tensor([name in repeat for name in library.names], device=library.device)
    if bool((named & ~library.loops).any()):
        wrong, able = (
            [library.names[i] for i in rows.nonzero().flatten()] for rows in (named & ~library.loops, library.loops)
        )
        raise ValueError(f"repeat: {wrong[0]!r} is not a clip that wraps; those that do are {able}")
    return named
