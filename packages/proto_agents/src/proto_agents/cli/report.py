"""What a finished run leaves for its reader: report.json, learning_curve.png, video.mp4 and a table."""

import json
from pathlib import Path

from rich.console import Console

from proto_agents.checkpoint import load_state, write_atomically
from proto_agents.cli.environments import find_run
from proto_agents.cli.evaluate import evaluate_checkpoint
from proto_agents.cli.pictures import RenderError
from proto_agents.cli.play import record
from proto_agents.cli.summary import print_report
from proto_agents.evaluation import check_expectations
from proto_agents.logging import WandbWriter
from proto_agents.parsing import plain
from proto_agents.plots import plot_learning_curve


def write_report(folder: Path) -> bool:
    """Evaluates the best checkpoint of a run folder and writes its report; returns whether `expect:` is met."""
    console = Console()
    experiment, checkpoint = find_run(str(folder))
    report = evaluate_checkpoint(experiment, checkpoint, intervals=True)
    expectations = check_expectations(report, experiment.expect)
    content = report.to_dict() | {
        "checkpoint": checkpoint.name,
        "samples": load_state(checkpoint)["samples"],
        "expect": {
            result.metric: {"value": result.value, "low": result.low, "high": result.high, "passed": result.passed}
            for result in expectations
        },
    }
    write_atomically(folder / "report.json", json.dumps(content, indent=2) + "\n")
    written = [folder / "report.json"]
    try:
        written.append(plot_learning_curve(folder / "metrics.jsonl", folder / "learning_curve.png"))
    except ValueError as error:
        console.print(f"no learning curve: {error}", markup=False)
    try:
        record(experiment, checkpoint, folder / "video.mp4")
        written.append(folder / "video.mp4")
    except RenderError as error:
        console.print(f"no video: {error}", markup=False)
    if experiment.runner.logger == "wandb":
        writer = WandbWriter(folder, plain(experiment))
        writer.write_report(report.values(), written)
        writer.close()
    print_report(report, expectations, f"{experiment.name}: {checkpoint}", console)
    lines = [f"wrote {', '.join(str(path) for path in written)}", "next:"]
    lines.append(f"  proto-eval {folder} --num-envs 512 --seed 7")
    lines.append(f"  proto-play {folder}")
    lines.append(f"  proto-train --resume {folder} --runner.max-samples {2 * experiment.runner.max_samples}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return all(result.passed for result in expectations)
