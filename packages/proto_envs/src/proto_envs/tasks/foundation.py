"""A MaskedMimic policy as the foundation of another task: beside the task's own groups, all that such a policy sees.

For Task Tokens (Vainshtein et al. 2025): the policy stays as it was trained, and one more token, made of the task's
goal, tells it what to do. What it was trained to be asked for is hidden, unless a prior is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from proto_envs.components import tokens
from proto_envs.components.captions import label_embedding
from proto_envs.components.control import Control
from proto_envs.components.engineered.foundation import FoundationGoals
from proto_envs.components.engineered.strike import StrikeGoals
from proto_envs.components.engineered.track import TrackGoals
from proto_envs.components.jumping import JumpTrack
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape
from proto_envs.components.terms import Components, Kernel
from proto_envs.tasks.base import Setup, Task
from proto_envs.tasks.goal_engineering import Drive, drive_path, drive_reach, drive_steering
from proto_envs.tasks.goal_task import GoalTask
from proto_envs.tasks.long_jump import LongJump
from proto_envs.tasks.masked_mimic import MaskedMimic
from proto_envs.tasks.path_follow import PathFollow
from proto_envs.tasks.reach import Reach
from proto_envs.tasks.steering import Steering
from proto_envs.tasks.strike import Strike

__all__ = ["Foundation", "with_foundation_senses"]


@dataclass(frozen=True, kw_only=True)
class Foundation(MaskedMimic):
    """The task that a policy was trained on, of which only what the policy sees counts here, and priors of its own.

    What says how a policy sees: `near_frames`, `far_poses`, `tokens`, `text_size`, `history_length`, `history_stride`,
    `no_history_share` and `see_ground`; and what follows from where it was trained rather than from a field.
    """

    object_token: bool = False
    """whether the policy reads of an object, as one that was trained in scenes does; none is ever shown to it"""
    conditioning: bool = False
    """ask, too, for what a controller made by hand asks for in this task (Task Tokens: joint conditioning)"""
    prior_text: str = ""
    """a label of the motions that is told all the time; none if empty"""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From the fields of a run's task, and those above.

        Raises:
            TypeError: for what is no mapping, an unknown field, naming the nearest, or a value of the wrong type.
            ValueError: for a value that makes no sense.
        """
        if not isinstance(given, Mapping):
            raise TypeError(f"foundation={given!r}: want a mapping of fields of MaskedMimic to values")
        try:
            return cls.configured(given)
        except (TypeError, ValueError) as error:
            raise type(error)(f"foundation: {error}") from error

    def object_senses(self, setup: Setup) -> Kernel | None:
        """No object; the scene of a task is not one that the policy is to use."""
        del setup
        return tokens.no_object if self.object_token else None


def with_foundation_senses(components: Components, setup: Setup, task: Task, foundation: Foundation) -> Components:
    """A task's parts, and the groups and controls that show a MaskedMimic policy what it sees, its goals hidden.

    Args:
        components: of the task.
        setup: the environment.
        task: what is to be done.
        foundation: what the policy sees.

    Raises:
        ValueError: if the task has no goal of its own or groups of the same names, for a text that is no label, or for
            conditioning where the task has no controller.
    """
    if not isinstance(task, GoalTask):
        raise ValueError(f"foundation: task {type(task).__name__} has no goal that a token could tell a policy")
    shape = foundation.sparse_shape(setup)
    text = None
    if foundation.prior_text:
        if not shape.text_size:
            raise ValueError(
                f"foundation: prior_text {foundation.prior_text!r}: the policy reads no words, as its text_size is 0,"
                " or None and the motions have no embeddings"
            )
        text = label_embedding(setup.motions, shape.text_size, foundation.prior_text)
    controller = _controller(task, setup, shape, components.controls) if foundation.conditioning else None
    goals = FoundationGoals(shape, setup.num_envs, setup.device, controller=controller, text=text)
    senses = foundation.senses(setup, shape)
    controls = {"goals": goals, **foundation.history(setup, components.controls)}
    for what, new, old in (("groups", senses, components.observations), ("controls", controls, components.controls)):
        if taken := sorted(set(new) & set(old)):
            raise ValueError(f"foundation: task {type(task).__name__} has {what} {taken} of its own")
    return replace(
        components,
        observations={**components.observations, **senses},
        controls={**components.controls, **controls},
    )


def _controller(task: GoalTask, setup: Setup, shape: SparseShape, controls: Mapping[str, Control]) -> EngineeredGoals:
    """The controller made by hand for a task or what it is derived from."""
    drive = next((drive for kind, drive in _CONTROLLERS.items() if isinstance(task, kind)), None)
    if drive is None:
        able = [kind.__name__ for kind in _CONTROLLERS]
        raise ValueError(
            f"foundation: conditioning: task {type(task).__name__} has no controller made by hand; those of {able} have"
        )
    return drive(task, setup, shape, controls.get("goal"))


def _drive_strike(task: GoalTask, setup: Setup, shape: SparseShape, command: Control | None) -> EngineeredGoals:
    del command
    assert isinstance(task, Strike)
    return StrikeGoals(shape, setup.num_envs, setup.dt, setup.device, down=task.success_up)


def _drive_long_jump(task: GoalTask, setup: Setup, shape: SparseShape, command: Control | None) -> EngineeredGoals:
    assert isinstance(task, LongJump) and isinstance(command, JumpTrack)
    return TrackGoals(shape, setup.num_envs, setup.dt, setup.device, command, line=task.line)


_CONTROLLERS: Mapping[type[GoalTask], Drive] = {
    Steering: drive_steering,  # and Facing, which is derived from it
    PathFollow: drive_path,
    Reach: drive_reach,
    Strike: _drive_strike,
    LongJump: _drive_long_jump,
}
