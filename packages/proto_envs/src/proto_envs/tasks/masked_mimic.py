"""MaskedMimic: make the parts of poses that are asked for come true; the rest is free (Tessler et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal, get_args

from torch import Tensor

from proto_envs.components import observations, tokens
from proto_envs.components.actions import ActionMap, absolute_actions, absolute_targets
from proto_envs.components.clip_goals import ClipGoals
from proto_envs.components.control import Control, MotionReference
from proto_envs.components.engineered.key_poses import KeyPoses
from proto_envs.components.ground import height_map
from proto_envs.components.masking import MaskRules
from proto_envs.components.pose_history import ClipOrigin, PoseHistory
from proto_envs.components.sparse_goals import SparseGoals, SparseShape
from proto_envs.components.start import StartStates
from proto_envs.components.terms import Components, Kernel
from proto_envs.scenes import Scene
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_engineering import Sit, engineered
from proto_envs.tasks.mimic import Mimic

__all__ = ["V3", "GoalSource", "MaskedMimic"]

GoalSource = Literal["clip", "inbetween", "reach", "path", "steering", "speed", "object", "story", "user"]
"""clip: masked poses of a reference, drawn at random. The others are controllers made by hand that need no training:
they write the same goals, so that a policy is driven by them as it is (`proto_envs.tasks.goal_engineering`)"""

_IN_SCENES = ("clip", "inbetween", "object")

V3: Mapping[str, Any] = {
    "tokens": "v3",
    "near_frames": 0,
    "far_poses": 5,
    "far_hidden": 0.2,
    "far_repeat": 0.8,
    "text_size": 0,
    "history_length": 5,
}
"""fields as in ProtoMotions 3: `task={**V3}`"""


@dataclass(frozen=True, kw_only=True)
class MaskedMimic(Mimic, MaskRules):
    """Imitate clips of which only parts are shown. Beneath is `Mimic`: its reference, rewards, ends and metrics.

    Observation groups, each (N, F), with T = near_frames + far_poses slots and H moments of history; for six bodies
    (all built-in robots) and SMPL:

    - "policy": all that the policy may know in one row, history left out.
    - "self" 358: the body's own state. "previous_targets" D.
    - "sparse_poses" T x 184, "sparse_poses_mask" T: the near frames, then the in-between poses.
    - "history" H x 217, "history_mask" H.
    - "terrain" 256, where the task sees the ground.
    - "text" E, "text_mask" 1, where motions have embeddings, or `text_size` is set.
    - "object" 37, "object_mask" 1, in scenes.
    - "expert": what the full-body tracker sees, whose actions are to be imitated (`Mimic` with the same fields, and
      `expert_action` for its action); only with goals from clips.

    ProtoMotions 1 makes 30 tokens of these: self 1, terrain 1, sparse poses 11 of 184, history 15 of 217, text 1 of
    512, object 1 of 37 (in scenes). ProtoMotions 3 makes 11: self 1, sparse poses 5 of 157, history 5 of 359, with
    `task={**V3}`; there the previous targets go to the decoder. The masks say which tokens to attend to.
    """

    rewards: Literal["v3", "v1", "tight"] = "v1"
    """kernel set of the tracking rewards; MaskedMimic's paper has version 1's. Distillation only logs them"""
    termination_distance: float | None = 0.25
    """m; an episode fails when any body is farther from its reference (ProtoMotions 1: 0.5 on uneven ground and beside
    objects). None: never"""
    expert_action: Literal["absolute", "residual"] = "absolute"
    """how the tracker acts that is imitated: as this task does, or by offsets from the next reference pose
    (`residual_scale`, `residual_lead`), which `ProtoVectorEnv.expert_action` turns into actions of this task"""
    goal: GoalSource = "clip"
    """who asks"""
    goal_options: Mapping[str, Any] = field(default_factory=dict)
    """fields of the controller's own task, such as `{"speed": (0.5, 1.0)}` for steering"""
    inbetween_seconds: float = 1.0
    """s from one key pose to the next, where the goal is "inbetween"; its masks are those of `constraint`"""
    tokens: Literal["v1", "v3"] = "v1"
    """v1: the goals have a row for the root's velocity and heading, the history holds positions and rotations seen from
    now. v3: no such row, whole states as seen then"""
    text_size: int | None = None
    """numbers in the embedding of a sentence; None: as many as the motions' have, 0: no text"""
    history_length: int = 15
    """moments of the past (ProtoMotions 3: 5); 0: no history"""
    history_stride: int = 8
    """control steps between them: 15 times 8 steps are 4 s"""
    no_history_share: float = 0.0
    """share of the episodes that begin without a past"""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            ValueError: naming the field.
        """
        super().__post_init__()
        self.check("task MaskedMimic")
        for name, lowest in (("history_length", 0), ("history_stride", 1), ("text_size", 0)):
            if (getattr(self, name) or 0) < lowest and getattr(self, name) is not None:
                raise ValueError(f"task MaskedMimic: {name} must be at least {lowest}, got {getattr(self, name)}")
        if not self.inbetween_seconds > 0.0:
            raise ValueError(f"task MaskedMimic: inbetween_seconds must be positive, got {self.inbetween_seconds}")
        if not 0.0 <= self.no_history_share <= 1.0:
            raise ValueError(f"task MaskedMimic: no_history_share must be in [0, 1], got {self.no_history_share}")
        if self.action != "absolute":
            raise ValueError("task MaskedMimic: a residual action would tell the policy what is hidden; use 'absolute'")
        if self.goal not in get_args(GoalSource):
            raise ValueError(f"task MaskedMimic: goal {self.goal!r}; there are {list(get_args(GoalSource))}")

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """Something to sit on, for the goal "object"; other goals have scenes only where they are given."""
        return Sit().scenes if self.goal == "object" else ()

    @property
    def needs_contact_forces(self) -> bool:
        """Of the rewards; and a fall, which ends the controllers' episodes, is a contact."""
        return self.goal not in ("clip", "inbetween") or super().needs_contact_forces

    def components(self, setup: Setup) -> Components:
        """What is beneath, the goals, the history, and the groups that show them."""
        if setup.scenes is not None and self.goal not in _IN_SCENES:
            raise ValueError(f"task MaskedMimic: goal {self.goal!r} has no place for scenes; {list(_IN_SCENES)} have")
        shape = self.sparse_shape(setup)
        beneath, goals = self._goals(setup, shape)
        controls: dict[str, Control] = {**beneath.controls, "goals": goals, **self.history(setup, beneath.controls)}
        senses = self.senses(setup, shape)
        groups = {"policy": [kernel for name in senses if name not in _APART for kernel in senses[name]], **senses}
        own: dict[str, Any] = {"action": absolute_targets(setup.robot, setup.device)}
        if self.goal == "clip":
            groups["expert"] = list(beneath.observations["policy"])
            own["expert_action"] = self._translation(beneath.action, setup)
        return replace(beneath, observations=groups, controls=controls, tokens={}, sample_style=None, **own)

    def _tracker(self) -> Mimic:
        """The full-body tracker with the same fields, acting as the expert does."""
        same = {entry.name: getattr(self, entry.name) for entry in fields(Mimic)}
        return Mimic(**{**same, "action": self.expert_action})

    def _translation(self, expert: ActionMap, setup: Setup) -> Callable[[Tensor], Tensor]:
        """From the expert's actions, with the targets that they mean, to actions of this task."""
        if self.expert_action == "absolute":
            return _unchanged
        actions_of = absolute_actions(setup.robot, setup.device)
        # Clamped as the expert's own environment clamps what it is given.
        return lambda actions: actions_of(expert(actions.clamp(-1.0, 1.0)))

    def _goals(self, setup: Setup, shape: SparseShape) -> tuple[Components, SparseGoals]:
        if self.goal not in ("clip", "inbetween"):
            return engineered(self.goal, self.goal_options, self.episode_seconds, setup, shape)
        beneath = self._tracker().components(setup)
        reference = beneath.controls["reference"]
        assert isinstance(reference, MotionReference)
        if self.goal == "inbetween":
            constraint = "full_body" if self.constraint == "random" else self.constraint
            where = (shape, setup.num_envs, setup.dt, setup.device)
            return beneath, KeyPoses(*where, reference, spacing=self.inbetween_seconds, constraint=constraint)
        steps = round(self.episode_seconds / setup.dt)
        return beneath, ClipGoals(shape, reference, self, episode_steps=steps, root_motion=self.tokens == "v1")

    # --- what the policy sees ----------------------------------------------------------------------------------------

    def sparse_shape(self, setup: Setup) -> SparseShape:
        """What goals the policy can be given."""
        embeddings = None if setup.motions is None else setup.motions.sub_motions.embeddings
        known = 0 if embeddings is None else embeddings.shape[-1]
        text_size = known if self.text_size is None else self.text_size
        return SparseShape(setup.robot, self.near_frames, self.far_poses, text_size)

    def senses(self, setup: Setup, shape: SparseShape) -> dict[str, list[Kernel]]:
        """The groups of which the policy makes tokens; `shape` is that of its goals."""
        sparse: Kernel = partial(tokens.sparse_poses, bodies=shape.bodies, root_motion=self.tokens == "v1")
        groups: dict[str, list[Kernel]] = {
            "self": [observations.proprioception],
            "previous_targets": [observations.previous_targets],
            "sparse_poses": [sparse],
            "sparse_poses_mask": [tokens.sparse_mask],
        }
        if self.ground_observations(setup):
            groups["terrain"] = [height_map]
        if shape.text_size:
            groups |= {"text": [tokens.text], "text_mask": [tokens.text_mask]}
        if seen := self.object_senses(setup):
            groups |= {"object": [seen], "object_mask": [tokens.object_mask]}
        if self.history_length:
            past = tokens.past_poses if self.tokens == "v1" else tokens.past_states
            groups |= {"history": [past], "history_mask": [tokens.history_mask]}
        return groups

    def object_senses(self, setup: Setup) -> Kernel | None:
        """What shows the object; None: the policy knows no objects."""
        return None if setup.scenes is None else tokens.object_box

    def history(self, setup: Setup, controls: Mapping[str, Control]) -> dict[str, Control]:
        """What remembers the past, under its name, where the policy sees it; `controls` say where episodes begin."""
        if not self.history_length:
            return {}
        bodies = setup.robot.skeleton.num_bodies
        poses = self.tokens == "v1"
        past = PoseHistory(
            setup.num_envs,
            setup.dt,
            setup.motions,
            _origin(controls),
            setup.ground,
            tokens.world_poses if poses else observations.proprioception,
            9 * bodies if poses else 15 * bodies - 2,
            length=self.history_length,
            stride=self.history_stride,
            none_share=self.no_history_share,
        )
        return {"history": past}


_APART = ("sparse_poses_mask", "history", "history_mask")
"""groups that the group "policy" does not repeat"""


def _unchanged(actions: Tensor) -> Tensor:
    return actions


def _origin(controls: Mapping[str, Control]) -> ClipOrigin:
    """Where episodes begin: in the reference, or where the start states say."""
    reference, start = controls.get("reference"), controls.get("start")
    if isinstance(reference, MotionReference):
        return lambda: (reference.clips, reference.times, reference.clips >= 0)
    assert isinstance(start, StartStates)
    return lambda: (start.clips, start.times, start.from_clip)
