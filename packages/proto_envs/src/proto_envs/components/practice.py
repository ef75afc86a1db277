"""A reference that is practised where it fails: episodes begin more often around moments at which others failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from motionlib import MotionLib
from motionlib.buckets import TimeBuckets
from proto_envs.components.control import MotionReference

__all__ = ["PractisedReference"]


class PractisedReference(MotionReference):
    """Draws clips and start times by time buckets (`motionlib.buckets.TimeBuckets`) and how episodes went in them.

    A bucket's failure rate is failures per time that it was played, so that one that is passed often does not look
    harder, and one that an episode only touches does not look easier. A failure is noticed after its cause: it counts
    where the episode was `lead` seconds before its end (at its beginning, if that is later), and so what is practised
    is how the hard moment is entered. (ProtoMotions 1 counts where the episode ended; BeyondMimic spreads each failure
    over earlier bins.) With equal weights all clips are equally frequent, as in `MotionLib.sample_motions`, however
    long they are.

    As rates follow failures and hard moments end episodes early, the time that is spent on clips comes out much alike
    while they fail, and goes down for those that have been learned.
    """

    def __init__(
        self,
        library: MotionLib,
        num_envs: int,
        dt: float,
        *,
        bucket_seconds: float = 2.0,
        uniform_share: float = 0.1,
        start_at_zero: float = 0.0,
        lead: float = 0.5,
        update_seconds: float = 5.0,
        **options: Any,  # noqa: ANN401 - checked by MotionReference
    ) -> None:
        """Cut the clips into buckets.

        Args:
            library: the clips, on the environment's device.
            num_envs: N.
            dt: s per control step.
            bucket_seconds: length of a bucket.
            uniform_share: of the episodes that begin anywhere, whatever failed.
            start_at_zero: share of the episodes that begin at time 0 of their clip.
            lead: s from the cause of a failure to the end of the episode.
            update_seconds: of simulated time between two changes of the weights.
            **options: of `MotionReference`, but not `start`, `failure_weighting` or `allowed`.
        """
        super().__init__(library, num_envs, dt, start_at_zero=start_at_zero, failure_weighting=False, **options)
        self.buckets = TimeBuckets(
            library.durations,
            clip_weights=library.weights / library.durations,
            loops=self.repeats,
            seconds=bucket_seconds,
            start_share=start_at_zero,
            uniform_share=uniform_share,
        )
        self.lead = lead
        self._update_steps = max(1, round(update_seconds / dt))
        self._steps = 0

    def step(self, generator: torch.Generator) -> None:
        """Move the clips on, and count the time that buckets are played."""
        super().step(generator)
        nobody_failed = torch.zeros_like(self.clips, dtype=torch.bool)
        self.buckets.record(self.clips, self.times, nobody_failed, visits=self.dt / self.buckets.seconds)
        self._steps += 1
        if self._steps % self._update_steps == 0:
            self.buckets.update(self._add_up)

    def _draw(self, ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.buckets.sample(len(ids), generator)

    def episode_ended(self, ids: Tensor, failed: Tensor) -> None:
        """Count failures where they came from."""
        began = self.starts[ids]
        cause = torch.maximum(self.times[ids] - self.lead, began)
        self.buckets.record(self.clips[ids], cause, failed, visits=0.0)

    def state_dict(self) -> dict[str, Tensor]:
        """That of `MotionReference`, the buckets' weights and counts, and steps since the beginning."""
        buckets = {f"buckets/{name}": value for name, value in self.buckets.state_dict().items()}
        return super().state_dict() | buckets | {"steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        super().load_state_dict(state)
        self._steps = int(state["steps"])
