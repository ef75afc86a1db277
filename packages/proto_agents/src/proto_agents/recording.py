"""What is kept of the episodes of evaluations: films, and motion as clips."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from proto_agents.evaluation import Evaluator
from proto_agents.parsing import ConfigError

__all__ = ["CameraName", "Recording", "RecordingConfig"]

CameraName = Literal["follow", "side", "front", "top"]
"""A name of `proto_envs.recording.CAMERAS`"""

_BLOCK = 16
"""px; videos are coded in blocks of them"""


@dataclass(frozen=True, kw_only=True)
class RecordingConfig:
    """What is recorded of every evaluation, those in training among them."""

    video: bool = False
    """film the first episodes: RUN/videos/*.mp4"""
    motion: bool = False
    """write each episode as a clip that motionlib reads: RUN/motions/*/*.npz"""
    every: int = 0
    """samples of training between evaluations that are recorded; 0: all of them"""
    video_episodes: int = 4
    """how many are filmed, tiled in one picture"""
    motion_episodes: int = 0
    """how many are written; 0: all"""
    cameras: tuple[CameraName, ...] = ("follow",)
    """from where; with several, each episode has a row and each camera a column"""
    size: tuple[int, int] = (320, 240)
    """px, width and height of one episode from one camera; multiples of 16"""
    seconds: float = 15.0
    """simulated time of a film at most"""

    def __post_init__(self) -> None:
        """Refuses what cannot be filmed.

        Raises:
            ConfigError: naming the field.
        """
        if min(self.size) < _BLOCK or any(length % _BLOCK for length in self.size):
            raise ConfigError(f"recording.size must be multiples of {_BLOCK}, got {self.size}")
        if self.video_episodes < 1 or not self.cameras or self.seconds <= 0.0:
            raise ConfigError("recording: video_episodes, cameras and seconds must not be empty or 0")


class Recording(Protocol):
    """Records evaluations while a policy is trained."""

    def of(self, samples: int) -> AbstractContextManager[Sequence[Evaluator]]:
        """What is to watch the evaluation after so many samples, for as long as it lasts."""

    def take_videos(self) -> Sequence[Path]:
        """Films that were finished since the last call."""
