"""A trained policy as a small folder of its own, to ship or to share."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import yaml

from proto_agents.checkpoint import (
    DISCRIMINATOR_FILE,
    MODEL_FILE,
    STATE_FILE,
    discriminator_tensors,
    load_state,
    load_tensors,
    policy_tensors,
)
from proto_agents.config import Experiment
from proto_agents.parsing import ConfigError, plain

__all__ = ["export_policy"]


def export_policy(experiment: Experiment, checkpoint: Path, folder: Path) -> None:
    """Write `config.yaml`, `model.safetensors` and `state.json`, enough for `proto-eval` and `proto-play`.

    The value function and everything else that only training needs is left out; the encoder of a policy with skills
    stays. The folder appears when it is complete.

    Args:
        experiment: of the run.
        checkpoint: a checkpoint folder of the run.
        folder: to make.

    Raises:
        ConfigError: the folder exists.
        CheckpointError: the checkpoint is missing or damaged.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists; choose another folder, or remove it first")
    files = {MODEL_FILE: policy_tensors(load_tensors(checkpoint / MODEL_FILE))}
    if experiment.discriminator.kind == "ase":
        files[DISCRIMINATOR_FILE] = discriminator_tensors(checkpoint)
    state = {key: value for key, value in load_state(checkpoint).items() if key in ("format", "samples", "versions")}
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, tensors in files.items():
        safetensors.torch.save_file(tensors, fresh / name)
        (fresh / name).chmod(0o644)
    (fresh / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    kept = replace(
        experiment,
        runner=replace(experiment.runner, run_dir="", initial_policy=""),
        # Runs that this one learned from; what acting needs of them is in the weights.
        distillation=replace(experiment.distillation, teacher=""),
        task_tokens=replace(experiment.task_tokens, foundation=""),
    )
    (fresh / "config.yaml").write_text(yaml.safe_dump(plain(kept), sort_keys=False), encoding="utf-8")
    fresh.rename(folder)
