"""Humanoid control tasks as gymnasium vector environments.

Importing this package registers the ids `Proto<Task>-<Robot>-v0` with gymnasium and nothing else: no engine and no
torch is loaded until an environment is made.
"""

from proto_envs.registration import register_all

register_all()
