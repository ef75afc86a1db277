"""Goals that a person gives: by a script of timed commands, or while the robot moves (keyboard, program)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionlib import MotionLib
from poselib.rotations import heading_angle
from proto_envs.components.captions import Captions
from proto_envs.components.engineered.steering import ask_to_walk
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape, place_body
from proto_envs.components.user_control import Dial, Menu, Settings, angle_dial
from proto_envs.context import Context
from proto_envs.goals import SparseGoal

__all__ = ["UserCommand", "UserGoals", "read_script"]


@dataclass(frozen=True, kw_only=True)
class UserCommand:
    """What a person wants; each field that is None leaves that free."""

    at: float = 0.0
    """s after the beginning of an episode, from when on it holds, in place of all before"""
    direction: float | None = None
    """degrees, to the left of the world's x axis: where to walk"""
    speed: float = 1.0
    """m/s, with a direction"""
    facing: float | None = None
    """degrees, like `direction`: where to face; with a direction and without this, along it"""
    head: float | None = None
    """m over the ground, height of the head"""
    left_hand: tuple[float, float, float] | None = None
    """m, where the hand should be: forward and left of the pelvis, and over the ground"""
    right_hand: tuple[float, float, float] | None = None
    """m, the same"""
    text: str | None = None
    """a label of the motions, with an embedding"""

    def __post_init__(self) -> None:
        """Refuse what is no number.

        Raises:
            ValueError: naming the field.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "text" or value is None:
                if not isinstance(value, str | None):
                    raise ValueError(f"user command: text must be a string, got {value!r}")
                continue
            parts = value if field.name.endswith("hand") else (value,)
            wanted = 3 if field.name.endswith("hand") else 1
            if not isinstance(parts, list | tuple) or len(parts) != wanted or not all(map(_is_finite, parts)):
                raise ValueError(f"user command: {field.name} wants {wanted} finite number(s), got {value!r}")
        if self.at < 0 or self.speed < 0:
            raise ValueError(f"user command: at and speed must not be negative, got {self.at} and {self.speed}")

    @classmethod
    def of(cls, entry: Any) -> UserCommand:  # noqa: ANN401
        """From a mapping, as it stands in JSON.

        Raises:
            ValueError: naming what is unknown or wrong.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(entry, Mapping) or (unknown := set(entry) - set(names)):
            wrong = f"{sorted(map(str, unknown))} of {entry!r}" if isinstance(entry, Mapping) else repr(entry)
            raise ValueError(f"user command: {wrong} is unknown; want a mapping with some of {names}")
        return cls(**entry)


def read_script(path: str | Path) -> tuple[UserCommand, ...]:
    """Commands from a JSON file: a list of mappings with the fields of `UserCommand`, in order of `at`.

    Raises:
        ValueError: naming the file and what is wrong.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise ValueError(f"want a list of commands, found {type(entries).__name__}")
        return tuple(map(UserCommand.of, entries))
    except (OSError, ValueError) as error:
        raise ValueError(f"script {path}: {error}") from error


class UserGoals(EngineeredGoals):
    """Asks for what it was told; `say` tells it more while the robots move."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        motions: MotionLib | None,
        script: Sequence[UserCommand] = (),
    ) -> None:
        """Begin with no command.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            motions: whose labels texts may be.
            script: commands that every episode is given.

        Raises:
            ValueError: for a script out of order, or a text that no clip is labelled with.
        """
        super().__init__(shape, num_envs, dt, device)
        if any(a.at > b.at for a, b in pairwise(script)):
            raise ValueError(f"user commands must be in order of time, got {[command.at for command in script]}")
        self._captions = None if motions is None else Captions(motions, shape.text_size)
        self.numbers = torch.full((num_envs, _NUMBERS), math.nan, device=device)
        """(N, 10) direction, speed, facing, head, left hand 3, right hand 3; NaN: free"""
        self.text = torch.zeros(num_envs, shape.text_size, device=device)
        self.spoken = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self._script = [(round(command.at / dt), *self._encoded(command)) for command in script]

    def say(self, command: UserCommand, ids: Tensor | None = None) -> None:
        """Give a command to some environments, or to all, in place of the one before; `at` is of no meaning here.

        Raises:
            ValueError: for a text that no clip is labelled with.
        """
        rows = slice(None) if ids is None else ids
        self.numbers[rows], text = self._encoded(command)
        self.spoken[rows] = text is not None
        self.text[rows] = 0.0 if text is None else text

    def dials(self) -> Sequence[Dial | Menu]:
        """Where to walk and how fast, where to face, how high the head is, and the labels of the motions."""
        shown: list[Dial | Menu] = [
            angle_dial("direction", role="turn"),
            Dial(name="speed", unit="m/s", low=0.0, high=_FASTEST, step=0.1, start=1.0, role="pace"),
            angle_dial("facing"),
        ]
        if "head" in self.shape.roles:
            low, start, high = (round(share * self.shape.robot.default_root_height, 1) for share in (0.5, 1.6, 2.0))
            shown.append(Dial(name="head", unit="m", low=low, high=high, step=0.05, start=start))
        if self._captions is not None and (labels := self._captions.labels):
            shown.append(Menu(name="text", options=(_SILENCE, *labels), start=_SILENCE))
        return shown

    def obey(self, settings: Settings, ids: Tensor) -> None:
        """Say what was set: a speed alone is along the world's x axis."""
        said: dict[str, Any] = {name: value for name, value in settings.items() if value != _SILENCE}
        if "speed" in said:
            said.setdefault("direction", 0.0)
        self.say(UserCommand.of(said), ids)

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Forget what was said; an episode has its script from the beginning."""
        self.numbers[ids], self.text[ids], self.spoken[ids] = math.nan, 0.0, False
        self._follow_script(context.steps, ids)
        super().begin(ids, context, generator)

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Take the next command of the script where it is time to, then ask."""
        self._follow_script(context.steps, torch.arange(len(context.steps), device=context.steps.device))
        super().observe(context, generator)

    def _follow_script(self, steps: Tensor, ids: Tensor) -> None:
        for begin, numbers, text in self._script:
            now = (steps == begin).unsqueeze(1)
            self.numbers[ids] = torch.where(now, numbers, self.numbers[ids])
            words = torch.zeros_like(self.text[0]) if text is None else text
            self.text[ids] = torch.where(now, words, self.text[ids])
            self.spoken[ids] = torch.where(now.squeeze(1), text is not None, self.spoken[ids])

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """What the person wants of the robot where it is now."""
        goal = self.nothing(context)
        numbers, text, spoken = (part if ids is None else part[ids] for part in (self.numbers, self.text, self.spoken))
        given, values = ~numbers.isnan(), numbers.nan_to_num()
        now = heading_angle(context.state.body_rotations[:, 0])
        walks, turns = given[:, 0], given[:, 0] | given[:, 2]
        yaw = torch.where(given[:, 2], values[:, 2], torch.where(walks, values[:, 0], now))
        course = torch.stack([torch.cos(values[:, 0]), torch.sin(values[:, 0])], dim=-1)
        velocity = (values[:, 1] * walks).unsqueeze(-1) * course
        ask_to_walk(self, goal, context, velocity, yaw, where=turns)
        goal.wait[:, -1] = self.steps_in(1.0)
        root, terrain = context.state.body_positions[:, 0], context.terrain
        if "head" in self.shape.roles:
            over = root[:, :2] + velocity
            height = terrain.heights(over) + values[:, 3]
            place = torch.cat([over, height.unsqueeze(-1)], dim=-1)
            place_body(goal, -1, self.shape.row("head"), position=place, where=given[:, 3])
        turn = context.heading_matrix[:, :2, :2].transpose(1, 2)
        for role, first in (("left_hand", 4), ("right_hand", 7)):
            if role in self.shape.roles:
                wish = values[:, first : first + 3]
                over = root[:, :2] + velocity + (wish[:, None, :2] @ turn).squeeze(1)
                place = torch.cat([over, terrain.heights(over).unsqueeze(-1) + wish[:, 2:]], dim=-1)
                place_body(goal, -1, self.shape.row(role), position=place, where=given[:, first])
        goal.text.copy_(text)
        goal.text_shown.copy_(spoken)
        return goal

    def _encoded(self, command: UserCommand) -> tuple[Tensor, Tensor | None]:
        nothing = (math.nan,) * 3
        numbers = [
            math.nan if command.direction is None else math.radians(command.direction),
            math.nan if command.direction is None else command.speed,
            math.nan if command.facing is None else math.radians(command.facing),
            math.nan if command.head is None else command.head,
            *(command.left_hand or nothing),
            *(command.right_hand or nothing),
        ]
        return self.numbers.new_tensor(numbers), None if command.text is None else self._embedding(command.text)

    def _embedding(self, text: str) -> Tensor:
        if self._captions is None:
            raise ValueError(f"text {text!r}: without motions there are no labels to take it from")
        return self._captions.embedding(text)

    def state_dict(self) -> dict[str, Tensor]:
        """The goals, and what was said last."""
        return super().state_dict() | {"numbers": self.numbers, "said": self.text, "spoken": self.spoken}


_NUMBERS = 10
_FASTEST = 5.0
"""m/s"""
_SILENCE = "(none)"
"""the choice of no text"""


def _is_finite(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
