"""A robot's motion as a clip, and its picture as a video, from now on until told to stop."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from motionlib.viewing import RenderError
from proto_envs.motion_recording import MotionRecorder
from proto_envs.recording import SceneRenderer, VideoWriter
from proto_envs.vector_env import ProtoVectorEnv
from proto_envs.viewer.errors import ViewerError

__all__ = ["Recorder"]


class Recorder:
    """Writes `<time>.npz`, a clip that motionlib reads, and where the machine can draw `<time>.mp4`."""

    def __init__(self, env: ProtoVectorEnv, folder: Path, fps: float) -> None:
        """Write into `folder`, which is made with the first recording; `fps` steps are one second."""
        self._env, self._folder, self._fps = env, folder, fps
        self._renderer: SceneRenderer | None = None
        self._cannot_draw = ""
        self._begin()

    def _begin(self) -> None:
        self.recording = False
        self._poses: MotionRecorder | None = None
        self._stack = ExitStack()
        self._video: VideoWriter | None = None

    def start(self, index: int) -> str:
        """Begin to record environment `index`; says what will be written.

        Raises:
            ViewerError: the folder cannot be written.
        """
        self._begin()
        self._index, name = index, time.strftime("%Y%m%d-%H%M%S")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            taken = {path.stem for path in self._folder.iterdir()}
        except OSError as error:
            raise ViewerError(f"cannot record into {self._folder}: {error.strerror}") from error
        self._path = self._folder / next(n for n in (name, *(f"{name}-{k}" for k in range(2, 1000))) if n not in taken)
        self._open_video()
        self._poses = MotionRecorder(self._env, [index], self._fps)
        self.recording = True
        self.add()
        return f"recording {self._path.name}" + (f" without a video: {self._cannot_draw}" if self._cannot_draw else "")

    def _open_video(self) -> None:
        """A recording without a picture is better than none."""
        try:
            if self._renderer is None and not self._cannot_draw:
                self._renderer = SceneRenderer(
                    self._env.robot, self._env.ground.terrain, self._env.simulator.scenes, width=960, height=544
                )
            if self._renderer is not None:
                video = VideoWriter(self._path.with_suffix(".mp4"), self._fps)
                self._video = self._stack.enter_context(video)
        except RenderError as error:
            self._cannot_draw = str(error)

    def add(self) -> None:
        """Take the present pose and picture."""
        if self._poses is None:
            return
        self._poses.add()
        if self._video is not None and self._renderer is not None:
            sight = self._env.sight(self._index)
            self._video.write(self._renderer.frame(sight.qpos, sight.ghost, sight.markers, sight.objects))

    def stop(self) -> tuple[Path, ...]:
        """Write what was recorded; the files, none for less than two frames.

        Raises:
            ViewerError: they cannot be written; what was recorded is lost.
        """
        if self._poses is None:
            return ()
        if len(self._poses) < 2:
            self.cancel()
            return ()
        motion = self._poses.motion(0, self._path.name)
        files = [self._path.with_suffix(".npz")]
        if self._video is not None:
            files.append(self._video.path)
        try:
            motion.save(files[0])
            self._stack.close()
        except OSError as error:
            raise ViewerError(f"cannot write {files[0]}: {error.strerror}") from error
        finally:
            self._begin()
        return tuple(files)

    def cancel(self) -> None:
        """Throw away what was recorded."""
        # An error inside makes the writer leave nothing behind.
        self._stack.__exit__(InterruptedError, InterruptedError(), None)
        self._begin()

    def close(self) -> None:
        """Throw away what is not written, free the renderer."""
        if self.recording:
            self.cancel()
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
