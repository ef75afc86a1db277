"""Motion without a recording: walking at any speed and turn rate from published norms."""

from motionlib.synth.figures import FIGURES
from motionlib.synth.posture import WalkStyle
from motionlib.synth.walk import synthesize_walk, walking_speeds

__all__ = ["FIGURES", "WalkStyle", "synthesize_walk", "walking_speeds"]
