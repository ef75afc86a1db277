"""Things beside the robots: what a scene is made of, scenes in YAML, and which environment gets which."""

from proto_envs.scenes.batch import ORDERS, SceneBatch, SceneSet, ScenesLike, make_scenes, sample_scene_names
from proto_envs.scenes.errors import SceneError
from proto_envs.scenes.reading import read_scenes
from proto_envs.scenes.scene import CATEGORIES, Scene, SceneObject, Trajectory
from proto_envs.scenes.shapes import Box, Cylinder, Mesh, Shape, Sphere

__all__ = [
    "CATEGORIES",
    "ORDERS",
    "Box",
    "Cylinder",
    "Mesh",
    "Scene",
    "SceneBatch",
    "SceneError",
    "SceneObject",
    "SceneSet",
    "ScenesLike",
    "Shape",
    "Sphere",
    "Trajectory",
    "make_scenes",
    "read_scenes",
    "sample_scene_names",
]
