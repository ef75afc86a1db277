from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motionlib.processing.captions import flip_caption

FLIPPED = {
    "a person turns left": "a person turns right",
    "Left foot first, then the right.": "Right foot first, then the left.",
    "RAISES LEFT ARM": "RAISES RIGHT ARM",
    "a left-handed throw": "a right-handed throw",
    "a lefthanded throw": "a righthanded throw",
    "moves leftwards to the leftmost spot": "moves rightwards to the rightmost spot",
    "turn_left": "turn_right",
    "walks left/right": "walks right/left",
    "sways left-to-right": "sways right-to-left",
    "walks to the right after a stop": "walks to the left after a stop",
    "turns right after walking": "turns left after walking",
    "steps right then left": "steps left then right",
    "crosses left over right": "crosses right over left",
    "has left foot forward": "has right foot forward",
    "his stance is left foot forward": "his stance is right foot forward",
    "is left of center": "is right of center",
    "kicks with his right back leg": "kicks with his left back leg",
    "stands up right foot first": "stands up left foot first",
    "a person walked left the whole time": "a person walked right the whole time",
    "right now, raises right hand": "right now, raises left hand",
    "moves up-right": "moves up-left",
    "walks clockwise": "walks counterclockwise",
    "Clockwise circle": "Counterclockwise circle",
    "CLOCKWISE": "COUNTERCLOCKWISE",
    "turns clock-wise": "turns counter-clock-wise",
    "turns clockwise, then anticlockwise": "turns anticlockwise, then clockwise",
    "spins ccw": "spins cw",
}
KEPT = [
    "stands upright in bright light",
    "stands up right",
    "sits up-right and waves",
    "he sits down right away",
    "he is all right",
    "that's right",
    "jumps right after landing",
    "right in front of him",
    "walks right up to the chair",
    "sits right back down",
    "bends at a right angle",
    "a right-angled turn",
    "the right way up",
    "what is left of the ball",
    "what's left",
    "there is nothing left",
    "the man left the room",
    "a person walks to the door, then left the room",
    "has left the scene",
    "she was left alone",
    "leftovers, copyright, playwright, fright, rights, downright",
]


@pytest.mark.parametrize(("caption", "flipped"), FLIPPED.items())
def test_sides_are_exchanged_and_back(caption, flipped):
    assert flip_caption(caption) == flipped
    assert flip_caption(flipped) == caption


@pytest.mark.parametrize("caption", KEPT)
def test_what_is_no_side_stays(caption):
    assert flip_caption(caption) == caption


@pytest.mark.parametrize(
    "spelling", ["counterclockwise", "counter-clockwise", "counter clockwise", "anticlockwise", "anti-clockwise"]
)
def test_every_spelling_of_counterclockwise_is_understood(spelling):
    assert flip_caption(f"a person walks {spelling} in a circle") == "a person walks clockwise in a circle"
    assert flip_caption(spelling.capitalize()) == "Clockwise"
    assert flip_caption(flip_caption(f"walks {spelling}")) == "walks counterclockwise"


SUBJECTS = st.sampled_from(["a person", "The man", "someone", "she", "A figure in bright clothes standing upright"])
MOVES = st.sampled_from(["turns", "walks slowly", "takes two steps", "runs", "spins", "moves diagonally", "looks"])
SIDES = st.sampled_from(["left", "right", "LEFT", "Right", "leftwards", "clockwise", "counterclockwise", "to the left"])
LIMBS = st.sampled_from(["raises the left arm", "kicks with right foot", "puts both hands up", "is left-handed"])
ENDS = st.sampled_from(["", ".", " right away.", ", then stops right in front of the wall", " and left the room"])


@given(SUBJECTS, MOVES, SIDES, LIMBS, ENDS)
def test_flipped_twice_a_caption_is_itself(subject, move, side, limb, end):
    caption = f"{subject} {move} {side} and {limb}{end}"
    flipped = flip_caption(caption)
    assert flipped != caption
    assert flip_caption(flipped) == caption


@given(st.text(st.sampled_from("abghilprtuw LR.-"), max_size=40))
def test_text_without_the_words_stays(text):
    if not any(word in text.lower() for word in ("left", "right", "clock", "cw")):
        assert flip_caption(text) == text
