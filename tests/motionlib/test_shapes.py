"""Made-up body models: every joint wears a closed octahedron, so volumes and places are known by hand."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from types import ModuleType

import mujoco
import numpy as np
import pytest
import torch
from scipy import sparse

from motionlib import MotionError
from motionlib.shapes import BodyModel, joint_positions, read_body_model, shaped_character
from poselib import models
from poselib.kinematics import forward_kinematics
from poselib.models.description import Box
from poselib.skeleton import Skeleton

COUNTS = {"SMPL": 24, "SMPL-H": 52, "SMPL-X": 55}
SIZE = 0.06  # m, from the middle of an octahedron to its corners
CORNERS = np.concatenate([np.eye(3), -np.eye(3)])
FACES = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
BODY_ORDER = (
    *("Pelvis", "L_Hip", "R_Hip", "Torso", "L_Knee", "R_Knee", "Spine", "L_Ankle", "R_Ankle", "Chest", "L_Toe"),
    *("R_Toe", "Neck", "L_Thorax", "R_Thorax", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist"),
    "R_Wrist",
)
FINGERS = ("Index", "Middle", "Pinky", "Ring", "Thumb")


def joint_order(model: str) -> list[str]:
    """Names in the makers' order."""
    fingers = [f"{side}_{finger}{i}" for side in "LR" for finger in FINGERS for i in (1, 2, 3)]
    rest = {"SMPL": ["L_Hand", "R_Hand"], "SMPL-H": fingers, "SMPL-X": ["Jaw", "L_Eye", "R_Eye", *fingers]}
    return [*BODY_ORDER, *rest[model]]


def content(model: str = "SMPL", betas: int = 10) -> dict[str, np.ndarray]:
    """A model file's arrays; joints stand where the built-in character's do, in the makers' axes."""
    rng = np.random.default_rng(0)
    skeleton = models.skeleton("smpl" if model == "SMPL" else "smplx")
    local = skeleton.local_rotations_from_dofs(torch.zeros(skeleton.num_dofs))
    rest, _ = forward_kinematics(skeleton, torch.zeros(3), local)
    names = joint_order(model)
    parent = {name: skeleton.body_names[skeleton.parents[i]] for i, name in enumerate(skeleton.body_names) if i}
    parent |= {"Jaw": "Head", "L_Eye": "Head", "R_Eye": "Head"}
    places = {name: rest[i].double().numpy()[[1, 2, 0]] for i, name in enumerate(skeleton.body_names)}
    places |= {name: places["Head"] + 0.05 for name in ("Jaw", "L_Eye", "R_Eye")}
    count = len(names)
    centers = np.array([places[name] for name in names])
    vertices = (centers[:, None] + SIZE * CORNERS).reshape(-1, 3)
    weights = 0.9 * np.repeat(np.eye(count), 6, axis=0) + 0.1 / count
    regressor = np.repeat(np.eye(count), 6, axis=1) / 6.0
    return {
        "v_template": vertices,
        "shapedirs": 0.01 * rng.normal(size=(len(vertices), 3, betas)),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *(names.index(parent[n]) for n in names[1:])], range(count)]),
        "f": (np.arange(count)[:, None, None] * 6 + FACES).reshape(-1, 3),
        "part2num": np.array({"not": "needed"}, dtype=object),
    }


def saved(path: Path, **changes: np.ndarray | None) -> Path:
    arrays = {key: value for key, value in (content() | changes).items() if value is not None}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture
def makers_classes(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Classes by the names that the makers' pickles use, only while one is written."""
    classes = {}
    monkeypatch.setitem(sys.modules, "chumpy", ModuleType("chumpy"))
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.ch", "MatVecMult"), ("chumpy.reordering", "Select")):
        classes[name] = type(name, (), {"__module__": module})
        holder = sys.modules.get(module) or ModuleType(module)
        setattr(holder, name, classes[name])
        monkeypatch.setitem(sys.modules, module, holder)
    return classes


def with_state(kind: type, **state: object) -> object:
    thing = kind()
    thing.__dict__.update(state)
    return thing


@pytest.mark.parametrize("name", COUNTS)
def test_joints_are_where_the_regressor_puts_them(tmp_path: Path, name: str):
    arrays = content(name)
    model = read_body_model(saved(tmp_path / "model.npz", **arrays))
    assert (model.name, len(model.joint_names)) == (name, COUNTS[name])
    betas = np.random.default_rng(1).normal(size=6)
    shaped = arrays["v_template"] + np.einsum("vcs,s->vc", arrays["shapedirs"][:, :, :6], betas)
    expected = np.einsum("jv,vc->jc", arrays["J_regressor"], shaped)
    np.testing.assert_allclose(joint_positions(model, betas), expected, atol=1e-12)

    character = shaped_character(model, betas)
    skeleton = Skeleton.from_mjcf(character.spec())
    template = models.skeleton(model.character)
    assert (skeleton.body_names, skeleton.dof_names) == (template.body_names, template.dof_names)
    order = [joint_order(name).index(body) for body in skeleton.body_names]
    local = skeleton.local_rotations_from_dofs(torch.zeros(skeleton.num_dofs))
    found, _ = forward_kinematics(skeleton, torch.zeros(3), local)
    ours = (expected - expected[0])[order][:, [2, 0, 1]]  # forward, left, up
    np.testing.assert_allclose(found, ours, atol=1e-6)
    np.testing.assert_allclose(skeleton.offsets[0], expected[0], atol=1e-6)


def test_the_mean_shape_is_the_built_in_skeleton(tmp_path: Path):
    model = read_body_model(saved(tmp_path / "model.npz"))
    skeleton = Skeleton.from_mjcf(shaped_character(model).spec())
    torch.testing.assert_close(skeleton.offsets[1:], models.skeleton("smpl").offsets[1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", COUNTS)
def test_geoms_surround_the_skin_and_weigh_what_it_holds(tmp_path: Path, name: str):
    model = read_body_model(saved(tmp_path / "model.npz", **content(name)))
    character = shaped_character(model)
    compiled = character.spec().compile()
    octahedra = COUNTS[name] * 4.0 / 3.0 * SIZE**3
    assert compiled.body_mass.sum() == pytest.approx(985 * octahedra, rel=1e-6)
    assert (compiled.body_inertia[1:] > 0).all()
    for body in character.bodies:
        (geom,) = body.geoms
        if isinstance(geom, Box) and body.name != "Head":  # it also wears jaw and eyes
            np.testing.assert_allclose(geom.half, SIZE, atol=1e-9)
            np.testing.assert_allclose(geom.position, 0, atol=1e-9)
    data = mujoco.MjData(compiled)
    mujoco.mj_step(compiled, data, 5)
    assert np.isfinite(data.qpos).all()


def test_a_sole_is_where_the_skin_ends(tmp_path: Path):
    model = read_body_model(saved(tmp_path / "model.npz"))
    character = shaped_character(model, [1.0, -2.0])
    toe = next(body for body in character.bodies if body.name == "L_Toe").geoms[0]
    assert isinstance(toe, Box)
    vertices = model.vertices + model.shape_directions[..., :2] @ [1.0, -2.0]
    joint = joint_positions(model, [1.0, -2.0])[10]
    lowest = (vertices[60:66] - joint)[:, 1].min()
    assert toe.position[2] - toe.half[2] == pytest.approx(lowest, abs=1e-9)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_the_makers_pickles_are_read_without_their_packages(
    tmp_path: Path, makers_classes: dict[str, type], protocol: int
):
    arrays = content()
    variable, chosen = makers_classes["Ch"], makers_classes["Select"]
    flat = arrays["shapedirs"].ravel()
    pickled = arrays | {
        "part2num": None,
        "v_template": with_state(variable, x=arrays["v_template"], _dirty_vars={"x"}, _itr=None),
        "weights": with_state(variable, x=arrays["weights"]),
        "shapedirs": with_state(
            chosen,
            a=with_state(variable, x=np.concatenate([[9.0], flat])),
            idxs=np.arange(1, len(flat) + 1),
            preferred_shape=arrays["shapedirs"].shape,
        ),
        "J": with_state(makers_classes["MatVecMult"], mtx=sparse.csc_matrix(arrays["J_regressor"])),
        "J_regressor": sparse.csc_matrix(arrays["J_regressor"]),
        "bs_style": "lbs",
    }
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(pickled, protocol=protocol))
    for module in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        del sys.modules[module]
    found, expected = read_body_model(path), read_body_model(saved(tmp_path / "model.npz"))
    for field in ("vertices", "shape_directions", "regressor", "weights", "faces"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    assert found.parents == expected.parents
    assert "chumpy" not in sys.modules


class _Harm:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["key", "chumpy", "sparse"])
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, makers_classes: dict[str, type], where: str):
    mark = tmp_path / "harmed"
    harm = _Harm(os.system, (f"touch {mark}",))
    holders = {
        "key": harm,
        "chumpy": with_state(makers_classes["Ch"], x=harm),
        "sparse": with_state(makers_classes["Select"], a=1, idxs=harm),
    }
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"v_template": holders[where]}, protocol=2))
    with pytest.raises(MotionError, match=r"refused, since its pickle names (posix|nt).system, which no body model"):
        read_body_model(path)
    assert not mark.exists()


def test_an_old_reconstructor_makes_only_stand_ins(tmp_path: Path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"ccopy_reg\n_reconstructor\n(c__builtin__\nint\nc__builtin__\nobject\nNtR.")
    with pytest.raises(MotionError):
        read_body_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, r"no body model, \['weights'\] missing; it holds \['J_regressor'"),
        ({"v_template": np.zeros((5, 3))}, r"J_regressor must have shape \(24, 5\), found \(24, 144\)"),
        ({"f": np.array([[0, 1, 9999]])}, "f must be triples of vertices below 144"),
        ({"shapedirs": np.zeros((144, 10))}, r"shapedirs must have shape \(144, 3, betas\)"),
        ({"v_template": np.full((144, 3), np.nan)}, "v_template holds values that are not finite"),
        ({"kintree_table": np.zeros((2, 24))}, "each joint must stand after its parent"),
    ],
)
def test_wrong_files_say_what_is_wrong(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(MotionError, match=message):
        read_body_model(saved(tmp_path / "model.npz", **changes))


def test_other_files_are_no_body_models(tmp_path: Path):
    path = tmp_path / "model"
    with pytest.raises(MotionError, match="no body model at"):
        read_body_model(path)
    path.write_bytes(b"hello")
    with pytest.raises(MotionError, match=r"neither an \.npz archive nor a pickle"):
        read_body_model(path)
    path.write_bytes(b"PK\x03\x04 hello")
    with pytest.raises(MotionError, match=r"not a readable \.npz"):
        read_body_model(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(MotionError, match="a pickle of a list"):
        read_body_model(path)
    few = {key: value[:1] if key == "kintree_table" else value for key, value in content().items()}
    with pytest.raises(MotionError, match=r"kintree_table must have shape \(2, 24\)"):
        read_body_model(saved(path.with_suffix(".npz"), **few))


def test_what_no_shape_is_says_so(tmp_path: Path):
    model = read_body_model(saved(tmp_path / "model.npz"))
    with pytest.raises(MotionError, match="want at most 10 betas"):
        joint_positions(model, [0.0] * 11)
    with pytest.raises(MotionError, match="all finite"):
        joint_positions(model, [float("nan")])
    with pytest.raises(MotionError, match="'smpl' is built in"):
        shaped_character(model, name="smpl")
    flat = BodyModel(**(vars(model) | {"faces": model.faces[:0]}))
    with pytest.raises(MotionError, match="enclose no volume"):
        shaped_character(flat)
