"""Where a run's numbers go: JSON lines always, TensorBoard, and Weights & Biases on request."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

__all__ = [
    "JsonLinesWriter",
    "LoggerName",
    "TensorBoardWriter",
    "WandbWriter",
    "Writer",
    "make_writers",
    "read_json_lines",
]

LoggerName = Literal["tensorboard", "wandb", "none"]


class Writer(Protocol):
    """Takes the named numbers of one iteration."""

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """samples: seen so far, the horizontal axis of every curve."""

    def close(self) -> None:
        """Flushes and lets go."""


class JsonLinesWriter:
    """One JSON object per line; numbers that are not finite become null."""

    def __init__(self, path: Path, keep_until: int = 0) -> None:
        """keep_until: samples of the checkpoint that a run goes on from; later lines are dropped. 0 starts afresh."""
        self.path = path
        kept = [row for row in read_json_lines(path) if row["samples"] <= keep_until] if keep_until else []
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        os.replace(temporary, path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Appends a line and flushes it."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"samples": samples, **finite}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads what `JsonLinesWriter` wrote; a last line that a crash cut off is left out. Missing file: nothing."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class TensorBoardWriter:
    """Scalars for TensorBoard."""

    def __init__(self, folder: Path, keep_until: int = 0) -> None:
        """keep_until: as in `JsonLinesWriter`."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=keep_until + 1 if keep_until else None)

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Adds one point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, samples)

    def close(self) -> None:
        """Flushes and closes."""
        self._writer.close()


class WandbWriter:
    """Scalars for Weights & Biases."""

    def __init__(self, folder: Path, experiment: Mapping[str, Any]) -> None:
        """experiment: the configuration shown beside the curves."""
        try:
            import wandb  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise ImportError("the wandb logger needs a package: pip install wandb") from error
        self._run = wandb.init(
            project="proto-agents", name=folder.name, dir=str(folder), config=dict(experiment), resume="allow"
        )

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Adds one point to each curve."""
        self._run.log({"samples": samples, **values})

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def make_writers(
    folder: Path, logger: LoggerName, experiment: Mapping[str, Any], keep_until: int = 0
) -> tuple[Writer, ...]:
    """The writers of a run folder: `metrics.jsonl` and the chosen logger."""
    lines = JsonLinesWriter(folder / "metrics.jsonl", keep_until)
    if logger == "tensorboard":
        return (lines, TensorBoardWriter(folder / "tensorboard", keep_until))
    if logger == "wandb":
        return (lines, WandbWriter(folder, experiment))
    return (lines,)
