"""Rotations, skeletons and kinematics of characters, batched in torch.

Import from the modules: `poselib.rotations`, `poselib.skeleton`, `poselib.kinematics`, `poselib.velocities`,
`poselib.ground`, `poselib.retargeting`, and `poselib.models` for the built-in characters.
"""
