from __future__ import annotations

import base64
import contextlib
import json
import pickle
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionlib import MotionError
from motionlib.datasets import Dataset, MotionFile, read_occlusions, without_occlusions

TABLE = {
    "0-CMU_01_01_poses": {"issue": "sitting", "idxes": [60, 61, 62]},
    "0-CMU_01_02_poses": {"issue": "stairs", "idxes": [60]},
    "0-CMU_01_03_poses": {"issue": "airborne", "idxes": [4]},
    "SSM_a_stageii": {"issue": "airborne", "idxes": [90]},
}


@pytest.mark.parametrize("form", ["json", "pickle", "zlib"])
def test_occlusions_end_a_clip_or_rule_it_out(tmp_path, form):
    path = tmp_path / "table"
    data = json.dumps(TABLE).encode() if form == "json" else pickle.dumps(TABLE, 4)
    path.write_bytes(zlib.compress(data) if form == "zlib" else data)
    names = ["CMU-smpl/01/01_poses.npy", "CMU-smpl/01/02_poses.npy", "amass/CMU/01/03_poses_flipped.npz"]
    names += ["SSM/a_stageii.npz", "KIT/3/free_poses.npz"]
    dataset = Dataset(tuple(MotionFile(file=name) for name in names))
    kept, problems = without_occlusions(dataset, read_occlusions(path))
    assert {f.file: f.sub_motions[0].end for f in kept.files} == {names[0]: 2.0, names[3]: 3.0, names[4]: None}
    assert [(p.file, p.index) for p in problems] == [(names[1], 1), (names[2], 2)]
    assert "stairs" in problems[0].reason


# joblib.dump of 0-CMU_01_01_poses: sitting, idxes and consec as numpy arrays 60, 61, 62; compress=9, joblib 1.5.
JOBLIB = (
    "c-m!9O-sW-5KV2XMWwbD4^n?XJy<Gu@X!j<o53K0c#^RBptG8fC7V!lDCj|qus0{aw@yApu*0(RcK6M^H~ZGgTMey@6{`N^Y<~M-"
    "PR@%ZLg`9e;YhW)l!=RKNAfu4!2;>Vd8J1+cn&R(TjL<{MQRFezj(y!8^!TDidgy>F(KRtzwz|F?A4KpWqV9gal5Rdwt>S6E|FAQ"
    "0uwIk%@4w1<WQ+<%n3VjO82n;i-^0$FYzn;#Csg+P1Ts9VHh`SigMGn7%jESJTF|DzRv_^YFPO!)lBB`Mc}(ZY+7kd!|1)l>aG99"
    "wE7!uR_Cia=XW(w+jba8*TyG=PBkO!K^G2+5ugu;Fn}Yndhur!jyH|MFoToAL3dMsR_o@iT9YMm`~&KZubB"
)


def test_arrays_of_joblib_are_read_without_it(tmp_path):
    path = tmp_path / "table.pkl"
    path.write_bytes(base64.b85decode(JOBLIB))
    occlusions = read_occlusions(path)
    assert {key: (o.issue, o.frames) for key, o in occlusions.items()} == {
        "0-CMU_01_01_poses": ("sitting", (60, 61, 62))
    }
    assert occlusions["0-CMU_01_01_poses"].good_until == 2.0


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_damaged_tables_are_errors_or_tables(tmp_path_factory, place, noise):
    data = bytearray(zlib.decompress(base64.b85decode(JOBLIB)))
    data[place : place + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "table.pkl"
    path.write_bytes(data)
    with contextlib.suppress(MotionError):
        assert isinstance(read_occlusions(path), dict)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_a_malicious_table_is_refused(tmp_path, capsys):
    path = tmp_path / "table.pkl"
    path.write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(MotionError, match="refused"):
        read_occlusions(path)
    assert "executed" not in capsys.readouterr().out
    path.write_text('{"a": {"issue": 3}}')
    with pytest.raises(MotionError, match="a: want a mapping with an issue"):
        read_occlusions(path)
