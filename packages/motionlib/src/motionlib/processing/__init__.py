"""From a clip to what a library stores of it (heights, velocities, contacts), and from one character to another."""

from motionlib.processing.captions import flip_caption
from motionlib.processing.contacts import ground_contacts, smoothed_contacts
from motionlib.processing.filters import Finding, Limits, check_motion
from motionlib.processing.frames import ClipFrames, clip_frames
from motionlib.processing.goals import GoalState, goal_states
from motionlib.processing.heights import HeightFix, fix_heights
from motionlib.processing.mirroring import counterparts, mirrored
from motionlib.processing.quality import Quality, quality
from motionlib.processing.resampling import concatenated, cropped, repeated, resampled
from motionlib.processing.retargeting import (
    RetargetReport,
    character_of,
    cleaned,
    retargeted,
    retargeted_to,
    retargeted_with_report,
    skeleton_of,
)

__all__ = [
    "ClipFrames",
    "Finding",
    "GoalState",
    "HeightFix",
    "Limits",
    "Quality",
    "RetargetReport",
    "character_of",
    "check_motion",
    "cleaned",
    "clip_frames",
    "concatenated",
    "counterparts",
    "cropped",
    "fix_heights",
    "flip_caption",
    "goal_states",
    "ground_contacts",
    "mirrored",
    "quality",
    "repeated",
    "resampled",
    "retargeted",
    "retargeted_to",
    "retargeted_with_report",
    "skeleton_of",
    "smoothed_contacts",
]
