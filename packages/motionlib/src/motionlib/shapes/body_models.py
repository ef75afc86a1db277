"""SMPL, SMPL-H and SMPL-X model files, `.npz` or `.pkl`, read without chumpy and without running their pickles.

The makers' `.pkl` files name classes of chumpy and scipy; stand-ins keep the arrays in their states. Nothing of a model
comes with this package: the files are the user's, under the makers' licences.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from motionlib.importers.pickles import PICKLE_MAGICS, StandIn, read_pickle
from motionlib.motion import MotionError

__all__ = ["BodyModel", "read_body_model"]

_KEYS = ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")

_TRUNK = (
    *("Pelvis", "L_Hip", "R_Hip", "Torso", "L_Knee", "R_Knee", "Spine", "L_Ankle", "R_Ankle", "Chest", "L_Toe"),
    *("R_Toe", "Neck", "L_Thorax", "R_Thorax", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist"),
    "R_Wrist",
)
_FINGERS = tuple(
    f"{side}_{finger}{joint}"
    for side in "LR"
    for finger in ("Index", "Middle", "Pinky", "Ring", "Thumb")
    for joint in (1, 2, 3)
)
_VARIANTS = {
    24: ("SMPL", "smpl", (*_TRUNK, "L_Hand", "R_Hand")),
    52: ("SMPL-H", "smplx", (*_TRUNK, *_FINGERS)),
    55: ("SMPL-X", "smplx", (*_TRUNK, "Jaw", "L_Eye", "R_Eye", *_FINGERS)),
}
"""number of joints to the model, the built-in character with its joints, and their names in the model's order"""
_SHAPES_OF_SMPLX = 300
"""the directions after these change the face's expression"""


@dataclass(frozen=True, eq=False)
class BodyModel:
    """V vertices, F faces, J joints, S shape directions; meters, y up, x to the body's left, z forward."""

    name: str
    """SMPL, SMPL-H or SMPL-X"""
    character: str
    """built-in character with the same joints: "smpl" or "smplx" (without jaw and eyes)"""
    joint_names: tuple[str, ...]
    """our names in the model's order"""
    parents: tuple[int, ...]
    """-1 for the root"""
    vertices: np.ndarray
    """(V, 3), of the mean shape"""
    shape_directions: np.ndarray
    """(V, 3, S), change of the vertices per unit of beta"""
    regressor: np.ndarray
    """(J, V), joints from vertices"""
    weights: np.ndarray
    """(V, J), how much each joint moves a vertex"""
    faces: np.ndarray
    """(F, 3)"""


def read_body_model(path: str | Path) -> BodyModel:
    """Read a model file.

    Raises:
        MotionError: if there is no such file, it is damaged, its pickle names anything that a body model does not need,
            or it is no SMPL, SMPL-H or SMPL-X model.
    """
    path = Path(path)
    if not path.is_file():
        raise MotionError(f"no body model at {path}")
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(b"PK\x03\x04"):
        content = _read_npz(path)
    elif head.startswith((*PICKLE_MAGICS, b"}q")):
        content = read_pickle(path.read_bytes(), path, more=_model_class, what="body model")
    else:
        raise MotionError(f"{path}: neither an .npz archive nor a pickle; want a model file of SMPL, SMPL-H or SMPL-X")
    if not isinstance(content, dict):
        raise MotionError(f"{path}: a pickle of a {type(content).__name__}, want a dictionary with {list(_KEYS)}")
    if missing := [key for key in _KEYS if key not in content]:
        raise MotionError(f"{path}: no body model, {missing} missing; it holds {sorted(map(str, content))}")
    return _checked(path, {key: _array(path, key, content[key]) for key in _KEYS})


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            # Only what is needed: SMPL-X files also hold tables that are pickles.
            known = {key: archive[key] for key in _KEYS if key in archive.files}
            return known | {key: np.zeros(0) for key in archive.files if key not in _KEYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise MotionError(f"{path}: not a readable .npz archive ({error})") from error


def _array(path: Path, key: str, value: Any) -> np.ndarray:  # noqa: ANN401
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MotionError(f"{path}: {key} is no array of numbers ({error})") from error
    if not np.isfinite(array).all():
        raise MotionError(f"{path}: {key} holds values that are not finite")
    return array


def _checked(path: Path, arrays: dict[str, np.ndarray]) -> BodyModel:
    joints, vertices = arrays["kintree_table"].shape[-1], len(arrays["v_template"])
    shapes = {
        "v_template": (vertices, 3),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "kintree_table": (2, joints),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise MotionError(f"{path}: {key} must have shape {shape}, found {arrays[key].shape}")
    directions, faces = arrays["shapedirs"], arrays["f"].astype(np.int64)
    if directions.ndim != 3 or directions.shape[:2] != (vertices, 3):
        raise MotionError(f"{path}: shapedirs must have shape ({vertices}, 3, betas), found {directions.shape}")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.min(initial=0) < 0 or faces.max(initial=0) >= vertices:
        raise MotionError(f"{path}: f must be triples of vertices below {vertices}, found shape {faces.shape}")
    if joints not in _VARIANTS:
        known = ", ".join(f"{model} has {count}" for count, (model, _, _) in _VARIANTS.items())
        raise MotionError(f"{path}: a model with {joints} joints; {known}")
    name, character, names = _VARIANTS[joints]
    parents = tuple(int(parent) if 0 <= parent < joints else -1 for parent in arrays["kintree_table"][0])
    if parents[0] != -1 or any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise MotionError(f"{path}: each joint must stand after its parent, found parents {list(parents)}")
    return BodyModel(
        name=name,
        character=character,
        joint_names=names,
        parents=parents,
        vertices=arrays["v_template"],
        shape_directions=directions[..., :_SHAPES_OF_SMPLX],
        regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        faces=faces,
    )


# --- classes in the makers' pickles ----------------------------------------------------------------------------------

Plain = Callable[[object], Any]


class _Variable(StandIn):
    """`chumpy.Ch`: an array in "x". Other classes of chumpy, which compute, have none and become None."""

    __slots__ = ()

    def value(self, plain: Plain) -> np.ndarray | None:
        state = self.state if isinstance(self.state, dict) else {}
        return plain(state["x"]) if "x" in state else None


class _Selection(StandIn):
    """`chumpy.reordering.Select`: numbers "idxs" of the flat array "a", in "preferred_shape"."""

    __slots__ = ()

    def value(self, plain: Plain) -> np.ndarray:
        if not isinstance(self.state, dict):
            raise ValueError("a selection without a state")
        chosen = np.asarray(plain(self.state["a"])).ravel()[np.asarray(plain(self.state["idxs"]))]
        shape = self.state.get("preferred_shape")
        return chosen if shape is None else chosen.reshape(plain(shape))


class _SparseColumns(StandIn):
    """`scipy.sparse.csc_matrix`."""

    __slots__ = ()

    def value(self, plain: Plain) -> np.ndarray:
        if not isinstance(self.state, dict):
            raise ValueError("a sparse matrix without a state")
        shape = self.state.get("_shape", self.state.get("shape"))
        rows, columns = (int(count) for count in plain(shape))
        data, indices, starts = (np.asarray(plain(self.state[key])) for key in ("data", "indices", "indptr"))
        if not (0 <= rows <= _MOST_JOINTS and 0 <= columns <= _MOST_VERTICES and len(starts) == columns + 1):
            raise ValueError(f"a sparse matrix of shape {rows} x {columns}")
        dense = np.zeros((rows, columns))
        np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(starts))), data)
        return dense


class _Rebuilt(StandIn):
    """`copy_reg._reconstructor`, by which old protocols make an object of a class."""

    __slots__ = ()

    def __new__(cls, wanted: object, *_: object) -> Any:  # noqa: ANN401
        if not (isinstance(wanted, type) and issubclass(wanted, StandIn)):
            raise ValueError(f"an object of {wanted!r:.40}")
        return wanted.__new__(wanted)


_MOST_JOINTS, _MOST_VERTICES = 1000, 100_000


def _model_class(module: str, name: str) -> type[StandIn] | None:
    if (module, name) == ("chumpy.reordering", "Select"):
        return _Selection
    if module.partition(".")[0] == "chumpy":
        return _Variable
    if module in ("scipy.sparse.csc", "scipy.sparse._csc") and name == "csc_matrix":
        return _SparseColumns
    if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
        return _Rebuilt
    if module in ("__builtin__", "builtins") and name in ("object", "set"):
        return StandIn
    return None
