"""TorchRL: `torchrl_env(env)` is an `EnvBase` of batch size (N,)."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import AutoresetMode
from torch import Tensor

from proto_envs.adapters.wrapping import missing_library, unwrapped_proto

try:
    from torchrl.envs.libs.gym import GymWrapper
except ImportError as error:
    raise missing_library("torchrl", "torchrl") from error

__all__ = ["torchrl_env"]


class _ProtoWrapper(GymWrapper):
    """TorchRL's wrapper, except that the mask of those to reset stays a tensor on its device."""

    def _replace_reset(self, reset: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        kwargs.setdefault("options", {})["reset_mask"] = reset.view(self.batch_size)
        return kwargs


def torchrl_env(env: Any, **options: Any) -> GymWrapper:  # noqa: ANN401
    """A Proto environment in TorchRL's wrapper of gymnasium environments, on the environment's device.

    TorchRL resets environments itself, so that they have to be made with `autoreset_mode=AutoresetMode.DISABLED`;
    `("next", "observation")`, or the groups by name, then is the true last observation where an episode ends.

    Args:
        env: made by `gymnasium.make_vec`, in DISABLED mode, with `output="torch"`.
        **options: of `GymWrapper`.

    Raises:
        TypeError: for an environment that is not of this project.
        ValueError: for another autoreset mode.
    """
    inner = unwrapped_proto(env, "TorchRL", AutoresetMode.DISABLED)
    return _ProtoWrapper(inner, **{"device": inner.device, **options})
