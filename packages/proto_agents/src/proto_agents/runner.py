"""The training loop: collect, update, log, evaluate, checkpoint."""

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_agents import checkpoint as checkpoints
from proto_agents import distributed
from proto_agents.algorithms.discriminator_reward import DiscriminatorReward
from proto_agents.algorithms.learner import Buffer, Learner
from proto_agents.environment import NonFiniteError, TensorEnvironment, Transition
from proto_agents.evaluation import EvaluationConfig, EvaluationReport, evaluate
from proto_agents.interruption import Interruption
from proto_agents.logging import LoggerName, Writer, make_writers
from proto_agents.progress import Progress, count, duration
from proto_agents.rank_states import of_this_rank, with_other_ranks
from proto_agents.recording import Recording
from proto_agents.run_lock import RunLock
from proto_agents.spaces import Observations

__all__ = ["EpisodeStatistics", "RunResult", "Runner", "RunnerConfig"]


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """Length, bookkeeping and place of a run."""

    max_samples: int = 10_000_000
    """environment steps, all environments of all processes together, after which the run ends"""
    evaluate_every: int = 500_000
    """samples between evaluations; 0: only at the end"""
    evaluate_from: int = 0
    """samples before which nothing is evaluated: where only the end of a run can be the best, evaluate often there"""
    checkpoint_every: int = 500_000
    """samples between saves of last/"""
    keep_every: int = 0
    """samples between checkpoints that are kept as step-N/; 0: none"""
    best_metric: str = "mean_return"
    """number of the evaluation by which best/ is chosen (a field of EvaluationReport or a metric of the environment)"""
    best_mode: Literal["max", "min"] = "max"
    """whether a higher or a lower `best_metric` is better; of equals the later one is kept"""
    seed: int = 0
    """of the networks, the actions, the minibatches and the environment's first reset"""
    device: str = "auto"
    """of the networks: cpu, cuda, cuda:1, ...; auto: where the environment's tensors are"""
    initial_policy: str = ""
    """run, checkpoint or pretrained/<name> whose policy proto-train begins with, to train on; its value function is not
    taken over. Empty: a fresh policy"""
    run_dir: str = ""
    """run folder; empty: runs/<experiment's name>, with a number appended where that exists"""
    auto_resume: bool = False
    """go on from last/ where the run folder (empty: runs/<experiment's name>) holds this run already, else begin it"""
    threads: int = 0
    """CPU threads of torch; 0: leave as it is"""
    logger: LoggerName = "tensorboard"
    """in addition to metrics.jsonl"""
    report: bool = False
    """after training: evaluate best/, draw the learning curve, record a video, print a summary"""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended."""

    samples: int
    """environment steps"""
    interrupted: bool
    """whether a signal ended it before max_samples"""
    folder: Path
    """the run folder"""
    report: EvaluationReport | None
    """the last evaluation"""


class EpisodeStatistics:
    """Return and length of the running episodes, and means over those that ended since the last `take`."""

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.returns = torch.zeros(num_envs, device=device)
        self.lengths = torch.zeros(num_envs, device=device)
        self._ended = torch.zeros(3, dtype=torch.float64, device=device)  # episodes, sum of returns, sum of lengths

    def add(self, reward: Tensor, done: Tensor, valid: Tensor) -> None:
        """One step; reward, done, valid: (N,)."""
        self.returns += reward * valid
        self.lengths += valid
        ended = done.float()
        self._ended += torch.stack((ended.sum(), (self.returns * ended).sum(), (self.lengths * ended).sum())).double()
        self.returns *= 1.0 - ended
        self.lengths *= 1.0 - ended

    def take(self) -> dict[str, float]:
        """Means since the last call, of all processes; empty where no episode ended."""
        episodes, returns, lengths = distributed.sum_over_ranks(self._ended).tolist()
        self._ended.zero_()
        return {"episode/return": returns / episodes, "episode/length": lengths / episodes} if episodes else {}


class Runner:
    """Trains a learner on an environment and keeps its run folder.

    Of several processes that train together (`proto_agents.distributed`) each has a runner, with environments of its
    own and a learner like the others'. Rank 0 evaluates, logs and writes.
    """

    def __init__(
        self,
        env: VectorEnv,
        learner: Learner,
        config: RunnerConfig | None = None,
        *,
        discriminator: DiscriminatorReward | None = None,
        evaluation_env: VectorEnv | None = None,
        evaluation: EvaluationConfig | None = None,
        recording: Recording | None = None,
        experiment: Mapping[str, Any] | None = None,
        quiet: bool = False,
    ) -> None:
        """Makes the run folder; nothing runs before `run`.

        Args:
            env: any gymnasium vector environment; of several processes, this one's share.
            learner: made for the environment's single spaces, such as `PPO`.
            config: length and bookkeeping.
            discriminator: rewards what passes for an expert's, and learns to tell.
            evaluation_env: a second environment; without it nothing is evaluated and best/ is not written.
            evaluation: seed and limits of evaluations.
            recording: films evaluations, or writes their motion.
            experiment: what config.yaml will say; the configurations given here where None.
            quiet: print nothing.

        Raises:
            ValueError: the discriminator rewards in parts and the learner values others.
        """
        self.config = config or RunnerConfig()
        parts = () if discriminator is None else discriminator.config.reward_parts
        if learner.reward_parts != parts:
            raise ValueError(f"the learner values reward parts {learner.reward_parts}, but rewards come with {parts}")
        self.env = TensorEnvironment(env, learner.device)
        self.learner = learner
        self.discriminator = discriminator
        self.evaluation_env = evaluation_env
        self.evaluation = evaluation or EvaluationConfig()
        self.recording = recording
        self.experiment = dict(experiment) if experiment is not None else self._own_experiment()
        self.folder = Path(self.config.run_dir or "runs/unnamed")
        self.num_envs = env.num_envs * distributed.world_size()
        """environments, all processes together"""
        self.progress = Progress(enabled=not quiet and distributed.is_main())
        self.samples = 0
        self.iteration = 0
        self.best: float | None = None
        self.report: EvaluationReport | None = None
        self.observations: Observations | None = None
        self.statistics = EpisodeStatistics(env.num_envs, learner.device)
        self._last_episode: dict[str, float] = {}
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        if distributed.is_main():
            checkpoints.make_folder(self.folder)
        distributed.broadcast(learner.model.state_dict().values())
        if discriminator is not None:
            distributed.broadcast(discriminator.model.state_dict().values())

    def run(self) -> RunResult:
        """Trains until `max_samples`, SIGINT, SIGTERM or SIGUSR1; saves last/ in either case.

        Raises:
            CheckpointError: another run holds the folder, or a checkpoint cannot be written.
            NonFiniteError: an update left weights that are NaN or infinite; last/ is that of before.
        """
        with RunLock(self.folder, scheduled=self.config.auto_resume) if distributed.is_main() else nullcontext():
            return self._train()

    def _train(self) -> RunResult:
        config = self.config
        writers = self._open_folder() if distributed.is_main() else ()
        buffer = self.learner.make_buffer(self.env.num_envs)
        self._say_beginning()
        started, start_samples = time.monotonic(), self.samples
        with Interruption() as interruption, self.progress:
            while self.samples < config.max_samples and not interruption.requested_anywhere():
                before = self.samples
                values = self.iterate(buffer)
                is_best = False
                due = self._due(config.evaluate_every, before) and self.samples >= config.evaluate_from
                if due or self.samples >= config.max_samples:
                    values |= self._evaluate(writers)
                    is_best = distributed.any_rank(self._is_best())
                for writer in writers:
                    writer.write(self.samples, {"iteration": self.iteration} | values)
                is_kept = self._due(config.keep_every, before)
                if is_best or is_kept or self._due(config.checkpoint_every, before):
                    self._save(("best",) * is_best + (f"step-{self.samples}",) * is_kept)
                self._show(values, self.samples - start_samples, time.monotonic() - started)
            self._save()
            interrupted = interruption.requested_anywhere()
            self._say_end(interruption, writers)
            # A launcher that sees one process gone ends the others: not while rank 0 writes.
            distributed.wait_for_all()
        return RunResult(samples=self.samples, interrupted=interrupted, folder=self.folder, report=self.report)

    def _open_folder(self) -> tuple[Writer, ...]:
        checkpoints.write_atomically(self.folder / "config.yaml", yaml.safe_dump(self.experiment, sort_keys=False))
        return make_writers(self.folder, self.config.logger, self.experiment, keep_until=self.samples)

    def iterate(self, buffer: Buffer) -> dict[str, float]:
        """One iteration: fill the buffer, improve the model. Returns what to log, means over all processes."""
        clock = time.monotonic()
        if self.observations is None:
            self.observations = self.env.reset(seed=distributed.rank_seed(self.config.seed))
        values = self._collect(buffer)
        collected = time.monotonic()
        self.learner.progress = self.samples / self.config.max_samples
        values |= self.learner.update(buffer, self.learner.value(self.observations))
        if self.discriminator is not None:
            values |= self.discriminator.update()
        self._refuse_lost_weights(values)
        updated = time.monotonic()
        self.iteration += 1
        samples = buffer.horizon * self.num_envs
        self.samples += samples
        values["speed/samples_per_second"] = samples / (updated - clock)
        values["speed/rollout_share"] = (collected - clock) / (updated - clock)
        return distributed.averaged(values)

    def _refuse_lost_weights(self, values: Mapping[str, float]) -> None:
        """Ends the run before weights that mean nothing are saved over those that do."""
        weights = [(name, p) for name, p in self.learner.model.named_parameters() if p.numel()]
        if bool(torch.stack([torch.isfinite(p.detach()).all() for _, p in weights]).all()):
            return
        lost = [name for name, p in weights if not bool(torch.isfinite(p.detach()).all())]
        lost += [name for name, value in values.items() if not math.isfinite(value)]
        listed = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        raise NonFiniteError(
            f"the update of iteration {self.iteration} left values that are NaN or infinite: {listed}. Nothing was"
            f" saved since; lower the learning rate, then go on from last/: --resume {self.folder}"
        )

    def resume(self, checkpoint: Path | None = None) -> None:
        """Goes on from a checkpoint (default: last/ of the run folder).

        Exactly where the environment can be saved and as many processes go on as there were.
        """
        folder = checkpoint or checkpoints.find_checkpoint(self.folder, ("last",))
        state = checkpoints.load_state(folder)
        checkpoints.load_model(self.learner.model, folder)
        anew = self.config.seed + state["iteration"]
        stored = checkpoints.load_tensors(folder / checkpoints.TRAINER_FILE)
        tensors = of_this_rank(stored, state.get("ranks", 1), anew, self.learner.device)
        self.learner.load_state_dict(_strip("learner/", tensors))
        if self.discriminator is not None:
            self.discriminator.load_state_dict(_strip("discriminator/", tensors))
        self.samples, self.iteration, self.best = state["samples"], state["iteration"], state["best"]
        self.env.steps = state["steps"]
        environment = _strip("environment/", tensors)
        if environment and environment["resetting"].shape[0] == self.env.num_envs:
            self.observations = self.env.load_state_dict(environment, seed=distributed.rank_seed(self.config.seed))
            self.statistics.returns.copy_(tensors["episode/returns"])
            self.statistics.lengths.copy_(tensors["episode/lengths"])
        else:  # a new seed, or the environments would repeat the episodes of the run's beginning
            self.progress.say("no state of such environments is in the checkpoint: their episodes start anew")
            self.observations = self.env.reset(seed=distributed.rank_seed(anew))

    def _collect(self, buffer: Buffer) -> dict[str, float]:
        """Fills the buffer; returns the means of the environment's metrics and of the episodes that ended."""
        assert self.observations is not None
        sums: dict[str, Tensor] = {}
        steps = torch.zeros((), device=self.learner.device)
        buffer.clear()
        for _ in range(buffer.horizon):
            step = self.learner.act(self.observations)
            transition = self._reward(self.env.step(step.action))
            buffer.add(step, transition, self.learner.value(transition.truncated_observations))
            self.observations = transition.observations
            done = transition.terminated | transition.truncated
            self.statistics.add(transition.reward, done, transition.valid)
            steps += transition.valid.sum()
            for name, metric in transition.metrics.items():
                total = torch.where(transition.valid, metric.float(), 0.0).sum()
                sums[name] = sums[name] + total if name in sums else total
        values = {f"metrics/{name}": (total / steps.clamp(min=1.0)).item() for name, total in sums.items()}
        self._last_episode = self.statistics.take() or self._last_episode
        return values | self._last_episode

    def _reward(self, transition: Transition) -> Transition:
        """The transition with the reward of the discriminator, if there is one; it may end episodes."""
        if self.discriminator is None:
            return transition
        transition, ended = self.discriminator.shape(transition)
        if ended is None or not bool(ended.any()):
            return transition
        return replace(transition, observations=self.env.restart(ended))

    def _evaluate(self, writers: tuple[Writer, ...]) -> dict[str, float]:
        if self.evaluation_env is None:
            return {}
        env, policy, device = self.evaluation_env, self.learner.model.act_deterministic, self.learner.device
        with nullcontext(()) if self.recording is None else self.recording.of(self.samples) as evaluators:
            self.report = evaluate(env, policy, self.evaluation, device, evaluators=evaluators)
        for video in () if self.recording is None else self.recording.take_videos():
            for writer in writers:
                writer.write_video(self.samples, video)
        return {f"evaluation/{name}": value for name, value in self.report.values().items()}

    def _is_best(self) -> bool:
        """Whether the evaluation just made is the best so far; if so, remembers it."""
        if self.report is None:
            return False
        values = self.report.values()
        if self.config.best_metric not in values:
            raise ValueError(
                f"runner.best_metric {self.config.best_metric!r} is not in the evaluation's report; "
                f"it has {', '.join(sorted(values))}"
            )
        value = values[self.config.best_metric]
        sign = 1.0 if self.config.best_mode == "max" else -1.0
        if self.best is not None and sign * value < sign * self.best:
            return False
        self.best = value
        return True

    def _save(self, copies: tuple[str, ...] = ()) -> None:
        """Writes last/, and copies of it under these names."""
        trainer = {f"learner/{key}": value for key, value in self.learner.state_dict().items()}
        if self.discriminator is not None:
            trainer |= {f"discriminator/{key}": value for key, value in self.discriminator.state_dict().items()}
        environment = self.env.state_dict()
        if environment is not None:
            trainer |= {f"environment/{key}": value for key, value in environment.items()}
            trainer |= {"episode/returns": self.statistics.returns, "episode/lengths": self.statistics.lengths}
        trainer = with_other_ranks(trainer)
        if not distributed.is_main():
            return
        state = {
            "ranks": distributed.world_size(),
            "samples": self.samples,
            "iteration": self.iteration,
            "steps": self.env.steps,
            "best": self.best,
            "learning_rate": self.learner.learning_rate,
            "episode": self._last_episode,
            "evaluation": self.report.values() if self.report is not None else {},
        }
        folder = self.folder / "last"
        checkpoints.save_checkpoint(folder, self.learner.model.state_dict(), trainer, state)
        for name in copies:
            checkpoints.copy_checkpoint(folder, self.folder / name)

    def _due(self, every: int, before: int) -> bool:
        """Whether the last iteration crossed a multiple of `every` samples."""
        return every > 0 and self.samples // every > before // every

    def _show(self, values: Mapping[str, float], samples: int, seconds: float) -> None:
        rate = samples / max(seconds, 1e-9)
        left = max(0, self.config.max_samples - self.samples) / max(rate, 1e-9)
        parts = [
            f"iteration {self.iteration}",
            f"samples {count(self.samples)}/{count(self.config.max_samples)}",
            f"{count(rate)}/s",
            f"left {duration(left)}",
        ]
        if "episode/return" in values:
            parts += [f"return {values['episode/return']:.2f}", f"episode {values['episode/length']:.0f} steps"]
        if self.report is not None:
            known = self.report
            if known.mpjpe_mm is not None:
                parts.append(f"mpjpe {known.mpjpe_mm:.0f} mm")
            if known.success_rate is not None:
                parts.append(f"success {100.0 * known.success_rate:.0f} %")
            else:
                parts.append(f"evaluation return {known.mean_return:.2f}")
        is_last = self.samples >= self.config.max_samples
        self.progress.show("  ".join(parts), force=is_last or any(name.startswith("evaluation/") for name in values))

    def _say_beginning(self) -> None:
        acting = checkpoints.policy_tensors(dict(self.learner.model.named_parameters())).values()
        trained, total = sum(p.numel() for p in acting if p.requires_grad), sum(p.numel() for p in acting)
        self.progress.say(f"policy of {total:,} weights, {trained:,} of them trained")

    def _say_end(self, interruption: Interruption, writers: tuple[Writer, ...]) -> None:
        for writer in writers:
            writer.close()
        if interruption.requested:
            self.progress.say(
                f"stopped by {interruption.name or 'another process'} at {self.samples} samples; saved "
                f"{self.folder / 'last'}. Go on with: proto-train --resume {self.folder}"
            )

    def _own_experiment(self) -> dict[str, Any]:
        parts = {
            "algorithm": asdict(self.learner.config),
            "model": asdict(self.learner.model.config),
            "runner": asdict(self.config),
            "evaluation": asdict(self.evaluation),
        }
        return {name: _plain(part) for name, part in parts.items()}


def _strip(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _plain(value: Any) -> Any:  # noqa: ANN401 - YAML values
    """Lists instead of tuples, for YAML."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
