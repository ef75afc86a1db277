"""Attributes and methods of an environment by name, as gymnasium's Sync and Async vector environments give them."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

__all__ = ["SharedAttributes"]


class SharedAttributes(VectorEnv):
    """A vector environment whose attributes are those of all its environments at once."""

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """The attribute or method result `name`, once per environment (gymnasium's Sync and Async API).

        `render` gives each environment its own frame; everything else is shared by all.
        """
        value = getattr(self, name)
        result = value(*args, **kwargs) if callable(value) else value
        return result if name == "render" and result is not None else (result,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The attribute `name`, once per environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:  # noqa: ANN401
        """Set the attribute `name` of the whole environment.

        Raises:
            AttributeError: if there is no such attribute.
        """
        if not hasattr(self, name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r} to set")
        setattr(self, name, values)
