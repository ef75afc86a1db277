"""Several processes that train one policy together: who they are, and what they tell each other.

Each process ("rank") has environments of its own and the same networks. What the ranks learn from they put together
with the functions of this module: gradients, running statistics, decisions. All ranks must call each of them, in the
same order; with one process they do nothing, so that a learner calls them without asking.

Started by `torchrun`, or by anything that sets its variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).
Tensors on a GPU travel by NCCL, all others by gloo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from proto_agents.parsing import ConfigError

__all__ = [
    "SEED_STRIDE",
    "any_rank",
    "average_gradients",
    "averaged",
    "broadcast",
    "cpu_shares",
    "from_main",
    "gathered",
    "is_main",
    "joined",
    "local_device",
    "mean",
    "mean_and_std",
    "num_minibatches",
    "pooled_moments",
    "rank",
    "rank_seed",
    "share",
    "sum_over_ranks",
    "take_cpus",
    "wait_for_all",
    "world_size",
]

T = TypeVar("T")

SEED_STRIDE = 1_000_003
"""between the seeds of two ranks: more than the seeds that people choose for their runs are apart"""


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this is rank 0, which evaluates, logs and writes checkpoints."""
    return rank() == 0


@contextmanager
def joined(timeout: timedelta = timedelta(hours=12)) -> Iterator[None]:
    """Inside, this process is one of those that were started together; without such a start it is alone.

    Args:
        timeout: for which one waits for the others, who may be evaluating. Nobody waits for a dead process: its
            connections close, and `torchrun` ends the others.

    Raises:
        ConfigError: there are more processes on this machine than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        local, there = _local_rank(), torch.cuda.device_count()
        if local >= there:
            raise ConfigError(
                f"process {local} of this machine has no GPU: there are {there}. Start as many processes as GPUs, or"
                " train on CPUs with CUDA_VISIBLE_DEVICES= before the command"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=timeout)
    yield
    # Not after an error: the others may be elsewhere, and leaving in order waits for them.
    dist.destroy_process_group()


def local_device(device: str | None) -> str | None:
    """The device of this process that a name stands for, where each has a GPU: "cuda" is the one of its own."""
    return f"cuda:{_local_rank()}" if device == "cuda" and world_size() > 1 else device


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def take_cpus() -> None:
    """Binds this process to its share of the CPUs, where `torchrun` started several on a machine without GPUs.

    Each of them would start a thread for every CPU otherwise. Other launchers give out the CPUs themselves.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if "TORCHELASTIC_RUN_ID" in os.environ and processes > 1 and not torch.cuda.is_available():
        cpus = cpu_shares(processes)[_local_rank()]
        if cpus:
            os.sched_setaffinity(0, cpus)


def cpu_shares(processes: int) -> list[tuple[int, ...]]:
    """The CPUs that this process may use, divided among others; empty ones where there is nothing to divide."""
    if processes == 1 or not hasattr(os, "sched_getaffinity"):
        return [()] * processes
    usable = sorted(os.sched_getaffinity(0))
    count = len(usable)
    return [
        tuple(usable[i * count // processes : (i + 1) * count // processes]) or (usable[i % count],)
        for i in range(processes)
    ]


def share(total: int) -> int:
    """One rank's part of a number of samples, at least 1."""
    return max(1, round(total / world_size()))


def num_minibatches(samples: int, size: int) -> int:
    """Minibatches of about `size` samples, all ranks together, that this rank's samples are to be split into."""
    everyone = int(sum_over_ranks(torch.tensor(samples))) if world_size() > 1 else samples
    return max(1, round(everyone / size))


def rank_seed(seed: int) -> int:
    """The seed of what every rank draws for itself; rank 0 has the seed as it is."""
    return seed + SEED_STRIDE * rank()


# --- tensors ---------------------------------------------------------------------------------------------------------


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The tensor, with the sum over all ranks in it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def mean(value: Tensor, weight: float = 1.0) -> Tensor:
    """Mean of a tensor over all ranks. weight: of this rank's, such as the samples that it is itself a mean of."""
    if world_size() == 1:
        return value
    total = sum_over_ranks(torch.cat([weight * value.detach().flatten(), value.new_tensor([weight])]))
    return (total[:-1] / total[-1]).view_as(value)


def average_gradients(parameters: Iterable[Tensor], weight: float = 1.0) -> None:
    """Replaces the gradients by their mean over all ranks, in one message.

    Args:
        parameters: those without a gradient are left out; they must be the same ones on all ranks.
        weight: of this rank's gradients: the samples that they are a mean of.
    """
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = mean(torch.cat([gradient.flatten() for gradient in gradients]), weight)
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def pooled_moments(count: int, mean: Tensor, m2: Tensor) -> tuple[int | Tensor, Tensor, Tensor]:
    """Count, mean and sum of squared deviations of the samples of all ranks, from those of each rank's own.

    Args:
        count: samples of this rank, maybe none.
        mean: of each feature, float64.
        m2: sum of the squared deviations from it, like `mean`.
    """
    if world_size() == 1:
        return count, mean, m2
    # Each rank fills its own row, so that the sum is exact and the same to the last bit everywhere.
    own = torch.cat([mean.new_tensor([count]), mean.flatten(), m2.flatten()])
    table = own.new_zeros(world_size(), len(own))
    table[rank()] = own
    sum_over_ranks(table)
    counts, means, squares = table.split([1, mean.numel(), m2.numel()], dim=1)
    total = counts.sum()
    pooled = (counts * means).sum(0) / total.clamp(min=1.0)
    spread = (squares + counts * (means - pooled).square()).sum(0)
    return total, pooled.view_as(mean), spread.view_as(m2)


def mean_and_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of the values (B,) of all ranks, B being each one's own."""
    if world_size() == 1:
        return values.mean(), values.std(correction=0)
    double = values.double()
    center = double.mean()
    count, center, m2 = pooled_moments(len(values), center, (double - center).square().sum())
    return center.float(), (m2 / count).sqrt().float()


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Writes rank 0's tensors into those of the others."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


# --- decisions and other values --------------------------------------------------------------------------------------


def any_rank(flag: bool) -> bool:
    """Whether any rank says so."""
    return bool(sum_over_ranks(torch.tensor(float(flag)))) if world_size() > 1 else flag


def averaged(values: Mapping[str, float]) -> dict[str, float]:
    """Named numbers, each averaged over the ranks that have it; in the order of rank 0."""
    if world_size() == 1:
        return dict(values)
    everyone: list[Any] = [None] * world_size()
    dist.all_gather_object(everyone, dict(values))
    names = dict.fromkeys(name for one in everyone for name in one)
    known = {name: [one[name] for one in everyone if name in one] for name in names}
    return {name: sum(numbers) / len(numbers) for name, numbers in known.items()}


def gathered(value: T) -> list[T]:
    """On rank 0 the values of all ranks, by rank; nothing elsewhere. Tensors must be on the CPU."""
    if world_size() == 1:
        return [value]
    everyone: list[Any] | None = [None] * world_size() if is_main() else None
    dist.gather_object(value, everyone)
    return everyone or []


def wait_for_all() -> None:
    """Returns when all ranks have come here."""
    any_rank(False)


def from_main(compute: Callable[[], T]) -> T:
    """What rank 0 computes, on all ranks; where that fails, all of them fail."""
    if world_size() == 1:
        return compute()
    outcome: list[Any] = [None, None]
    if is_main():
        try:
            outcome[0] = compute()
        except (Exception, SystemExit) as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
