"""Adapters to other RL libraries, a module for each: `from proto_envs.adapters.sb3 import Sb3VecEnv`.

`sb3`, `rsl_rl`, `skrl`, `rl_games`, `torchrl` and `tianshou` need the library that they are named after, which an extra
of the same name brings along: `pip install "proto-envs[sb3]"`.
"""
