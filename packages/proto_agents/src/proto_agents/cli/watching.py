"""What proto-play shows live: a checkpoint, or one of the agents that need no training, in the browser or a window."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_agents.algorithms.distillation import Distillation
from proto_agents.algorithms.ppo import PPO
from proto_agents.checkpoint import MODEL_FILE, CheckpointError, load_model
from proto_agents.cli.environments import make_environment
from proto_agents.cli.learners import load_policy
from proto_agents.config import Experiment
from proto_agents.parsing import merge
from proto_agents.spaces import Observations, to_observations

_FIRST = ("best", "last")
"""where checkpoints of a run are sought first; the others follow by number"""


def actor(learner: PPO | Distillation, seed: int, *, stochastic: bool) -> Callable[[Observations], Tensor]:
    """Actions of a policy: its most probable ones, or drawn."""
    generator = torch.Generator(learner.device).manual_seed(seed)
    model = learner.model
    return (lambda seen: model.act(seen, generator)) if stochastic else model.act_deterministic


class CheckpointAgent:
    """Acts as a checkpoint of a run does; takes another when asked, or the same anew when training has written it."""

    title = "checkpoint"

    def __init__(
        self, experiment: Experiment, env: VectorEnv, checkpoint: Path, *, seed: int = 0, stochastic: bool = False
    ) -> None:
        """Load the checkpoint.

        Raises:
            CheckpointError: it does not fit the environment.
        """
        self._learner = load_policy(experiment, env, checkpoint)
        self._act = actor(self._learner, seed, stochastic=stochastic)
        self._folder, self.chosen = checkpoint.parent, checkpoint.name
        # A folder that was exported stands alone: what is beside it are other policies.
        self._is_run = (checkpoint.parent / "config.yaml").is_file()
        self._stamp = self._written(self.chosen)

    @property
    def choices(self) -> tuple[str, ...]:
        """The checkpoints that the run has now."""
        if not self._is_run:
            return (self.chosen,)
        there = {path.parent.name for path in self._folder.glob(f"*/{MODEL_FILE}") if path.parent.name[0] != "."}
        return tuple(sorted(there | {self.chosen}, key=_order))

    def act(self, observation: Any) -> Tensor:  # noqa: ANN401 - as the environment speaks
        """What the policy does."""
        with torch.no_grad():
            return self._act(to_observations(observation, self._learner.device))

    def choose(self, name: str) -> None:
        """Load another checkpoint of the run.

        Raises:
            ViewerError: it is not there any more, or damaged.
        """
        from proto_envs.viewer import ViewerError

        stamp = self._written(name)
        try:
            load_model(self._learner.model, self._folder / name, policy_only=True)
        except CheckpointError as error:
            raise ViewerError(str(error)) from error
        self.chosen, self._stamp = name, stamp

    def refresh(self) -> bool:
        """Load the checkpoint anew where training has replaced it.

        Raises:
            ViewerError: the new one cannot be used.
        """
        stamp = self._written(self.chosen)
        if stamp in (0, self._stamp):
            return False
        # Noted first: one that cannot be used is tried once.
        self._stamp = stamp
        self.choose(self.chosen)
        return True

    def _written(self, name: str) -> int:
        """When a checkpoint was written, ns; 0 where there is none, as for a moment while it is replaced."""
        try:
            return (self._folder / name / MODEL_FILE).stat().st_mtime_ns
        except OSError:
            return 0


def _order(name: str) -> tuple[int, int, str]:
    """best, last, then by the number at the end."""
    number = name.rpartition("-")[2]
    place = _FIRST.index(name) if name in _FIRST else len(_FIRST)
    return place, int(number) if number.isdecimal() else 0, name


def watch(
    experiment: Experiment,
    checkpoint: Path | None,
    agent: str,
    *,
    num_envs: int,
    seed: int,
    stochastic: bool,
    overlay: dict[str, Any] | None,
    recordings: Path,
    host: str,
    port: int,
    window: bool,
    seconds: float | None,
) -> None:
    """Show environments until interrupted.

    Args:
        experiment: what to show.
        checkpoint: who acts; None: `agent`.
        agent: one of `proto_envs.viewer.AGENTS`.
        num_envs: how many robots.
        seed: of the environment and of drawn actions.
        stochastic: draw the policy's actions.
        overlay: keyword arguments of the environment.
        recordings: folder for what is recorded.
        host: address to listen at.
        port: of the page.
        window: MuJoCo's window in place of the page.
        seconds: wall time after which to stop; None: never.

    Raises:
        ConfigError, CheckpointError: the environment cannot be made, or the checkpoint does not fit.
        ViewerError: it cannot be shown.
    """
    from proto_envs.viewer import BrowserViewer, ScriptedAgent, Session, WindowViewer, run
    from proto_envs.viewer.session import innermost

    # A few robots are small tensors: threads would wait for each other, 10 ms at a time on a busy machine.
    torch.set_num_threads(1)
    # What an evaluation measures is what there is to plot.
    ours: dict[str, Any] = {"detailed_metrics": True} if experiment.env.id.startswith("Proto") else {}
    env = make_environment(experiment, num_envs, merge(merge(ours, experiment.evaluation.env), overlay or {}))
    viewer: BrowserViewer | WindowViewer | None = None
    session: Session | None = None
    try:
        acting = (
            ScriptedAgent(innermost(env), agent, seed=seed)
            if checkpoint is None
            else CheckpointAgent(experiment, env, checkpoint, seed=seed, stochastic=stochastic)
        )
        session = Session(env, acting, seed=seed, recordings=recordings)
        if window:
            viewer = WindowViewer(session)
        else:
            viewer = BrowserViewer(session, experiment.env.id, host=host, port=port)
            print(f"look at {viewer.url} (Ctrl-C ends)", flush=True)
        run(session, viewer, seconds)
    except KeyboardInterrupt:
        print()
    finally:
        for part in (session, viewer, env):
            if part is not None:
                part.close()
