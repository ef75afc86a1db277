"""From a clip to what a library stores of it: heights, velocities, contacts."""

from motionlib.processing.frames import ClipFrames, HeightFix, clip_frames, ground_height

__all__ = ["ClipFrames", "HeightFix", "clip_frames", "ground_height"]
