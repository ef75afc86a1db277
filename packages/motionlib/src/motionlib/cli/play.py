"""The command play: clips in the browser, or on video."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from motionlib.cli.inputs import Character, Source, dataset_of, items_of, read_clips
from motionlib.cli.session import Command, Session
from motionlib.motion import Motion, MotionError
from motionlib.processing import retargeted

if TYPE_CHECKING:
    from motionlib.viewing import Replay

__all__ = ["Play"]

_MOST = 16
"""clips that fit beside each other"""


@dataclass(frozen=True, kw_only=True)
class Play(Command):
    """Play clips, several side by side, on their own or any other character: in the browser, or as a video.

    motionlib play amp/run --character g1 --compare

    motionlib play amp/walk amp/run --video runs.mp4
    """

    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """files, folders, YAML data sets or samples (amp/walk)"""
    character: Annotated[tuple[Character, ...], tyro.conf.arg(aliases=["--robot"])] = ()
    """built-in characters to play each clip on; its own if left out"""
    ik: bool = True
    """put feet, floor and joint limits right after retargeting; without, rotations are carried over as they are"""
    compare: bool = False
    """paint each clip by the distance of its body parts from the first's (red: 30 cm); that is, with one clip and
    --character, the clip as recorded"""
    video: Path | None = None
    """write this .mp4 instead"""
    width: int = 960
    """of the video, in pixels"""
    height: int = 544
    """of the video, in pixels"""
    seconds: float | None = None
    """how much to play; the longest clip if left out"""
    fps: float | None = None
    """pictures per second; the clips' rate if left out, at most 60"""
    host: str = "127.0.0.1"
    """address of the web page; 0.0.0.0 lets other machines look"""
    port: int = 8080
    """of the web page; the next free one where it is in use"""
    serve_seconds: float | None = None
    """end the web page after so long; Ctrl-C if left out"""
    overwrite: bool = False
    """replace the video if it is there already"""
    progress: bool = False
    """show the progress bar even where stderr is no terminal"""
    source: Source = field(default_factory=Source)

    def run(self, session: Session) -> int:
        """Show the clips until interrupted, or write the video."""
        from motionlib.viewing import RenderError, Replay  # MuJoCo's renderer is loaded for this command alone

        replay = Replay(self._motions(), seconds=self.seconds, fps=self.fps, compare=self.compare)
        facts: dict[str, Any] = {
            "clips": [actor.name for actor in replay.actors],
            "frames": replay.num_frames,
            "fps": replay.fps,
        }
        if self.compare:
            facts["mean_error_mm"] = {
                actor.name: 1000.0 * float(actor.errors.mean()) for actor in replay.actors if actor.errors is not None
            }
            for name, error in facts["mean_error_mm"].items():
                session.say(f"{name}: {error:.0f} mm from {replay.actors[0].name}, mean over body parts and frames")
        try:
            if self.video is not None:
                self._write(session, replay, self.video)
                session.result({"written": [str(self.video)], **facts})
            else:
                self._serve(session, replay)
                session.result(facts)
        except RenderError as error:
            raise MotionError(str(error)) from error
        return 0

    def _motions(self) -> list[Motion]:
        dataset, _ = dataset_of(self.inputs)
        clips: list[Motion] = []
        for item in items_of(dataset, self.source):
            found, problems = read_clips(item)
            if problems:
                raise MotionError(str(problems[0]))
            clips += found
            if len(clips) > _MOST:
                raise MotionError(f"at most {_MOST} clips can be played side by side; there are more in {item.path}")
        if not self.character:
            return clips
        shown = [retargeted(clip, name, ik=self.ik) for clip in clips for name in self.character]
        return [*clips, *shown] if self.compare and len(clips) == 1 else shown

    def _write(self, session: Session, replay: Replay, path: Path) -> None:
        from motionlib.viewing import VideoWriter
        from motionlib.viewing.pictures import pictures

        if path.exists() and not self.overwrite:
            raise MotionError(f"{path} is there already; --overwrite replaces it")
        with VideoWriter(path, replay.fps) as video:
            frames = pictures(replay, width=self.width, height=self.height)
            for picture in session.track(frames, replay.num_frames, "drawing"):
                video.write(picture)
        session.say(f"{path}: {replay.num_frames} pictures, {replay.num_frames / replay.fps:.2f} s")

    def _serve(self, session: Session, replay: Replay) -> None:
        from motionlib.viewing import Viewer

        viewer = Viewer(replay, host=self.host, port=self.port)
        try:
            session.note(f"open {viewer.url} in a browser; Ctrl-C ends")
            viewer.run(self.serve_seconds)
        except KeyboardInterrupt:
            pass
        finally:
            viewer.close()
