"""The commands. Only this folder may import proto_envs, and only when an experiment needs it."""
