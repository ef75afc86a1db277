"""Where the time of an environment's step goes, by section: what limits it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["SECTIONS", "profile", "settle"]

SECTIONS = ("physics", "reading", "references", "rewards", "observations", "resets", "rest")
"""physics: `Simulator.step`. reading: the engine's state into our conventions. references: the controls, such as the
motion library. rewards: with terminations and metrics. resets: all that ending and beginning episodes takes"""


def settle(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def profile(env: ProtoVectorEnv, actions: list[torch.Tensor]) -> dict[str, float]:
    """Seconds of a step on average by section, from a reset on.

    On a GPU each section waits for its end, so that it is not charged to the next; the sum is more than a step takes
    without that, and shares are what counts.
    """
    env.reset(seed=0)
    with _timed(env) as clock:
        settle(env.device)
        start = time.perf_counter()
        for action in actions:
            env.step(action)
        settle(env.device)
        total = time.perf_counter() - start
    seconds = {name: clock.seconds.get(name, 0.0) for name in SECTIONS}
    seconds["rest"] = total - sum(seconds.values())
    return {name: value / len(actions) for name, value in seconds.items()}


class _Clock:
    """Charges time to the innermost section that is open; resets keep what happens inside them."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._open: list[str] = []
        self._since = 0.0

    def _charge(self) -> None:
        settle(self._device)
        now = time.perf_counter()
        if self._open:
            section = self._open[-1]
            self.seconds[section] = self.seconds.get(section, 0.0) + now - self._since
        self._since = now

    def wrap(self, section: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose time is charged to a section."""

        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self._charge()
            self._open.append("resets" if "resets" in self._open else section)
            try:
                return function(*args, **kwargs)
            finally:
                self._charge()
                self._open.pop()

        return timed


@contextmanager
def _timed(env: ProtoVectorEnv) -> Iterator[_Clock]:
    """Put a clock around the parts of an environment; they are as before at the end."""
    clock = _Clock(env.device)
    places: list[tuple[Any, str, str]] = [
        (env.simulator, "step", "physics"),
        (env, "_outcome", "rewards"),
        (env, "_observe", "observations"),
        (env, "_end_episodes", "resets"),
    ]
    places += [(c, n, "references") for c in env.components.controls.values() for n in ("step", "context", "observe")]
    read = env.simulator.robot

    def robot(*args: Any) -> Any:  # noqa: ANN401
        state = read(*args)
        state._read = clock.wrap("reading", state._read)  # joints are read when they are first asked for
        return state

    for owner, name, section in places:
        setattr(owner, name, clock.wrap(section, getattr(owner, name)))
    env.simulator.robot = clock.wrap("reading", robot)  # type: ignore[method-assign]
    try:
        yield clock
    finally:
        for owner, name, _ in (*places, (env.simulator, "robot", "")):
            delattr(owner, name)  # what the class has is there again
