"""What each of several processes keeps for itself, in the one checkpoint that rank 0 writes.

Networks, optimizers and learning rate are the same on all ranks and stored once. Environments, random generators and
the memory of discriminators are each rank's own: rank 0's stand under their plain names, those of the others under
"rank<number>/". Where as many processes go on as there were, each finds its own again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from proto_agents import distributed

__all__ = ["of_this_rank", "with_other_ranks"]

_SHARED = ("learner/optimizer/", "learner/learning_rate", "discriminator/model/", "discriminator/optimizer/")
"""beginnings of the names of what is the same on all ranks"""
_EPISODES = ("environment/", "episode/")
"""beginnings of the names of what is of running episodes"""
_GENERATOR = "/generator"


def with_other_ranks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On rank 0 its own state and what the others keep for themselves; called by all ranks, of no use on the others."""
    own = {} if distributed.is_main() else {n: t.detach().cpu() for n, t in state.items() if not n.startswith(_SHARED)}
    others = distributed.gathered(own)
    prefixed = {f"rank{number}/{name}": tensor for number, one in enumerate(others) for name, tensor in one.items()}
    return {**state, **prefixed}


def of_this_rank(stored: Mapping[str, Tensor], ranks: int, seed: int, device: torch.device) -> dict[str, Tensor]:
    """The state that this rank goes on from.

    Args:
        stored: by `with_other_ranks`.
        ranks: how many there were.
        seed: of the random generators, where the number of ranks has changed: nothing that one of them drew then may
            be drawn by two now. Episodes begin anew then, too.
        device: of the random generators.
    """
    own = _of(distributed.rank() % ranks, stored)
    if ranks == distributed.world_size():
        return own
    fresh = torch.Generator(device).manual_seed(distributed.rank_seed(seed)).get_state()
    kept = {name: tensor for name, tensor in own.items() if not name.startswith(_EPISODES)}
    return {name: fresh if name.endswith(_GENERATOR) else tensor for name, tensor in kept.items()}


def _of(rank: int, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the checkpoint holds for one rank, by plain names."""
    prefix = f"rank{rank}/"
    shared = {name: tensor for name, tensor in stored.items() if not name.startswith("rank")}
    return shared | {name.removeprefix(prefix): t for name, t in stored.items() if name.startswith(prefix)}
