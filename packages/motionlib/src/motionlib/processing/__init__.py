"""From a clip to what a library stores of it (heights, velocities, contacts), and from one character to another."""

from motionlib.processing.frames import ClipFrames, clip_frames
from motionlib.processing.heights import HeightFix, fix_heights
from motionlib.processing.retargeting import character_of, retargeted

__all__ = ["ClipFrames", "HeightFix", "character_of", "clip_frames", "fix_heights", "retargeted"]
