from __future__ import annotations

import pytest

from motionlib import MotionError
from motionlib.datasets import SubMotion, humanml3d, samp
from motionlib.datasets.humanml3d import captions_of


@pytest.fixture
def human_ml(tmp_path):
    """A tiny HumanML3D, made up, with its two sources of captions."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "index.csv").write_text(
        "source_path,start_frame,end_frame,new_name\n"
        "./pose_data/KIT/3/kick_high_left02_poses.npy,0,117,000000.npy\n"
        "./pose_data/Eyes_Japan_Dataset/aita/turn_poses.npy,20,120,000001.npy\n"
        "./pose_data/humanact12/humanact12/P01.npy,0,62,000002.npy\n"
        "./pose_data/KIT/3/kick_high_left02_poses.npy,117,120,000003.npy\n"
        "./pose_data/CMU/1/gone_poses.npy,0,100,000004.npy\n"
    )
    texts = {
        "000000": "a man kicks with his left leg.#a/DET man/NOUN kick/VERB#0.0#0.0\nsomeone kicks#kick/VERB#nan#nan\n"
        "he lands.#land/VERB#2.5#4.0\n",
        "000001": "a person turns.#turn/VERB#0#0\n",
        "000003": "a blink#blink/NOUN#0#0\n",
    }
    for name, text in texts.items():
        (tmp_path / "texts" / f"{name}.txt").write_text(text)
    return tmp_path


def test_humanml3d_gives_captioned_parts(human_ml):
    rates = {"KIT/3/kick_high_left02_poses.npz": 100.0, "Eyes_Japan_Dataset/aita/turn_poses.npy": 59.94}
    dataset, problems = humanml3d(human_ml / "index.csv", human_ml / "texts", human_ml, rates=rates)
    kick, turn = dataset.files
    assert kick.file == "KIT/3/kick_high_left02_poses.npz"
    assert kick.sub_motions == (
        SubMotion(start=0.0, end=5.85, labels=("a man kicks with his left leg", "someone kicks"), hml3d_id=0),
        SubMotion(start=2.5, end=4.0, labels=("he lands",), hml3d_id=0),
    )
    # Frames count after 3 s that HumanML3D leaves out, and at 59.94 / 2 per second.
    assert turn.sub_motions[0].start == pytest.approx((60 + 20) * 2 / 59.94, abs=1e-6)
    assert turn.sub_motions[0].end == pytest.approx((60 + 120) * 2 / 59.94, abs=1e-6)
    reasons = [str(problem) for problem in problems]
    assert len(reasons) == 3
    assert "not of AMASS" in reasons[0] and "lasts 0.15 s" in reasons[1] and "no captions at" in reasons[2]


def test_humanml3d_takes_named_motions_and_knows_the_folders_of_smplx(human_ml):
    dataset, _ = humanml3d(
        human_ml / "index.csv", human_ml / "texts", human_ml, names=["000001", "M000001"], layout="smplx"
    )
    assert [file.file for file in dataset.files] == ["EyesJapanDataset/aita/turn_stageii.npz"]
    assert dataset.files[0].sub_motions[0].start == 4.0


def test_damaged_humanml3d_is_named(human_ml):
    (human_ml / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MotionError, match=r"lacks the columns \['source_path'"):
        humanml3d(human_ml / "index.csv", human_ml / "texts", human_ml)
    (human_ml / "index.csv").write_text("source_path,start_frame,end_frame,new_name\na.npy,x,3,000000.npy\n")
    with pytest.raises(MotionError, match="line 2: want frame numbers"):
        humanml3d(human_ml / "index.csv", human_ml / "texts", human_ml)
    assert captions_of(human_ml / "texts" / "000001.txt") == [("a person turns", 0.0, 0.0)]


def test_samp_files_say_what_they_show(tmp_path):
    names = [
        "armchair001_stageII.pkl",
        "chair_mo_stageII.pkl",
        "lie_down_2_stageII.pkl",
        "run_side_stageII.pkl",
        "x.pkl",
    ]
    for name in names:
        (tmp_path / name).touch()
    dataset, problems = samp(tmp_path, scenes={"Armchairs": ("a", "b")})
    found = {f.file: (f.sub_motions[0].action_type, f.sub_motions[0].object_category) for f in dataset.files}
    assert found == {
        names[0]: ("Sit", "Armchairs"),
        names[1]: ("Sit", "StraightChairs"),
        names[2]: ("LieDown", "LargeSofas"),
        names[3]: ("Run", ""),
    }
    assert dataset.files[0].sub_motions[0].supported_scenes == ("a", "b")
    assert [problem.file for problem in problems] == ["x.pkl"]
