"""Clips as pictures: side by side in the browser or in a video, coloured by how far they are from the first.

`Replay` puts clips on a common clock and a common floor; `write_video` films it, `serve` shows it in the browser.
"""

from motionlib.viewing.browser import Viewer
from motionlib.viewing.pictures import Painter, RenderError, VideoWriter, use_headless_opengl, write_video
from motionlib.viewing.replay import Actor, Replay
from motionlib.viewing.shapes import Shape, shapes_of

__all__ = [
    "Actor",
    "Painter",
    "RenderError",
    "Replay",
    "Shape",
    "VideoWriter",
    "Viewer",
    "shapes_of",
    "use_headless_opengl",
    "write_video",
]
