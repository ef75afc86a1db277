"""Pure functions of a `Context` (observations, rewards, terminations) and the stateful controls that drive a task."""
