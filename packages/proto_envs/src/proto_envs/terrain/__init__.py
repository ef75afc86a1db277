"""Uneven ground: tiles of eight kinds on one height field, queries of its height, places to start."""

from proto_envs.terrain.generation import PRESETS, TerrainConfig, TerrainLike, generate, make_terrain
from proto_envs.terrain.height_field import FLAT, Terrain

__all__ = ["FLAT", "PRESETS", "Terrain", "TerrainConfig", "TerrainLike", "generate", "make_terrain"]
