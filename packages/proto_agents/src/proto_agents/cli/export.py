"""proto-export: a trained policy as a small folder of its own, for this project or for use without it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from torch import Tensor, nn

from proto_agents.checkpoint import CheckpointError
from proto_agents.cli.environments import find_run, make_environment
from proto_agents.cli.learners import load_policy
from proto_agents.config import Experiment, program_arguments, split_free_flags
from proto_agents.export import export_policy
from proto_agents.parsing import ConfigError, merge


@dataclass(frozen=True)
class ExportArguments:
    """Writes what acting needs of a trained policy; proto-eval and proto-play take the new folder like a run.

    With --onnx: a folder that runs in plain MuJoCo without this project. Keyword arguments of the environment that it
    is compared with: --env.KEY VALUE, such as --env.motions walk.
    """

    run: Annotated[str, tyro.conf.Positional]
    """run folder (best/, else last/) or checkpoint folder"""
    output: Annotated[Path, tyro.conf.Positional]
    """folder to make"""
    onnx: bool = False
    """write policy.onnx from raw state to drive set-points, robot.xml, start.npz and run.py (docs/deployment.md)"""
    seconds: float = 10.0
    """with --onnx, of the episode that is compared and recorded"""


class _Acting(nn.Module):
    """Observations (1, F) to actions (1, D), deterministic."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - any policy
        super().__init__()
        self.model = model

    def forward(self, observation: Tensor) -> Tensor:
        return self.model.act_deterministic({"policy": observation})


def export_onnx(experiment: Experiment, checkpoint: Path, folder: Path, *, seconds: float = 10.0) -> str:
    """Write a policy that runs without this project; returns what there is to say of it.

    Args:
        experiment: of the run; played as in its evaluation.
        checkpoint: a checkpoint folder of the run.
        folder: to make.
        seconds: of the episode in which graph and environment are compared.

    Raises:
        ConfigError: a policy that sees more than the observations "policy", or that cannot be exported otherwise.
    """
    from proto_envs.deployment import DeploymentError, deploy

    kind = experiment.model.kind
    if kind in ("masked_mimic", "task_tokens") or experiment.discriminator.kind == "ase":
        raise ConfigError(f"--onnx: policies of model.kind {kind} that see more than their task cannot be exported yet")
    env: Any = make_environment(experiment, 1, merge(experiment.evaluation.env, {"backend": "mujoco", "device": "cpu"}))
    try:
        model = load_policy(experiment, env, checkpoint).model.requires_grad_(False).cpu().eval()
        found = deploy(env.unwrapped, _Acting(model), folder, about={"experiment": experiment.name}, seconds=seconds)
    except DeploymentError as error:
        raise ConfigError(f"--onnx: {error}") from error
    finally:
        env.close()
    return (
        f"inputs {', '.join(found.inputs)}\nover {found.steps} steps the graph differs from the environment by "
        f"{found.difference:.1e} at most"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-export."""
    rest, taken = split_free_flags(program_arguments(arguments), ("env",))
    options = tyro.cli(ExportArguments, args=rest, prog="proto-export")
    said = ""
    try:
        experiment, checkpoint = find_run(options.run)
        if options.onnx:
            evaluation = replace(experiment.evaluation, env=merge(experiment.evaluation.env, taken.get("env", {})))
            experiment = replace(experiment, evaluation=evaluation)
            said = export_onnx(experiment, checkpoint, options.output, seconds=options.seconds)
        else:
            export_policy(experiment, checkpoint, options.output)
    except (CheckpointError, ConfigError, ImportError) as error:
        sys.exit(f"proto-export: {error}")
    print(f"wrote {options.output} from {checkpoint}")
    if said:
        print(said)


if __name__ == "__main__":
    main()
