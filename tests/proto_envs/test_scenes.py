"""Scenes by themselves: solids, files, weights, trajectories, points."""

import math
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.transform import Rotation, Slerp

from proto_envs.scenes import (
    CATEGORIES,
    Box,
    Cylinder,
    Mesh,
    Scene,
    SceneError,
    SceneObject,
    SceneSet,
    Sphere,
    Trajectory,
    make_scenes,
    read_scenes,
    sample_scene_names,
)
from proto_envs.scenes.meshes import convex_pieces, load_mesh, surface_points
from proto_envs.scenes.tables import POINTS

TILT = tuple(Rotation.from_euler("xyz", [0.4, -0.7, 1.1]).as_quat())


def thing(name="thing", **given):
    return SceneObject(**{"name": name, "parts": (Box(size=(1.0, 1.0, 1.0)),), **given})


def scene(name="scene", *things, **given):
    return Scene(name=name, objects=things or (thing(),), **given)


@pytest.fixture
def cone(tmp_path):
    trimesh.creation.cone(radius=0.3, height=0.8).export(tmp_path / "cone.obj")
    return str(tmp_path / "cone.obj")


# --- solids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        Box(size=(0.3, 0.5, 0.9), position=(1.0, 2.0, 3.0), rotation=TILT),
        Sphere(radius=0.4, position=(1.0, 2.0, 3.0)),
        Cylinder(radius=0.2, height=0.7, position=(-1.0, 0.0, 3.0), rotation=TILT),
    ],
)
def test_sizes_of_solids_are_those_of_trimesh(shape):
    solid = shape.surface()
    low, high = shape.bounds()
    # trimesh's ball and post have flat facets, and so are a little smaller.
    exact = isinstance(shape, Box)
    np.testing.assert_allclose([low, high], solid.bounds, atol=1e-9 if exact else 3e-3)
    assert shape.volume == pytest.approx(solid.volume, rel=1e-9 if exact else 0.02)
    points = np.random.default_rng(0).uniform(low - 0.1, high + 0.1, size=(2000, 3))
    hull = ConvexHull(solid.vertices)
    inside = (points @ hull.equations[:, :3].T + hull.equations[:, 3] <= 0).all(axis=1)
    assert (shape.contains(points) == inside).mean() > (1 - 1e-9 if exact else 0.98)


def test_a_mesh_is_read_scaled_and_weighed(cone):
    mesh = Mesh(file=cone, scale=2.0, position=(1.0, 0.0, 0.0), rotation=TILT)
    solid = load_mesh(cone)
    vertices = Rotation.from_quat(TILT).apply(2.0 * solid.vertices) + np.array([1.0, 0.0, 0.0])
    low, high = mesh.bounds()
    np.testing.assert_allclose([low, high], [vertices.min(axis=0), vertices.max(axis=0)], atol=1e-9)
    assert mesh.volume == pytest.approx(8.0 * solid.volume)
    np.testing.assert_allclose(mesh.surface().bounds, [low, high], atol=1e-9)
    both = thing(parts=(mesh, Box(size=(0.5, 0.5, 0.5))), mass=3.0)
    assert sum(both.part_masses) == pytest.approx(3.0)
    assert both.part_masses[0] / both.part_masses[1] == pytest.approx(mesh.volume / 0.125)
    assert replace(both, mass=None, density=200.0).part_masses[1] == pytest.approx(25.0)


def test_what_is_no_mesh_is_refused(tmp_path, monkeypatch):
    (tmp_path / "empty.obj").write_text("# nothing\n")
    (tmp_path / "words.stl").write_bytes(b"words")
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]], [[0, 1, 2], [1, 2, 3]] * 2)
    flat.export(tmp_path / "flat.ply")
    for name in ("empty.obj", "words.stl", "flat.ply", "none.obj"):
        with pytest.raises(SceneError, match=name):
            Mesh(file=str(tmp_path / name))


def test_what_is_missing_is_said_with_the_command_that_installs_it(cone, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'coacd.*pip install "proto-envs\[scenes\]"'):
        convex_pieces(cone, 0.0123)
    with pytest.raises(ImportError, match=r'trimesh.*pip install "proto-envs\[scenes\]"'):
        surface_points((Box(size=(1.0, 1.0, 1.0)),), 8)


def test_a_hollow_mesh_is_filled_by_convex_pieces(tmp_path):
    pytest.importorskip("coacd")
    trimesh.creation.torus(0.3, 0.1, major_sections=8, minor_sections=5).export(tmp_path / "ring.stl")
    ring = Mesh(file=str(tmp_path / "ring.stl"), convex="decompose")
    volumes = [ConvexHull(vertices).volume for vertices, _ in ring.pieces()]
    assert len(volumes) > 3
    assert sum(volumes) == pytest.approx(load_mesh(ring.file).volume, rel=0.25)


# --- points ----------------------------------------------------------------------------------------------------------


def test_points_lie_on_the_outside_and_are_spread_evenly():
    seat, leg = (
        Box(size=(0.5, 0.5, 0.1), position=(0, 0, 0.45)),
        Cylinder(radius=0.05, height=0.5, position=(0, 0, 0.25)),
    )
    points = surface_points((seat, leg), 200)
    near = [trimesh.proximity.closest_point_naive(shape.surface(), points)[1] for shape in (seat, leg)]
    assert np.minimum(*near).max() < 1e-6
    deep = Box(size=(0.5 - 1e-6, 0.5 - 1e-6, 0.1 - 1e-6), position=seat.position)
    assert not deep.contains(points).any()
    assert not Cylinder(radius=0.05 - 1e-3, height=0.5 - 1e-6, position=leg.position).contains(points).any()
    gaps = cKDTree(points).query(points, k=2)[0][:, 1]
    area = seat.surface().area + leg.surface().area
    # On a square lattice the gap would be the root of the area of each; random points have half of it and many near 0.
    assert gaps.min() > 0.5 * math.sqrt(area / 200)
    assert np.array_equal(points, surface_points((seat, leg), 200))


# --- files -----------------------------------------------------------------------------------------------------------

CHAIR = """
name: kitchen
weight: 2
target: chair
motions: walk
objects:
  - name: chair
    category: straight_chair
    mass: 4.5
    friction: 0.6
    seat: [0, 0, 0.45]
    position: [1, 0, 0]
    rotation: [0, 0, 1, 0]
    parts:
      - box: {size: [0.4, 0.4, 0.05], position: [0, 0, 0.425]}
      - cylinder: {radius: 0.04, height: 0.4, position: [0, 0, 0.2]}
  - name: ball
    mobility: dynamic
    stands_on: chair
    sphere: {radius: 0.1}
    trajectory: {fps: 10, positions: [[0, 0, 1], [0, 0, 2]], rotations: [[0, 0, 0, 1], [0, 0, 0, 1]]}
"""


def test_a_scene_is_read(tmp_path):
    (tmp_path / "kitchen.yaml").write_text(CHAIR)
    (read,) = read_scenes(tmp_path / "kitchen.yaml")
    chair, ball = read.objects
    assert (read.name, read.weight, read.motions) == ("kitchen", 2, ("walk",))
    assert read.target_object is chair and read.support(ball) is chair
    assert (chair.mass, chair.friction, chair.category, chair.mobility) == (4.5, 0.6, "straight_chair", "static")
    assert chair.parts[0] == Box(size=(0.4, 0.4, 0.05), position=(0, 0, 0.425)) and len(chair.parts) == 2
    assert ball.parts == (Sphere(radius=0.1),) and ball.trajectory.positions[1, 2] == 2


def test_meshes_and_trajectories_are_seen_from_the_file(tmp_path, cone):
    np.savez(tmp_path / "way.npz", fps=30.0, positions=np.zeros((5, 3)), rotations=np.tile([0, 0, 0, 1.0], (5, 1)))
    table = {
        "scenes": [
            {
                "objects": [
                    {
                        "name": "cone",
                        "mobility": "kinematic",
                        "mesh": {"file": "cone.obj"},
                        "trajectory": {"file": "way.npz"},
                    }
                ]
            }
        ]
    }
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(table))
    (read,) = read_scenes(tmp_path / "two.yaml")
    assert read.name == "two_0" and read.meshes[0].file == cone
    assert len(read.objects[0].trajectory.positions) == 5


def test_the_scene_of_the_guide_is_read(tmp_path, cone):
    guide = (Path(__file__).parents[2] / "docs" / "scenes.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "door.obj").write_bytes(Path(cone).read_bytes())
    np.savez(tmp_path / "door.npz", fps=30.0, positions=np.zeros((5, 3)), rotations=np.tile([0, 0, 0, 1.0], (5, 1)))
    (tmp_path / "kitchen.yaml").write_text(block)
    (read,) = read_scenes(tmp_path / "kitchen.yaml")
    assert [o.mobility for o in read.objects] == ["static", "dynamic", "kinematic"] and read.motions == ("walk",)


WRONG = {
    "name: kitchen": ("nam: kitchen", "unknown key 'nam': did you mean 'name'"),
    "weight: 2": ("weight: -1", "weight"),
    "target: chair": ("target: chaire", "did you mean 'chair'"),
    "motions: walk": ("motions: {a: 1}", "motions: want a list"),
    "category: straight_chair": ("category: straigt_chair", "objects.0.: object 'chair': category .*did you mean"),
    "mass: 4.5": ("mass: heavy", "objects.0.: object 'chair': mass: want a finite number above 0, got 'heavy'"),
    "friction: 0.6": ("frictoin: 0.6", "objects.0.: unknown key 'frictoin': did you mean 'friction'"),
    "seat: [0, 0, 0.45]": ("seat: [0, 0]", "seat: want 3 numbers"),
    "rotation: [0, 0, 1, 0]": ("rotation: [0, 0, 3, 0]", "unit quaternion"),
    "size: [0.4, 0.4, 0.05]": (
        "size: [0.4, 0.4, 0]",
        r"objects.0.: parts.0.: box: size.2.: want a finite number above",
    ),
    "- cylinder:": ("- cylindre:", "parts.1.: no solid 'cylindre': did you mean 'cylinder'"),
    "radius: 0.04, ": ("", "parts.1.: cylinder: radius is missing"),
    "mobility: dynamic": ("mobility: dynamical", "did you mean 'dynamic'"),
    "stands_on: chair": ("stands_on: ball", "'ball' stands on itself"),
    "fps: 10, ": ("", "objects.1.: trajectory: fps is missing"),
    "[0, 0, 2]]": ("[0, 2]]", "trajectory positions"),
    "sphere: {radius: 0.1}": ("sphere: 5", "objects.1.: parts.0.: sphere: want a mapping"),
    "objects:": ("objects: [", "cannot be read as YAML"),
}


@pytest.mark.parametrize("key", WRONG)
def test_errors_name_file_key_and_what_would_be_right(tmp_path, key):
    text, message = WRONG[key]
    assert key in CHAIR
    (tmp_path / "kitchen.yaml").write_text(CHAIR.replace(key, text, 1))
    with pytest.raises(SceneError, match=message) as caught:
        read_scenes(tmp_path / "kitchen.yaml")
    assert str(tmp_path / "kitchen.yaml") in str(caught.value)


def test_any_damage_is_a_clear_error_or_a_scene(tmp_path):
    source = random.Random(0)
    values = [None, True, -1, 0, float("nan"), "word", [], {}, [1, 2, 3], {"radius": 1}, "chair"]

    def damaged(node):
        if isinstance(node, dict) and node and source.random() < 0.9:
            key = source.choice(list(node))
            if source.random() < 0.15:
                return {k: v for k, v in node.items() if k != key}
            if source.random() < 0.15:
                return {**node, source.choice(["bx", 3, "name", "mass", "trajectory"]): source.choice(values)}
            return {**node, key: damaged(node[key])}
        if isinstance(node, list) and node and source.random() < 0.9:
            index = source.randrange(len(node))
            return [damaged(part) if i == index else part for i, part in enumerate(node)]
        return source.choice(values)

    refused = 0
    for _ in range(120):
        (tmp_path / "scene.yaml").write_text(yaml.safe_dump(damaged(yaml.safe_load(CHAIR))))
        try:
            SceneSet(read_scenes(tmp_path / "scene.yaml")).batch(3).tables.poses(torch.tensor([0]), torch.tensor([0.1]))
        except SceneError as error:
            refused += 1
            assert "scene" in str(error)
    assert refused > 80


def test_samples_are_there_and_of_known_kinds():
    names = sample_scene_names()
    assert {"chair", "sofa", "stool", "armchair", "table", "crates"} <= set(names)
    kinds = {o.category for name in names for s in make_scenes(name).scenes for o in s.objects}
    assert kinds - {None} <= set(CATEGORIES) and len(kinds) > 4


# --- which environment gets which ------------------------------------------------------------------------------------


def test_the_keyword_takes_names_files_scenes_lists_and_mappings(tmp_path):
    (tmp_path / "kitchen.yaml").write_text(CHAIR)
    own = scene("own")
    given = make_scenes({"scenes": ["chair", str(tmp_path / "kitchen.yaml"), own], "order": "sequential", "seed": 3})
    assert [s.name for s in given.scenes] == ["chair", "kitchen", "own"] and given.order == "sequential"
    assert make_scenes(given) is given and make_scenes(own).scenes == (own,)
    assert [s.name for s in make_scenes(yaml.safe_load(CHAIR)).scenes] == ["kitchen"]
    for wrong, error in (
        ("chiar", "did you mean 'chair'"),
        ({"scenes": ["chair"], "ordr": 1}, "did you mean 'order'"),
        ({"scenes": ["chair"], "order": "wieghted"}, "did you mean 'weighted'"),
        ({"order": "first"}, "'scenes' is missing"),
        ([], "at least one"),
    ):
        with pytest.raises(SceneError, match=error):
            make_scenes(wrong)
    with pytest.raises(TypeError, match="scenes=7"):
        make_scenes(7)


def test_scenes_are_spread_by_weight_evenly_and_the_same_each_time():
    weights = torch.tensor([1.0, 0.0, 2.5, 6.5])
    scenes = tuple(scene(f"s{i}", weight=float(w)) for i, w in enumerate(weights))
    for num_envs in (7, 200):
        counts = torch.zeros(4)
        places = torch.zeros(num_envs)
        for seed in range(60):
            given = SceneSet(scenes, seed=seed)
            chosen = given.assign(num_envs)
            assert torch.equal(chosen, given.assign(num_envs))
            here = torch.bincount(chosen, minlength=4)
            assert ((here - num_envs * weights / 10).abs() < 1).all(), "no share is off by a whole environment"
            counts += here
            places += chosen == 3
        torch.testing.assert_close(counts / counts.sum(), weights / 10, atol=0.02, rtol=0)
        # No environment is favoured: 0.65 each, with a standard deviation of 0.06.
        assert ((places / 60 - 0.65).abs() < 0.3).all()
    assert SceneSet(scenes, "sequential").assign(6).tolist() == [0, 1, 2, 3, 0, 1]
    assert SceneSet(scenes, "first").assign(3).tolist() == [0, 0, 0]


def test_places_hold_what_is_held_before_what_is_loose():
    a, b = thing("a"), thing("b", mobility="dynamic")
    c, d = thing("c", mobility="dynamic"), thing("d", stands_on="c", mobility="dynamic")
    batch = SceneSet((scene("one", b, a), scene("two", c, d, target="d")), "sequential").batch(3)
    assert (batch.num_held, batch.num_loose) == (1, 2)
    assert batch.places == ((a, b, None), (None, c, d))
    tables = batch.tables
    assert tables.present.tolist() == [[True, True, False], [False, True, True]]
    assert tables.targets.tolist() == [1, 2] and tables.supports[1].tolist() == [0, 1, 1]
    assert tables.points.shape == (2, 3, POINTS, 3) and not tables.points[1, 0].any()


def test_clips_belong_to_scenes():
    scenes = (scene("a", motions=("walk", "sit")), scene("b"))
    allowed = SceneSet(scenes, "sequential").batch(3).clips(["run", "sit", "walk"])
    assert allowed.tolist() == [[False, True, True], [True, True, True], [False, True, True]]
    assert SceneSet((scene(),)).batch(2).clips(["run"]) is None
    with pytest.raises(SceneError, match=r"scene 'a': clip 'walk'.*there are"):
        SceneSet(scenes).batch(2).clips(["walks", "sit"])


# --- trajectories ----------------------------------------------------------------------------------------------------


def test_trajectories_are_those_of_scipy():
    random_ = np.random.default_rng(0)
    positions, rotations = random_.normal(size=(6, 3)), Rotation.random(6, rng=1)
    way = Trajectory(fps=4.0, positions=positions, rotations=-rotations.as_quat())
    still = thing("still", position=(1.0, 2.0, 3.0))
    moving = thing("moving", mobility="kinematic", trajectory=way)
    tables = SceneSet((scene("s", still, moving),)).batch(1).tables
    times = np.linspace(0.0, 1.25, 41)
    state = tables.poses(torch.zeros(41, dtype=torch.long), torch.tensor(times, dtype=torch.float32))
    want = np.stack([np.interp(times, np.arange(6) / 4, positions[:, k]) for k in range(3)], axis=-1)
    np.testing.assert_allclose(state.positions[:, 1], want, atol=1e-5)
    turned = Slerp(np.arange(6) / 4, rotations)(times)
    assert (turned.inv() * Rotation.from_quat(state.rotations[:, 1])).magnitude().max() < 2e-3
    assert torch.equal(state.positions[:, 0], torch.tensor([1.0, 2.0, 3.0]).expand(41, 3))
    assert not state.velocities[:, 0].any() and not state.angular_velocities[:, 0].any()
    # At its poses an object has the velocity that brings it to the next.
    step = tables.poses(torch.zeros(5, dtype=torch.long), torch.arange(5) / 4)
    np.testing.assert_allclose(step.velocities[:, 1], 4.0 * np.diff(positions, axis=0), atol=1e-4)
    spin = 4.0 * (rotations[1:] * rotations[:-1].inv()).as_rotvec()
    np.testing.assert_allclose(step.angular_velocities[:, 1], spin, atol=2e-3)
    beyond = tables.poses(torch.zeros(2, dtype=torch.long), torch.tensor([-1.0, 9.0]))
    np.testing.assert_allclose(beyond.positions[:, 1], positions[[0, -1]], atol=1e-6)
    assert not beyond.velocities.any()


def test_what_is_no_trajectory_is_refused():
    unit = [[0, 0, 0, 1]]
    for fields, message in (
        ({"fps": 0, "positions": [[0, 0, 0]], "rotations": unit}, "fps"),
        ({"fps": 1, "positions": [[0, 0]], "rotations": unit}, "positions"),
        ({"fps": 1, "positions": [[0, 0, 0]] * 2, "rotations": unit}, "2 positions but 1"),
        ({"fps": 1, "positions": [[0, 0, 0]], "rotations": [[0, 0, 0, 2]]}, "unit"),
    ):
        with pytest.raises(SceneError, match=message):
            Trajectory(**fields)
    way = Trajectory(fps=1, positions=[[0, 0, 0]], rotations=unit)
    with pytest.raises(SceneError, match="static object has no trajectory"):
        thing(trajectory=way)
    with pytest.raises(SceneError, match="kinematic object needs"):
        thing(mobility="kinematic")
