"""People of any shape: characters made of SMPL, SMPL-H and SMPL-X model files, which users get from their makers."""

from motionlib.shapes.body_models import BodyModel, read_body_model
from motionlib.shapes.characters import joint_positions, shaped_character

__all__ = ["BodyModel", "joint_positions", "read_body_model", "shaped_character"]
