"""What a policy with skills (ASE) can be told to do: whether clips are known again in its motion, and whether it stays
on its feet when one skill follows another.

The latent of a clip is the mean direction of what the encoder makes of windows of that clip. It is held for a while,
whatever moment the episode begins in; from the motion that comes of it two judges guess the clip: the encoder, by the
nearest latent of a clip, and, independent of all that was trained, the motion itself, by the nearest windows of clips.
"""  # noqa: D205

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from proto_agents.environment import TensorEnvironment, Transition
from proto_agents.evaluation import Policy
from proto_agents.evaluation.style import MotionFeatures, matches
from proto_agents.models.skills import SkillDiscriminator, sample_latents
from proto_agents.skill_env import SkillEnv
from proto_agents.spaces import Observations

__all__ = ["Recovery", "SkillEvaluator", "clip_latents"]

GROUP = "style"
_WINDOWS = 64
"""of each clip: that its latent is the mean of, and that motion is compared with"""
_EPISODES = 16
"""in which each clip's skill is played, at least"""
_SIGNIFICANCE = 0.01
"""one-sided, of a recall that is above chance"""


def clip_latents(
    encoder: SkillDiscriminator, sample_of: Callable[[Tensor], Tensor], count: int, windows: int = _WINDOWS
) -> Tensor:
    """Latents (count, D) of clips 0 ... count - 1.

    Args:
        encoder: trained with the policy.
        sample_of: draws a window of each clip (n,) that is asked for, (n, F).
        count: of clips.
        windows: that each is the mean of.
    """
    with torch.no_grad():
        encoded = encoder.encode(_windows(sample_of, count, windows, encoder))
    return F.normalize(encoded.unflatten(0, (windows, count)).mean(0), dim=-1)


def _windows(sample_of: Callable[[Tensor], Tensor], count: int, windows: int, encoder: SkillDiscriminator) -> Tensor:
    """(windows * count, F); row r is of clip r % count."""
    device = encoder.normalizer.mean.device
    clips = torch.arange(count, device=device).repeat(windows)
    return torch.as_tensor(sample_of(clips), dtype=torch.float32, device=device)


@dataclass(frozen=True, eq=False)
class Recovery:
    """How often each clip was guessed when the skill of each was played."""

    guesses: Tensor
    """(C, C) long: [i, j] episodes that played the skill of clip i and were taken for j"""
    episodes: Tensor
    """(C,) long: that played it; in some nobody stayed on his feet long enough to be guessed"""

    @property
    def recall(self) -> Tensor:
        """(C,) share of a clip's episodes that were taken for it."""
        return self.guesses.diagonal() / self.episodes

    def above_chance(self, significance: float = _SIGNIFICANCE) -> Tensor:
        """(C,) bool: a clip is guessed more often than by chance when its skill is played.

        Chance is one in C, or, where that is more, how often the clip is guessed when others are played: whoever takes
        everything for one clip knows none. One-sided binomial test.
        """
        from scipy import stats  # a third of what proto-train would take to start

        hits, total, count = self.guesses.diagonal(), self.episodes, len(self.episodes)
        elsewhere = (self.guesses.sum(0) - hits) / (total.sum() - total)
        chance = elsewhere.clamp_min(1.0 / count).numpy()
        return torch.from_numpy(stats.binom.sf(hits.numpy() - 1, total.numpy(), chance) < significance)


class SkillEvaluator:
    """An evaluator that plays episodes of its own, in a `SkillEnv`, after those of the evaluation.

    Numbers, with C clips: `skills_recovered`, clips that the encoder guesses more often than by chance, and
    `skills_recovered_by_motion`, that the nearest windows do; `skill_chance`, 1 / C; `skill_recall` and
    `skill_recall_by_motion`, means over clips; `skill_recall/<clip>` and `skill_confusion/<clip>/<guess>`, shares by
    the encoder. `skill_survival`: share of episodes without a fall while one skill is held; `transition_survival`: of
    those, share without a fall in as many steps after the change to the skill of another clip (to any other skill,
    where no clips are known).
    """

    def __init__(
        self,
        encoder: SkillDiscriminator,
        policy: Policy,
        clips: Sequence[str] = (),
        sample_of: Callable[[Tensor], Tensor] | None = None,
        *,
        settle: int = 30,
        steps: int = 60,
        seed: int = 0,
    ) -> None:
        """Find the clips' latents; nothing is drawn from the environment later.

        Args:
            encoder: trained with the policy.
            policy: observations with latents to actions.
            clips: names of the clips, at least two; none: only transitions are judged.
            sample_of: draws a window of each clip (n,) that is asked for, (n, F).
            settle: control steps that a skill has to show itself, after which it counts.
            steps: control steps that are judged.
            seed: of which skill follows which.
        """
        self.encoder, self.policy = encoder, policy
        self.clips = tuple(clips) if sample_of is not None and len(clips) > 1 else ()
        self.settle, self.steps, self.seed = settle, steps, seed
        if self.clips and sample_of is not None:
            self.latents = clip_latents(encoder, sample_of, len(self.clips))
            windows = _windows(sample_of, len(self.clips), _WINDOWS, encoder)
            self.features = MotionFeatures.fit(windows)
            self.windows = self.features(windows)

    def begin(self, env: TensorEnvironment, observations: Observations) -> None:
        """Remember where to play.

        Raises:
            TypeError: for an environment without latents.
        """
        del observations
        if not isinstance(env.env, SkillEnv):
            raise TypeError(f"skills are evaluated in a SkillEnv, not in {type(env.env).__name__}")
        self._env, self._skills = env, env.env

    def step(self, transition: Transition, active: Tensor) -> None:
        """The evaluation's own episodes say nothing here: their latents change at any time."""

    def numbers(self) -> Mapping[str, float]:
        """Play, and say what came of it; see the class."""
        found = self.transitions()
        if not self.clips:
            return found
        by_encoder, by_motion = self.recover()
        for name, recovery in (("", by_encoder), ("_by_motion", by_motion)):
            found[f"skills_recovered{name}"] = float(recovery.above_chance().sum())
            found[f"skill_recall{name}"] = recovery.recall.mean().item()
        found["skill_chance"] = 1.0 / len(self.clips)
        found |= {f"skill_recall/{clip}": by_encoder.recall[i].item() for i, clip in enumerate(self.clips)}
        shares = (by_encoder.guesses / by_encoder.episodes.unsqueeze(-1)).tolist()
        for clip, row in zip(self.clips, shares, strict=True):
            found |= {f"skill_confusion/{clip}/{guess}": s for guess, s in zip(self.clips, row, strict=True)}
        return found

    @torch.no_grad()
    def recover(self) -> tuple[Recovery, Recovery]:
        """Play the skill of each clip in 16 episodes or more; what the encoder guesses, and what the motion."""
        count, envs, device = len(self.clips), self._env.num_envs, self._env.device
        played, guesses = [], []
        for turn in range(math.ceil(_EPISODES * count / envs)):
            clips = (turn * envs + torch.arange(envs, device=device)) % count
            observations = self._start(self.latents[clips], self.settle + self.steps)
            alive = torch.ones(envs, dtype=torch.bool, device=device)
            directions = torch.zeros(envs, self.latents.shape[1], device=device)
            votes = torch.zeros(envs, count, device=device)
            for step in range(self.settle + self.steps):
                transition = self._env.step(self.policy(observations))
                observations = transition.observations
                if step >= self.settle:
                    motion = transition.outcome[GROUP]
                    directions += alive.unsqueeze(-1) * self.encoder.encode(motion)
                    nearest, _ = matches(self.windows, self.features(motion))
                    votes += alive.unsqueeze(-1) * F.one_hot(nearest % count, count)
                alive &= ~(transition.terminated | transition.truncated)
            unseen = votes.sum(-1) == 0
            both = torch.stack([(directions @ self.latents.T).argmax(-1), votes.argmax(-1)])
            played.append(clips)
            guesses.append(both.masked_fill(unseen, -1))
        clips, taken = torch.cat(played).cpu(), torch.cat(guesses, dim=1).cpu()
        return _tally(clips, taken[0], count), _tally(clips, taken[1], count)

    @torch.no_grad()
    def transitions(self) -> dict[str, float]:
        """Hold one skill, then another; shares of episodes without a fall."""
        envs, device = self._env.num_envs, self._env.device
        generator = torch.Generator(device).manual_seed(self.seed)
        if self.clips:
            count = len(self.clips)
            first = torch.arange(envs, device=device) % count
            second = (first + torch.randint(1, count, (envs,), generator=generator, device=device)) % count
            latents = self.latents[first], self.latents[second]
        else:
            size = self._skills.latent_size
            latents = sample_latents(envs, size, generator), sample_latents(envs, size, generator)
        duration = self.settle + self.steps
        observations = self._start(latents[0], duration)
        standing, running = self._stand(observations, torch.ones(envs, dtype=torch.bool, device=device))
        changing = standing & running
        after, _ = self._stand(self._skills.command(latents[1], duration), changing)
        return {
            "skill_survival": standing.double().mean().item(),
            "transition_survival": after.sum().item() / max(int(changing.sum()), 1),
        }

    def _start(self, latents: Tensor, steps: int) -> Observations:
        self._env.reset()
        return self._skills.command(latents, steps)

    def _stand(self, observations: Observations, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Play on; who of those `alive` did not fall, (N,), and whose episode still runs, (N,)."""
        running = torch.ones_like(alive)
        for _ in range(self.settle + self.steps):
            transition = self._env.step(self.policy(observations))
            observations = transition.observations
            alive = alive & ~(transition.terminated & running)
            running = running & ~(transition.terminated | transition.truncated)
        return alive, running


def _tally(clips: Tensor, guesses: Tensor, count: int) -> Recovery:
    known = guesses >= 0
    table = torch.bincount(clips[known] * count + guesses[known], minlength=count * count)
    return Recovery(table.unflatten(0, (count, count)), torch.bincount(clips, minlength=count))
