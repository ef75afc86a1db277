"""Where a run's numbers go: JSON lines always, and TensorBoard or Weights & Biases."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml

from proto_agents.parsing import ConfigError, flat

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

COMPARED = ("evaluation/mean_return", "evaluation/success_rate", "evaluation/mpjpe_mm", "episode/return")
"""Curves that TensorBoard's table of hyperparameters shows the last values of"""


class Writer(Protocol):
    """Takes the named numbers of one iteration."""

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """samples: seen so far, the horizontal axis of every curve."""

    def write_video(self, samples: int, path: Path) -> None:
        """Takes a film (mp4) of an evaluation."""

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

    def write_video(self, samples: int, path: Path) -> None:
        """Nothing: the file is enough."""

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
    """Scalars for TensorBoard, and the settings as text and as hyperparameters to compare runs by."""

    def __init__(self, folder: Path, experiment: Mapping[str, Any], keep_until: int = 0) -> None:
        """experiment: the configuration shown beside the curves; keep_until: as in `JsonLinesWriter`."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._writer = SummaryWriter(str(folder), purge_step=keep_until + 1 if keep_until else None)
        text = yaml.safe_dump(dict(experiment), sort_keys=False)
        self._writer.add_text("settings", "\n".join(f"    {line}" for line in text.splitlines()))
        values = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in flat(experiment).items()
        }
        # The values of the metrics are the last points of their curves, so none are given here.
        for summary in hparams(values, dict.fromkeys(COMPARED, 0.0)):
            self._writer._get_file_writer().add_summary(summary)

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Adds one point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, samples)

    def write_video(self, samples: int, path: Path) -> None:
        """Nothing: TensorBoard shows pictures that it has coded itself alone."""

    def close(self) -> None:
        """Flushes and closes."""
        self._writer.close()


class WandbWriter:
    """Scalars, films and the final report for Weights & Biases; a run that is resumed goes on there as well."""

    def __init__(self, folder: Path, experiment: Mapping[str, Any]) -> None:
        """Begins the run, or goes on with the one that the folder belongs to.

        Args:
            folder: of the run; the library keeps its files in `wandb/` there.
            experiment: the configuration shown beside the curves.

        Raises:
            ConfigError: the library is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise ConfigError("runner.logger wandb needs a package: pip install 'proto-agents[wandb]'") from error
        self._wandb, identity = wandb, folder / "wandb_id"
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "proto-agents"),
            name=folder.name,
            id=identity.read_text(encoding="utf-8") if identity.is_file() else None,
            dir=str(folder),
            config=dict(experiment),
            resume="allow",
        )
        # Curves are drawn over samples, not over how often something was logged.
        self._run.define_metric("samples")
        self._run.define_metric("*", step_metric="samples")
        identity.write_text(self._run.id, encoding="utf-8")

    def write(self, samples: int, values: Mapping[str, float]) -> None:
        """Adds one point to each curve."""
        self._run.log({"samples": samples, **values})

    def write_video(self, samples: int, path: Path) -> None:
        """Adds a film."""
        self._run.log({"samples": samples, "video": self._wandb.Video(str(path), format="mp4")})

    def write_report(self, values: Mapping[str, float], files: Sequence[Path]) -> None:
        """Adds the final evaluation to the run's summary, and the files of the report.

        Args:
            values: numbers of the evaluation, by name.
            files: .mp4 and .png are shown, others kept.
        """
        self._run.summary.update({f"report/{name}": value for name, value in values.items()})
        for path in files:
            match path.suffix:
                case ".mp4":
                    self._run.log({f"report/{path.stem}": self._wandb.Video(str(path), format="mp4")})
                case ".png":
                    self._run.log({f"report/{path.stem}": self._wandb.Image(str(path))})
                case _:
                    self._run.save(str(path), base_path=str(path.parent), policy="now")

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def make_writers(
    folder: Path, logger: LoggerName, experiment: Mapping[str, Any], keep_until: int = 0
) -> tuple[Writer, ...]:
    """The writers of a run folder: `metrics.jsonl` and the chosen logger."""
    lines = JsonLinesWriter(folder / "metrics.jsonl", keep_until)
    if logger == "tensorboard":
        return (lines, TensorBoardWriter(folder / "tensorboard", experiment, keep_until))
    if logger == "wandb":
        return (lines, WandbWriter(folder, experiment))
    return (lines,)
