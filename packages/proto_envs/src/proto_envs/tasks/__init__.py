"""Tasks, one file each; `proto_envs.registration.TASKS` names them."""
