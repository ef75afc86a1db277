"""What the numbers of an evaluation are called where people read them: order, group, unit."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

__all__ = ["LABELS", "Label", "grouped", "label_of"]

Kind = Literal["number", "share", "count"]


@dataclass(frozen=True)
class Label:
    """How a number is shown."""

    text: str
    """its name"""
    unit: str = ""
    """behind it"""
    kind: Kind = "number"
    """share: in per cent"""
    digits: int = 1
    """after the point of a number"""
    hidden: bool = False
    """shown only where it is expected: it says nothing new beside others"""

    @property
    def title(self) -> str:
        """Its name with its unit, as a heading says it."""
        return f"{self.text} ({self.unit})" if self.unit else self.text

    def format(self, value: float) -> str:
        """The number alone, without its unit."""
        match self.kind:
            case "share":
                return f"{value:.1%}"
            case "count":
                return f"{value:.0f}"
        # A number that its digits would round to nothing is shown by its leading ones.
        return f"{value:.{self.digits}f}" if value == 0.0 or abs(value) >= 0.5 * 10**-self.digits else f"{value:.1g}"

    def format_change(self, change: float) -> str:
        """A difference of two such numbers, with its sign; that of shares in percentage points."""
        number = f"{100.0 * abs(change):.1f} pp" if self.kind == "share" else self.format(abs(change))
        return f"{'-' if change < 0.0 else '+'}{number}"

    def format_interval(self, interval: tuple[float, float] | None) -> str:
        """Both bounds; nothing where there is no interval."""
        return "" if interval is None else f"{self.format(interval[0])} to {self.format(interval[1])}"


def _tracking(name: str, text: str, digits: int = 1, unit: str = "mm") -> dict[str, Label]:
    parts = {"": "", "_successful": ", successful episodes", "_failed": ", failed episodes"}
    parts["_until_failure"] = " until the first failure"
    return {f"{name}{end}": Label(f"{text}{more}", unit, digits=digits) for end, more in parts.items()}


_GROUPS: dict[str, dict[str, Label]] = {
    "Outcome": {
        "success_rate": Label("success rate", kind="share"),
        "success_rate_max_error": Label("success rate by the farthest body", kind="share"),
        "survival_rate": Label("survival rate", kind="share"),
        "clips_tracked": Label("clips tracked", kind="count"),
        "success": Label("time in success", kind="share"),
    },
    "Tracking": {
        **_tracking("mpjpe_mm", "MPJPE"),
        **_tracking("mpjpe_root_relative_mm", "MPJPE, root-relative"),
        **_tracking("mpjpe_procrustes_mm", "MPJPE, Procrustes-aligned"),
        **_tracking("velocity_error_mm", "velocity error", 2, "mm/step"),
        **_tracking("acceleration_error_mm", "acceleration error", 2, "mm/step²"),
        "max_body_error": Label("error of the farthest body", "m", digits=3),
        "mean_body_error": Label("mean body error", "m", digits=3, hidden=True),
        "object_error": Label("error of objects", "m", digits=3),
        "object_angle": Label("angle of objects", "rad", digits=3),
    },
    "Task": {
        "speed_error": Label("speed error", "m/s", digits=3),
        "facing_error": Label("facing error", "rad", digits=3),
        "path_distance": Label("distance from the path", "m", digits=3),
        "reach_distance": Label("distance of the hand from its target", "m", digits=3),
        "target_distance": Label("distance from the target", "m", digits=3),
        "goal_distance": Label("distance from the goal", "m", digits=3),
        "jump_length": Label("length of the jump", "m", digits=3),
    },
    "Motion": {
        "speed_mps": Label("speed", "m/s", digits=3),
        "speed_ratio": Label("speed over that of the clips", digits=3),
        "jerk_mps3": Label("jerk", "m/s³"),
        "power_w": Label("mechanical power", "W"),
        "energy_per_metre_j": Label("mechanical energy per metre", "J/m"),
        "foot_slide_mmps": Label("foot slide", "mm/s"),
    },
    "Style": {
        "style_frechet": Label("Fréchet distance from the clips", digits=4),
        "style_frechet_of_clips": Label("Fréchet distance, clips from clips", digits=4),
        "style_distance": Label("distance to the nearest moment of a clip", digits=3),
        "style_coverage": Label("coverage of the clips", kind="share"),
        "style_matched": Label("moments of clips matched", kind="share"),
        "style_clips_matched": Label("clips matched", kind="share"),
        "style_samples": Label("moments compared", kind="count"),
    },
    "Skills": {
        "skills_recovered": Label("skills recovered by the encoder", kind="count"),
        "skills_recovered_by_motion": Label("skills recovered by their motion", kind="count"),
        "skill_recall": Label("recall of skills by the encoder", kind="share"),
        "skill_recall_by_motion": Label("recall of skills by their motion", kind="share"),
        "skill_chance": Label("recall by chance", kind="share"),
        "skill_survival": Label("survival while a skill is held", kind="share"),
        "transition_survival": Label("transitions without a fall", kind="share"),
    },
    "Evaluation": {
        "mean_return": Label("return", digits=2),
        "mean_episode_length": Label("episode length", "steps"),
        "steps": Label("longest episode", "steps", kind="count", hidden=True),
        "num_envs": Label("episodes of each seed", kind="count"),
        "seed": Label("first seed", kind="count"),
        "unstable": Label("steps with a lost state", kind="share"),
        "failed": Label("steps judged as failed", kind="share", hidden=True),
        "failed_max_error": Label("steps with a body too far", kind="share", hidden=True),
    },
}

LABELS = {name: label for group in _GROUPS.values() for name, label in group.items()}
"""Label of each number that is known, in the order in which they are shown."""

_REWARD = "reward/"
"""begins the names of the environment's reward terms"""


def label_of(name: str) -> Label:
    """The label of a number; one that is not known is shown by its own name."""
    return LABELS.get(name) or Label(name.removeprefix(_REWARD).replace("_", " "), digits=3)


def grouped(names: Collection[str], expected: Collection[str] = ()) -> dict[str, list[str]]:
    """Names by the title of their group, in the order in which they are shown; empty groups are left out.

    Args:
        names: of the numbers that a report has. Those of one clip or pair of clips ("name/clip") are left out.
        expected: names to be shown in any case.
    """
    wanted = set(names) | set(expected)
    if "success_rate" in wanted and "survival_rate" not in expected:
        wanted.discard("survival_rate")  # the same, or 1 where an evaluation turns terminations off
    found = {
        title: [name for name, label in group.items() if name in wanted and (name in expected or not label.hidden)]
        for title, group in _GROUPS.items()
    }
    unknown = [name for name in dict.fromkeys([*names, *expected]) if name not in LABELS]
    rewards = [name for name in unknown if name.startswith(_REWARD)]
    found["Rewards, mean of each step"] = rewards
    found["Others"] = [name for name in unknown if name not in rewards and ("/" not in name or name in expected)]
    return {title: chosen for title, chosen in found.items() if chosen}
