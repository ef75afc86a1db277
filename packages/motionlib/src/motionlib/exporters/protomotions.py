"""ProtoMotions 3 `.motion`: a torch archive of plain tensors, the state of every body in every frame.

Their reader wants world positions and rotations (xyzw), velocities, joint coordinates and contacts, float32, bodies in
the order of the MJCF. Local rotations belong to characters whose joints are all balls. No class is named in the file,
so `torch.load(weights_only=True)` reads it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from motionlib.files import complete_file
from motionlib.importers.characters import required_skeleton
from motionlib.motion import Motion
from motionlib.processing.frames import clip_frames
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "SUFFIX", "write"]

FORMAT = "ProtoMotions .motion"
SUFFIX = ".motion"


def write(motion: Motion, path: Path, *, skeleton: Skeleton | None = None) -> None:
    """Write the clip as it is: heights stay, and loops are not closed.

    Args:
        motion: the clip.
        path: where to.
        skeleton: its character; known for the bodies of built-in ones.

    Raises:
        MotionError: if the clip is of no known character, or does not fit the given one.
    """
    character = required_skeleton(motion, skeleton)
    motion = replace(motion, loop="none").for_skeleton(character)
    frames = clip_frames(motion, character, height_fix="none")
    content: dict[str, torch.Tensor | float] = {
        "fps": int(motion.fps) if motion.fps == int(motion.fps) else motion.fps,
        "rigid_body_pos": frames.positions,
        "rigid_body_rot": frames.rotations,
        "rigid_body_vel": frames.velocities,
        "rigid_body_ang_vel": frames.angular_velocities,
        "dof_pos": character.dofs_from_local_rotations(motion.local_rotations),
        "dof_vel": frames.dof_velocities,
        "rigid_body_contacts": frames.contacts,
    }
    if all(joint.kind == "ball" for joint in character.joints[1:]):
        content["local_rigid_body_rot"] = motion.local_rotations
    with complete_file(path) as temporary:
        torch.save({k: v.contiguous() if isinstance(v, torch.Tensor) else v for k, v in content.items()}, temporary)
