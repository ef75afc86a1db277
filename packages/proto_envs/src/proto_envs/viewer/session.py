"""A person watches one of N robots, and meddles: all of the viewer but its windows."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_envs.components.user_control import Dial, Menu
from proto_envs.vector_env import ProtoVectorEnv
from proto_envs.viewer.agents import Agent
from proto_envs.viewer.errors import ViewerError
from proto_envs.viewer.frames import Frame, frame_of
from proto_envs.viewer.history import History
from proto_envs.viewer.recorder import Recorder

__all__ = ["CAMERAS", "Session", "innermost"]

Camera = Literal["follow", "behind", "free"]
CAMERAS: tuple[Camera, ...] = ("follow", "behind", "free")
"""follow: goes along. behind: goes along and turns with the robot. free: stands"""

_PUSH = 1.0
"""m/s that a push adds to the robot's velocity, where no perturbation says otherwise"""


def innermost(env: VectorEnv) -> ProtoVectorEnv:
    """The environment of ours beneath others that are laid over it.

    Raises:
        ViewerError: there is none.
    """
    inner: Any = env
    while not isinstance(inner, ProtoVectorEnv):
        beneath = inner.unwrapped if inner.unwrapped is not inner else getattr(inner, "env", None)
        if beneath is None:
            raise ViewerError(f"the viewer shows the environments of proto-envs; {type(inner).__name__} is none")
        inner = beneath
    return inner


class Session:
    """Steps the environments and does what is asked for.

    Only `ask` may be called from other threads; what it is given is done between two steps, in the order of asking.
    """

    def __init__(
        self, env: VectorEnv, agent: Agent, *, seed: int | None = 0, recordings: Path = Path("recordings")
    ) -> None:
        """Begin episodes everywhere and look at the first environment.

        Args:
            env: one of ours, or layers over it.
            agent: who acts.
            seed: of the environment.
            recordings: folder for what is recorded.

        Raises:
            ViewerError: for another environment.
        """
        self.env, self.agent, self.world = env, agent, innermost(env)
        rate = getattr(env.unwrapped, "control_hz", None) or 1.0 / self.world.simulator.dt
        self.dt = 1.0 / float(rate)
        """s from one step to the next; longer than the engine's where a controller holds its choices"""
        self.index = 0
        self.paused = False
        self.speed = 1.0
        """simulated s in a s"""
        self.camera: Camera = "follow"
        self.shows = {"reference": True, "goals": True, "contact forces": True}
        self.settings: dict[str, float | str] = {}
        """what the person has set of the `dials`"""
        self.time = 0.0
        """simulated s since the beginning"""
        self.episode_return = 0.0
        self.history = History()
        self.recorder = Recorder(self.world, recordings, 1.0 / self.dt)
        self.notices: deque[str] = deque(maxlen=20)
        """what the person should know, the latest last; whoever shows them takes them out"""
        self.closed = False
        self._single_steps = 0
        self._asked: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._random = random.Random(seed)
        self._observation, _ = env.reset(seed=seed)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def ask(self, action: Callable[[], object]) -> None:
        """Have something done between two steps; may be called from any thread."""
        self._asked.put(action)

    def tick(self) -> bool:
        """Do what was asked for, then step once unless paused; says whether there may be something new to see."""
        changed = False
        while True:
            try:
                action = self._asked.get_nowait()
            except Empty:
                break
            changed = True
            try:
                action()
            except ViewerError as error:
                self.notices.append(str(error))
        if self.paused and not self._single_steps:
            return changed
        self._single_steps = max(0, self._single_steps - 1)
        self._advance()
        return True

    def _advance(self) -> None:
        action = self.agent.act(self._observation)
        self._observation, reward, terminated, truncated, info = self.env.step(action)
        self.time += self.dt
        i = self.index
        self.episode_return += float(reward[i])
        metrics = {name: float(value[i]) * self._weight(name) for name, value in info.get("metrics", {}).items()}
        self.history.add(self.time, float(reward[i]), metrics)
        if bool(terminated[i]) or bool(truncated[i]):
            self._episode_begins("the episode ended")
        else:
            self.recorder.add()

    def _weight(self, metric: str) -> float:
        """What a term counts for in the reward, so that all have one scale; 1 for what is no term."""
        term = self.world.components.rewards.get(metric.removeprefix("reward/")) if "/" in metric else None
        return 1.0 if term is None else term.weight

    def _episode_begins(self, reason: str) -> None:
        self.episode_return = 0.0
        if self.recorder.recording:
            self._save(f"{reason}: ")
        if self.settings:
            self._obey()

    def _ids(self) -> Tensor:
        return torch.tensor([self.index], device=self.world.device)

    def frame(self) -> Frame:
        """What there is to see now."""
        return frame_of(self.world, self.index)

    @property
    def clip(self) -> str:
        """Name of the clip that is played beside the robot; empty without one."""
        names = self.world.clip_names
        clips = [info["clip"] for control in self._controls() if "clip" in (info := control.info())]
        return names[int(clips[0][self.index])] if names and clips else ""

    def _controls(self) -> tuple[Any, ...]:
        return tuple(self.world.components.controls.values())

    # --- what a person may do ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stand still, or go on."""
        self.paused = not self.paused

    def single_step(self) -> None:
        """One step, then stand still."""
        self.paused = True
        self._single_steps += 1

    def look_at(self, index: int) -> None:
        """Watch another environment; what was set holds there, and the one before is let go.

        Raises:
            ViewerError: for a number that no environment has.
        """
        if not 0 <= index < self.world.num_envs:
            raise ViewerError(f"no environment {index}: there are 0 to {self.world.num_envs - 1}")
        if index == self.index:
            return
        if self.recorder.recording:
            self._save("another robot: ")
        if self.settings:
            self._obey(release=True)
        self.index, self.episode_return = index, 0.0
        self.history.forget()
        if self.settings:
            self._obey()

    def reset(self) -> None:
        """Begin a new episode in the environment that is watched."""
        mask = np.zeros(self.world.num_envs, dtype=bool)
        mask[self.index] = True
        self._observation, _ = self.env.reset(options={"reset_mask": mask})
        self._episode_begins("reset")

    def disturb(self) -> None:
        """Throw a box at the robot where boxes are thrown, else push it.

        Raises:
            ViewerError: the engine cannot push.
        """
        done = self.world.randomization.disturb(self._ids())
        if not done:
            self._push()
        self.notices.append("a box is thrown" if done == "throw" else "pushed")

    def _push(self) -> None:
        simulator = self.world.simulator
        if not simulator.capabilities.apply_force:
            raise ViewerError(f"engine {simulator.capabilities.name} cannot push robots")
        angle = self._random.uniform(-math.pi, math.pi)
        change = torch.zeros(simulator.num_envs, 3, device=simulator.device)
        change[self.index] = change.new_tensor([_PUSH * math.cos(angle), _PUSH * math.sin(angle), 0.0])
        simulator.add_velocity(change, torch.zeros_like(change))

    def renew_goals(self) -> None:
        """Give the robot other goals.

        Raises:
            ViewerError: the task draws none.
        """
        renewed = [control.renew(self._ids()) for control in self._controls()]
        if not any(renewed):
            raise ViewerError(f"task {type(self.world.task).__name__} has no goals that change")
        self.notices.append("new goals")

    def next_camera(self) -> None:
        """Another way to follow the robot."""
        self.camera = CAMERAS[(CAMERAS.index(self.camera) + 1) % len(CAMERAS)]

    def toggle(self, name: str) -> None:
        """Show or hide one of `shows`."""
        self.shows[name] = not self.shows[name]

    def toggle_recording(self) -> None:
        """Begin to record, or write what was recorded."""
        if self.recorder.recording:
            self._save("")
        else:
            self.notices.append(self.recorder.start(self.index))

    def _save(self, reason: str) -> None:
        try:
            files = self.recorder.stop()
        except ViewerError as error:
            self.notices.append(reason + str(error))
            return
        self.notices.append(reason + ("wrote " + ", ".join(map(str, files)) if files else "nothing to write"))

    def cancel_recording(self) -> None:
        """Throw away what was recorded."""
        if self.recorder.recording:
            self.recorder.cancel()
            self.notices.append("recording thrown away")

    def choose_agent(self, name: str) -> None:
        """Let another act.

        Raises:
            ViewerError: it cannot.
        """
        self.agent.choose(name)
        self.notices.append(f"{self.agent.title} {name}")

    def refresh_agent(self) -> None:
        """Take a newer version of who acts, where there is one.

        Raises:
            ViewerError: it cannot be used.
        """
        if self.agent.refresh():
            self.notices.append(f"{self.agent.title} {self.agent.chosen} is new: loaded")

    # --- commands ----------------------------------------------------------------------------------------------------

    @property
    def dials(self) -> tuple[Dial | Menu, ...]:
        """What the task lets a person set, by name."""
        found = {dial.name: dial for control in self._controls() for dial in control.dials()}
        return tuple(found.values())

    def set(self, name: str, value: float | str) -> None:
        """Set a dial or a menu."""
        self.settings[name] = value
        self._obey()

    def nudge(self, role: Literal["turn", "pace"], steps: float) -> None:
        """Move the dial with a role; the others with roles are then set too, since way and speed belong together."""
        for dial in self.dials:
            if isinstance(dial, Dial) and dial.role:
                value = float(self.settings.get(dial.name, dial.start))
                self.settings[dial.name] = dial.moved(value, steps) if dial.role == role else value
        self._obey()

    def let_go(self) -> None:
        """Leave everything to the task again."""
        self.settings.clear()
        self._obey()

    def _obey(self, *, release: bool = False) -> None:
        """Tell each control what was set of its own dials."""
        for control in self._controls():
            if own := {dial.name for dial in control.dials()}:
                told = {} if release else {name: value for name, value in self.settings.items() if name in own}
                control.obey(told, self._ids())

    def close(self) -> None:
        """Stop; what is not written is thrown away."""
        self.closed = True
        self.recorder.close()
