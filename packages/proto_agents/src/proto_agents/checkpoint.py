"""Checkpoints: a folder with the model, everything else that training depends on, and a readable summary.

A run folder holds `config.yaml` (the resolved experiment) and the checkpoints `last/`, `best/` and `step-N/`, each with

- `model.safetensors`: weights and running statistics, all that playing needs,
- `trainer.safetensors`: optimizer, random generators, environment and episode state, what resuming needs,
- `state.json`: samples, iteration, learning rate, versions, metric values.
"""

import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

__all__ = [
    "FORMAT",
    "CheckpointError",
    "copy_checkpoint",
    "discriminator_tensors",
    "find_checkpoint",
    "load_model",
    "load_state",
    "load_tensors",
    "make_folder",
    "policy_tensors",
    "save_checkpoint",
    "versions",
    "write_atomically",
]

FORMAT = 1
"""Version of the checkpoint's layout."""

MODEL_FILE, TRAINER_FILE, STATE_FILE = "model.safetensors", "trainer.safetensors", "state.json"

DISCRIMINATOR_FILE = "discriminator.safetensors"
"""In exported policies with skills, whose encoder is needed after training; runs have it in the trainer's file."""

TRAINING_PREFIXES = ("critic.", "normalizers.critic.", "mirrors.critic.", "value_normalizer.", "expert.")
"""Names of a model's tensors that acting does not need: value functions, and MaskedMimic's posterior."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or does not fit."""


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file under a temporary name, then renames it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def make_folder(folder: Path) -> None:
    """Creates a folder and proves that it can be written.

    Raises:
        CheckpointError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CheckpointError(
            f"cannot write to the run folder {folder}: {error.strerror}; choose another with --runner.run-dir"
        ) from error


def save_checkpoint(
    folder: Path, model: Mapping[str, Tensor], trainer: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Writes a checkpoint folder; an existing one is replaced only when the new one is complete and on the disk.

    Raises:
        CheckpointError: it cannot be written, as on a full disk; the existing one is as it was.
    """
    needed = sum(tensor.nbytes for tensors in (model, trainer) for tensor in tensors.values())
    with _replacement(folder, needed) as fresh:
        fresh.mkdir(parents=True)
        _save_tensors(fresh / MODEL_FILE, model)
        _save_tensors(fresh / TRAINER_FILE, trainer)
        full_state = {"format": FORMAT, **state, "versions": versions()}
        (fresh / STATE_FILE).write_text(json.dumps(full_state, indent=2) + "\n", encoding="utf-8")


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copies a checkpoint folder, with the same guarantee and errors as `save_checkpoint`."""
    needed = sum(path.stat().st_size for path in source.iterdir())
    with _replacement(target, needed) as fresh:
        shutil.copytree(source, fresh)


def find_checkpoint(path: Path, prefer: tuple[str, ...] = ("best", "last")) -> Path:
    """The checkpoint folder that a path means: itself, or the first of `prefer` inside a run folder.

    Raises:
        CheckpointError: there is none; says what is there.
    """
    _recover(path)
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a folder; give a run folder or a checkpoint folder in it")
    if (path / MODEL_FILE).is_file():
        return path
    for name in prefer:
        _recover(path / name)
        if (path / name / MODEL_FILE).is_file():
            return path / name
    found = ", ".join(sorted(child.name for child in path.iterdir())) or "nothing"
    raise CheckpointError(f"no checkpoint in {path}: expected {' or '.join(prefer)} with {MODEL_FILE}; found {found}")


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or cut off ({path.stat().st_size} bytes): {error}; use another checkpoint of"
            " the run, such as best/ or step-N/"
        ) from error


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Reads `state.json` of a checkpoint folder.

    Raises:
        CheckpointError: it is missing, damaged, or of a newer layout.
    """
    path = checkpoint / STATE_FILE
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {state.get('format')}; this version reads format {FORMAT}")
    return state


def policy_tensors(model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a model's state dict that acting needs: no value function."""
    return {name: value for name, value in model.items() if not name.startswith(TRAINING_PREFIXES)}


def load_model(model: Any, checkpoint: Path, *, policy_only: bool = False) -> None:  # noqa: ANN401 - protocols too
    """Puts a checkpoint's weights into a model that was made for the environment at hand.

    Args:
        model: an `ActorCritic` or a module of the same layout.
        checkpoint: its folder.
        policy_only: leave the value function as it is; enough for acting, and all that an exported policy has.

    Raises:
        CheckpointError: missing or damaged file, or weights of another shape; names the first that differ.
    """
    path = checkpoint / MODEL_FILE
    stored, wanted = load_tensors(path), model.state_dict()
    if policy_only:
        stored, wanted = policy_tensors(stored), policy_tensors(wanted)
    problems = [f"{name} is missing" for name in wanted if name not in stored]
    problems += [f"{name} is not part of this model" for name in stored if name not in wanted]
    problems += [
        f"{name} is {tuple(stored[name].shape)} in the checkpoint but {tuple(value.shape)} here"
        for name, value in wanted.items()
        if name in stored and stored[name].shape != value.shape
    ]
    if problems:
        listed = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise CheckpointError(
            f"{path} does not fit this environment and model: {listed}. Use the experiment's own environment "
            "(config.yaml beside the checkpoint) or the same network sizes"
        )
    model.load_state_dict(stored, strict=not policy_only)


def discriminator_tensors(checkpoint: Path) -> dict[str, Tensor]:
    """State dict of the discriminator that a policy was trained with.

    Raises:
        CheckpointError: there is none, or its file is damaged.
    """
    if (checkpoint / DISCRIMINATOR_FILE).is_file():
        return load_tensors(checkpoint / DISCRIMINATOR_FILE)
    prefix = "discriminator/model/"
    stored = load_tensors(checkpoint / TRAINER_FILE)
    found = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
    if not found:
        raise CheckpointError(f"{checkpoint / TRAINER_FILE} holds no discriminator")
    return found


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    found = {"python": platform.python_version()}
    for package in ("proto-agents", "proto-envs", "torch", "gymnasium", "mujoco"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Clones, because safetensors refuses tensors that share memory.
    safetensors.torch.save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, path)
    path.chmod(0o644)  # safetensors makes files that only their owner can read


@contextmanager
def _replacement(folder: Path, needed: int) -> Iterator[Path]:
    """Gives the name under which a new checkpoint is written; in the end it takes the place of the old one.

    needed: bytes that it takes, for the message where it finds no room.
    """
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    try:
        _recover(folder)  # before anything is removed: after a crash the old one may be all there is
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        yield fresh
        for path in (*fresh.iterdir(), fresh):
            _flush(path)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        _flush(folder.parent)
    except (OSError, safetensors.SafetensorError) as error:
        _recover(folder)
        shutil.rmtree(fresh, ignore_errors=True)
        free = shutil.disk_usage(folder.parent).free if folder.parent.is_dir() else 0
        kept = f"the previous {folder.name}/ is as it was" if folder.exists() else "there is no previous one"
        raise CheckpointError(
            f"cannot write the checkpoint {folder}: {error}; it takes {needed / 1e6:.2f} MB, {free / 1e6:.2f} MB"
            f" are free; {kept}. Make room and go on with --resume"
        ) from error
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk: a rename must not get there before what it names."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _recover(folder: Path) -> None:
    """Puts the previous checkpoint back where a crash fell between the two renames of `save_checkpoint`."""
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():
        old.rename(folder)
