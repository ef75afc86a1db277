"""Captions of mirrored clips: left <-> right and clockwise <-> counterclockwise, and nothing else.

Words are exchanged whole ("bright", "upright" and "leftovers" hold no side), in compounds of a side ("left-handed",
"rightwards", "leftmost", "turn_left"), and with their case. Two words of English are not always a side:

- *right* as "exactly", "at once" or "correct": "right away", "right after he lands", "right in front", "all right",
  "a right angle", "stands up right";
- *left* as the past of "leave": "left the room", "has left", "what is left", "nothing left", "was left alone".

The tables below list these phrases. What stands around the word decides: after a word of direction ("turns right after
a few steps") or an article or possessive ("to the right before", "her left behind her"), and next to the other side
("right over left"), it is a side.

Flipped twice a caption is itself again, unless flipping makes one of the phrases by chance, or "counterclockwise" is
spelled otherwise ("anti-clockwise") in a caption without another such word: it returns in the usual spelling.
"""

from __future__ import annotations

import re

__all__ = ["flip_caption"]

_COMPOUNDS = "wards?|most|y|hand|handed|hander|handers|side|sided|foot|footed"
"""endings that are written in one word with a side"""
_SIDE = re.compile(
    rf"(?<![A-Za-z])(left|right|Left|Right|LEFT|RIGHT)((?:{_COMPOUNDS}|{_COMPOUNDS.upper()})?)(?![A-Za-z])"
)
_OTHER = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
_OTHER |= {right: left for left, right in _OTHER.items()}
_TURN = re.compile(
    r"(?<![A-Za-z])(?P<counter>(?:counter|anti|contra)[\s-]*)?(?P<clock>clock[\s-]?wise)(?![A-Za-z])"
    r"|(?<![A-Za-z])(?P<short>c?cw)(?![A-Za-z])",
    re.IGNORECASE,
)


def flip_caption(caption: str) -> str:
    """The caption of the mirrored clip.

    Args:
        caption: English text, in any case; labels such as "turn_left" too.
    """
    prefix = next((m["counter"].lower() for m in _TURN.finditer(caption) if m["counter"]), None)
    caption = _TURN.sub(lambda match: _other_turn(match, prefix), caption)
    return _SIDE.sub(_other_side, caption)


# --- clockwise -------------------------------------------------------------------------------------------------------


def _other_turn(match: re.Match[str], prefix: str | None) -> str:
    if short := match["short"]:
        return short[1:] if len(short) == 3 else short[0] + short
    clock = match["clock"]
    if counter := match["counter"]:
        return clock[0].upper() + clock[1:] if counter[0].isupper() else clock
    if prefix is None:
        prefix = "counter" + clock[5:-4]  # with the gap of "clock-wise", if any
    if clock.isupper():
        return prefix.upper() + clock
    return prefix.capitalize() + clock[0].lower() + clock[1:] if clock[0].isupper() else prefix + clock


# --- left and right --------------------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(phrase.strip() for phrase in text.split(";"))


# Neighbours that decide. "" is the end of the caption or of a phrase.
_ARTICLES = _words("the a an his her their its my your our to on from each both either other one")
_DIRECTED = re.compile(
    r"(?:turn|veer|steer|fac|look|lean|bank|curv|pivot|rotat|spin|twist|swerv|bend|shift|sway|swing|lung|sidestep"
    r"|shuffl|step|slid|glanc|point|drift|hop|cross|circl|straf|walk|mov|go|run|jog|head|reach|kick|punch|forward"
    r"|backward|upward|downward|far|slight|sharp|front|back|lower|upper|diagonal|sideway)[a-z]*$"
)
"""before the word: what goes somewhere, or says where"""
_PARTS = re.compile(
    r"(?:arm|hand|leg|foot|feet|knee|elbow|shoulder|hip|side|fist|ankle|wrist|heel|toe|thigh|shin|calf|palm|finger"
    r"|thumb|ear|eye|forearm|glove|shoe|bicep|hook|jab|punch|kick|turn|step|corner|direction)s?$"
)
"""after the word: what has a side"""

_EXACTLY_ALWAYS = _phrases("up to; up against; on top; on time; on cue; next to; side up; way up")
"""right ...: goes before a word of direction"""
_EXACTLY = _phrases(
    "in front; in the; in between; on the; up until; up next; back up; back down; back to; back into; back in; back on;"
    "back again; back where; back around; back; to it"
) | _words(
    "away now after before when where as at here there next beside above below beneath underneath under behind past "
    "through alongside near"
)
"""right ...: "exactly", "at once\""""
_CORRECT = _words("angle angles angled triangle time moment amount size answer order place thing word words")
"""right ...: goes before an article"""
_RISEN = _words(
    "stand stands standing stood sit sits sitting sat stay stays staying get gets getting straighten straightens "
    "straightened hold holds holding held straight back posture"
)
"""... up right: "upright\""""

_BE = _words("is are was were be been being 's gets got remains")
_HAVE = _words("has have had having 've 'd already just")
_REST = _words("what whatever nothing anything something everything all that much none nobody")
_WHO = _words(
    "he she they it we i you who person man woman someone somebody figure character boy girl guy human individual "
    "subject dancer actor player people everyone"
)
_LEFT_STATES = _words("alone behind standing lying hanging over unattended open off out")
_LEFT_OBJECTS = _words("the a an his her their its my this that these those for from home again")
_PLACES = _words(
    "room building scene place area stage house chair floor ground table frame spot field court gym car bus door party "
    "line group circle screen view"
)


def _other_side(match: re.Match[str]) -> str:
    side, ending = match[1], match[2]
    if not ending and _is_no_side(match):
        return match[0]
    return _OTHER[side] + ending


def _is_no_side(match: re.Match[str]) -> bool:
    """Whether this left or right means something else."""
    text, word = match.string, match[0].lower()
    if text[match.end() : match.end() + 1] in ("-", "_", "/"):  # left-handed, left_turn, left/right
        return word == "right" and re.match(r"-angle", text[match.end() :].lower()) is not None
    before, after = _words_before(text, match.start()), _words_after(text, match.end())
    if word == "right" and (_means_upright(before, after) or after[0] in _CORRECT):
        return True
    if word == "right" and " ".join(after[:2]) in _EXACTLY_ALWAYS:
        return True
    opposite = "left" if word == "right" else "right"
    if opposite in after or _PARTS.match(after[0]):
        return False
    if before[0] in _ARTICLES or _DIRECTED.match(before[0]):
        return False
    return _means_exactly(before, after) if word == "right" else _means_departed(before, after)


def _words_before(text: str, index: int) -> list[str]:
    """The two words before, the nearest first; "" beyond the phrase."""
    phrase = re.split(r"[^\w\s'-]", text[:index].lower().rstrip("-"))[-1]
    return [*reversed(phrase.replace("what's", "what 's").replace("that's", "that 's").split()), "", ""][:2]


def _words_after(text: str, index: int) -> list[str]:
    """The three words after; "" beyond the phrase."""
    phrase = re.split(r"[^\w\s'-]", text[index:].lower())[0]
    return [*phrase.split(), "", "", ""][:3]


def _means_upright(before: list[str], after: list[str]) -> bool:
    """Stands up right, but not: stands up right foot first."""
    return before[0] == "up" and before[1] in _RISEN and not _PARTS.match(after[0])


def _means_exactly(before: list[str], after: list[str]) -> bool:
    if before[0] in ("all", "just", "'s"):
        return True
    return after[0] in _EXACTLY or " ".join(after[:2]) in _EXACTLY


def _means_departed(before: list[str], after: list[str]) -> bool:
    ends = not after[0]
    if before[0] in _REST:
        return ends or after[0] in _LEFT_STATES or after[0] in ("to", "in", "on", "of", "is", "for")
    if before[0] in _BE:
        return before[1] in _REST or after[0] in _LEFT_STATES
    if before[0] in _HAVE:
        return ends or after[0] in _LEFT_OBJECTS or after[0] in _LEFT_STATES
    if before[0] in _WHO:
        return after[0] in _LEFT_OBJECTS or (ends and before[0] in ("he", "she", "they", "who"))
    return after[0] in _LEFT_OBJECTS and after[1] in _PLACES
