"""Foreign pickles and torch archives: what they hold comes out, what they would run does not."""

from __future__ import annotations

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from motionlib import MotionError, load
from motionlib.importers import pickles
from motionlib.importers.pickles import read_pickle

VALUES = {
    "texts": ["a", "é", b"raw"],
    "numbers": (1, -(2**70), 2.5, True, None),
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "big endian": np.arange(4, dtype=">f8"),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "names": np.array(["root", "knee"]),
    "flags": np.array([True, False]),
    "scalar": np.float64(29.97),
    "whole": np.int32(7),
    "ordered": OrderedDict(a=1, b=OrderedDict(c=2)),
}


def assert_same(ours: object, theirs: object) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize("protocol", range(6))
def test_values_come_out_as_plain_pickle_reads_them(protocol):
    data = pickle.dumps(VALUES, protocol=protocol)
    assert_same(read_pickle(data, Path("x")), pickle.loads(data))
    old_names = data.replace(b"numpy._core", b"numpy.core") if protocol < 4 else data  # of numpy 1, in older files
    assert_same(read_pickle(old_names, Path("x")), VALUES)


def test_arrays_of_objects_come_out_as_lists():
    assert read_pickle(pickle.dumps(np.array({"a": 1}, dtype=object)), Path("x")) == {"a": 1}
    assert read_pickle(pickle.dumps(np.array(["b", {"c": 2}], dtype=object)), Path("x")) == ["b", {"c": 2}]


def test_texts_of_python_2_are_latin_1():
    assert read_pickle(b"(dp0\nS'name'\np1\nS'Mueller'\np2\ns.", Path("x")) == {"name": "Mueller"}  # protocol 0
    assert read_pickle(b"\x80\x02}U\x04nameU\x06M\xfcllers.", Path("x")) == {"name": "Müller"}  # protocol 2


class Runs:
    """Runs a function when a plain unpickler reads it."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def payloads(trace: Path) -> dict[str, object]:
    touch = f"touch {trace}"
    return {
        "os.system": Runs(os.system, touch),
        "builtins.eval": Runs(eval, f"open({str(trace)!r}, 'w')"),
        "builtins.getattr": Runs(getattr, "text", "format"),
        "numpy beyond the list": Runs(np.memmap, str(trace), "uint8", "w+", 0, (1,)),
    }


KINDS = list(payloads(Path()))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_runs(tmp_path, kind, protocol):
    trace = tmp_path / "trace"
    evil = payloads(trace)[kind]
    for value in (evil, {"frames": [evil]}, np.array([evil], dtype=object)):
        with pytest.raises(MotionError, match=r"refused, since its pickle names \S+, which no motion needs"):
            read_pickle(pickle.dumps(value, protocol=protocol), tmp_path / "clip.pkl")
    assert not trace.exists()


def archive(path: Path, content: dict) -> Path:
    torch.save(content, path)
    return path


def pickled(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def numpy_file(path: Path, content: dict) -> Path:
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


FRAMES = torch.zeros(3, 24, 4)
FILES = {
    "PoseLib .npy": lambda p, evil: numpy_file(p / "a.npy", {"rotation": 1, "fps": evil}),
    "MimicKit .pkl": lambda p, evil: pickled(p / "a.pkl", {"loop_mode": 0, "fps": evil, "frames": []}),
    "SAMP .pkl": lambda p, evil: pickled(p / "a.pkl", {"pose_est_fullposes": evil, "pose_est_trans": 0}),
    "ProtoMotions .motion": lambda p, evil: archive(p / "a.motion", {"rigid_body_pos": FRAMES, "fps": evil}),
    "ProtoMotions packaged .pt": lambda p, evil: archive(p / "a.pt", {"gts": FRAMES, "length_starts": evil}),
    "ProtoMotions H1 .npy": lambda p, evil: archive(
        p / "a.npy", {"global_translation": FRAMES, "global_rotation": FRAMES, "fps": evil}
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_nothing_runs_in_any_importer(tmp_path, file, kind):
    trace = tmp_path / "trace"
    path = FILES[file](tmp_path, payloads(trace)[kind])
    with pytest.raises(MotionError, match="refused"):
        load(path)
    assert not trace.exists()


def test_own_clips_read_no_pickles(tmp_path, make_motion):
    make_motion().save(tmp_path / "clip.npz")
    with np.load(tmp_path / "clip.npz") as archive:
        fields = dict(archive)
    trace = tmp_path / "trace"
    fields["labels"] = np.array([Runs(os.system, f"touch {trace}")], dtype=object)
    np.savez(tmp_path / "evil.npz", **fields)
    with pytest.raises(MotionError):
        load(tmp_path / "evil.npz")
    assert not trace.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n}X\x01\x00\x00\x00aK\x01sb.",  # sets an attribute of a function
        b"\x80\x03cnumpy\nndarray\nN}X\x0c\x00\x00\x00__setstate__K\x01s\x86b.",  # replaces a method of a class
        b"\x80\x03cnumpy\ndtype\n)\x81}X\x04\x00\x00\x00codeX\x02\x00\x00\x00f8sb.",  # a type without arguments
        b"\x80\x04\x8c\x01x\x8c\x01y\x93.",
        b"\x80\x02P17\n.",  # an object by persistent id
        b"\x80\x02\x82\x01.",  # a class by extension code
        b"\x80\x03}r" + struct.pack("<I", 2**32 - 1) + b".",  # a memo of 64 GiB
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",  # bytes that are not there
        b"\x80\x03" + b"]" * 200_000,  # no end
        b"\x80\x03" + b"(" * 1000 + b"t" * 1000,  # no end either
    ],
)
def test_odd_programs_are_errors_and_change_nothing(program):
    before = {name: dict(vars(stand_in)) for name, stand_in in pickles._STAND_INS.items()}
    with pytest.raises(MotionError, match=r"damaged|refused"):
        read_pickle(program, Path("x"))
    assert before == {name: dict(vars(stand_in)) for name, stand_in in pickles._STAND_INS.items()}


def test_what_is_referred_to_many_times_is_turned_once():
    doubled: list = []
    for _ in range(60):  # 2^60 leaves, were each reference followed
        doubled = [doubled, doubled]
    found = read_pickle(pickle.dumps(doubled), Path("x"))
    for _ in range(60):
        first, second = found
        assert first is second
        found = first
    assert found == []


def test_arrays_that_lie_about_their_size_are_errors():
    data = pickle.dumps(np.arange(4.0), protocol=3)
    with pytest.raises(MotionError, match="damaged pickle"):
        read_pickle(data.replace(b"K\x04", b"K\x05"), Path("x"))
    structured = np.zeros(2, dtype=[("a", "f4")])
    with pytest.raises(MotionError, match="are not read"):
        read_pickle(pickle.dumps(structured), Path("x"))


def test_lists_that_repeat_lists_are_not_written_out():
    value: list = [0.0]
    for _ in range(40):
        value = [value, value]
    with pytest.raises(MotionError, match="lists that repeat lists"):
        read_pickle(pickle.dumps(value), Path("x"))
    value.append(value)
    with pytest.raises(MotionError, match="lists that repeat lists"):
        read_pickle(pickle.dumps(value), Path("x"))
    shared = [1.0, 2.0]
    assert read_pickle(pickle.dumps({"a": shared, "b": shared}), Path("x")) == {"a": shared, "b": shared}
