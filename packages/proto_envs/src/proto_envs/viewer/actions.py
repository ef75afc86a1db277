"""What keys and buttons do, in every window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proto_envs.viewer.session import Session

__all__ = ["ACTIONS", "DRIVING", "Action", "actions_of"]


@dataclass(frozen=True)
class Action:
    """Something a person does with one key."""

    label: str
    keys: tuple[str, ...]
    """as browsers name them (`KeyboardEvent.key`, in small letters; "space")"""
    group: str
    """buttons of a group stand in one row; empty: keys alone"""
    help: str
    do: Callable[[Session], None]

    @property
    def button(self) -> str:
        """What stands on its button."""
        return f"{self.label} ({'␣' if self.keys[0] == 'space' else self.keys[0].upper()})"


ACTIONS = (
    Action("pause", ("space",), "time", "stand still, or go on", Session.pause),
    Action("step", (".",), "time", "one step, then stand still", Session.single_step),
    Action("reset", ("r",), "time", "begin a new episode", Session.reset),
    Action("push", ("j",), "robot", "throw a box at the robot where boxes are thrown, else push it", Session.disturb),
    Action("goals", ("u",), "robot", "give the robot other goals", Session.renew_goals),
    Action("record", ("l",), "record", "begin to record, or write video and clip", Session.toggle_recording),
    Action("cancel", (";",), "record", "throw away what was recorded", Session.cancel_recording),
    Action("camera", ("o",), "view", "follow, behind, free", Session.next_camera),
    Action("markers", ("m",), "view", "show or hide the goals", lambda session: session.toggle("goals")),
)
DRIVING = (
    Action("turn left", ("arrowleft", "a"), "", "", lambda session: session.nudge("turn", 1.0)),
    Action("turn right", ("arrowright", "d"), "", "", lambda session: session.nudge("turn", -1.0)),
    Action("faster", ("arrowup", "w"), "", "", lambda session: session.nudge("pace", 1.0)),
    Action("slower", ("arrowdown", "s"), "", "", lambda session: session.nudge("pace", -1.0)),
)
"""keys that drive, where the task has dials for a way and a speed"""


def actions_of(session: Session) -> tuple[Action, ...]:
    """All that act in a session."""
    driven = any(getattr(dial, "role", "") for dial in session.dials)
    return (*ACTIONS, *DRIVING) if driven else ACTIONS
