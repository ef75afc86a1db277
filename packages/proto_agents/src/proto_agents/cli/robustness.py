"""Several policies, or one, under several conditions: `proto-eval --perturb ... --checkpoints ...`."""

import glob
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from proto_agents.checkpoint import CheckpointError, write_atomically
from proto_agents.cli.environments import find_run, make_environment
from proto_agents.cli.learners import load_policy
from proto_agents.cli.perturbations import Perturbation, unperturbed_values
from proto_agents.config import Experiment, decisive_settings
from proto_agents.evaluation import EvaluationReport
from proto_agents.evaluation.labels import label_of
from proto_agents.evaluation.robustness import UNPERTURBED, Condition, Measurement, PolicyResult, Robustness, headline
from proto_agents.evaluation.robustness_page import render_robustness
from proto_agents.parsing import ConfigError, nearest
from proto_agents.progress import Progress

Evaluate = Callable[[Experiment, Path], EvaluationReport]


@dataclass(frozen=True)
class Trained:
    """A checkpoint to be judged."""

    experiment: Experiment
    """as it is evaluated where nothing is perturbed"""
    checkpoint: Path
    """its folder"""
    settings: str
    """how it was trained, but for the seed: those that are alike are runs of one experiment"""


def find_trained(patterns: Sequence[str], prepared: Callable[[Experiment], Experiment]) -> list[Trained]:
    """The checkpoints that names and patterns mean, in their order, each once.

    Args:
        patterns: what `find_run` takes, with `*`, `?`, `[...]` and `**` as in a shell.
        prepared: from an experiment as it was trained to how it is evaluated.

    Raises:
        CheckpointError: a name or pattern fits nothing, or what it fits has no checkpoint.
    """
    found: dict[Path, Trained] = {}
    for pattern in patterns:
        is_pattern = glob.has_magic(pattern) and not Path(pattern).exists()
        names = sorted(name for name in glob.glob(pattern, recursive=True) if Path(name).is_dir())
        if is_pattern and not names:
            raise CheckpointError(f"no folder fits {pattern!r}")
        for name in names if is_pattern else [pattern]:
            experiment, checkpoint = find_run(name)
            settings = decisive_settings(experiment)
            del settings["runner"]["seed"]
            which = "" if (checkpoint / "config.yaml").is_file() else checkpoint.name  # best and last are no two runs
            known = json.dumps([settings, which], sort_keys=True)
            found.setdefault(checkpoint.resolve(), Trained(prepared(experiment), checkpoint, known))
    return list(found.values())


def grouped_by_experiment(trained: Sequence[Trained]) -> dict[str, list[Trained]]:
    """Checkpoints by the name they are shown under: together those of which only the training seed differs."""
    alike: dict[str, list[Trained]] = defaultdict(list)
    for one in trained:
        alike[one.settings].append(one)
    groups: list[list[Trained]] = []
    for runs in alike.values():
        seeds = {run.experiment.runner.seed for run in runs}
        groups += [runs] if len(seeds) == len(runs) else [[run] for run in runs]
    count = Counter(runs[0].experiment.name for runs in groups)
    named = {}
    for runs in groups:
        name = runs[0].experiment.name
        named[name if count[name] == 1 else f"{name} ({runs[0].checkpoint})"] = runs
    return named


def check(trained: Sequence[Trained], perturbations: Sequence[Perturbation]) -> None:
    """Makes each environment once, small, so that mistakes show before hours of evaluation.

    Raises:
        ConfigError: an environment refuses a perturbation.
        CheckpointError: a policy does not fit its environment.
    """
    for one in trained:
        for perturbation in perturbations:
            experiment, condition = perturbation.applied(one.experiment), perturbation.condition
            what = f"{one.checkpoint}, {_said(condition)}"
            try:
                env = make_environment(experiment, 1, experiment.evaluation.env)
            except ConfigError as error:
                foreign = "randomization" in perturbation.arguments and not experiment.env.id.startswith("Proto")
                hint = "; its own keyword arguments are perturbed with --perturb env.KEY=VALUE" if foreign else ""
                raise ConfigError(f"{what}: {error}{hint}") from error
            try:
                load_policy(experiment, env, one.checkpoint)
            finally:
                env.close()


def measure(
    groups: dict[str, list[Trained]],
    perturbations: Sequence[Perturbation],
    metrics: Sequence[str],
    evaluate: Evaluate,
    progress: Progress,
) -> Robustness:
    """Evaluates every checkpoint under every condition.

    Args:
        groups: checkpoints by name.
        perturbations: conditions, the unperturbed world first.
        metrics: to be shown; none: the one that matters most.
        evaluate: one experiment's checkpoint.
        progress: shows what is being done.

    Raises:
        ConfigError: nothing of the name of a metric is measured.
    """
    conditions = tuple(perturbation.condition for perturbation in perturbations)
    total, done, policies = len(conditions) * sum(map(len, groups.values())), 0, []
    for name, runs in groups.items():
        measured: dict[Condition, list[Measurement]] = {condition: [] for condition in conditions}
        for run in runs:
            for perturbation in perturbations:
                done += 1
                progress.show(f"{done}/{total}  {run.checkpoint}  {_said(perturbation.condition)}", force=True)
                report = evaluate(perturbation.applied(run.experiment), run.checkpoint)
                _require(metrics, report, run.checkpoint)
                measured[perturbation.condition].append(Measurement.of(report))
        policies.append(PolicyResult(name=name, checkpoints=tuple(str(r.checkpoint) for r in runs), measured=measured))
    chosen = tuple(metrics) or (_headline(policies, next(iter(groups.values()))[0].experiment),)
    return Robustness(metrics=chosen, conditions=conditions, policies=tuple(policies))


def _headline(policies: Sequence[PolicyResult], experiment: Experiment) -> str:
    """The number that matters most of those that all policies have."""
    known = [set(run.values) for policy in policies for run in policy.measured[UNPERTURBED]]
    return headline(set.intersection(*known), experiment.runner.best_metric)


def _require(metrics: Sequence[str], report: EvaluationReport, checkpoint: Path) -> None:
    """Refuse metrics that are not measured; those of episodes that failed may be missing where none did."""
    values = report.values()
    for metric in metrics:
        if metric not in values and not metric.endswith(("_failed", "_successful", "_until_failure")):
            raise ConfigError(f"{checkpoint}: --metric {metric} is not measured; {nearest(metric, sorted(values))}")


def _said(condition: Condition) -> str:
    return "unperturbed" if condition == UNPERTURBED else f"{condition.perturbation} {condition.value}"


def print_robustness(robustness: Robustness, console: Console | None = None) -> None:
    """Prints the table, condition by condition."""
    several = len(robustness.policies) > 1
    table = Table("perturbation")
    if several:
        table.add_column("policy", overflow="fold")
        table.add_column("runs", justify="right")
    for metric in robustness.metrics:
        table.add_column(label_of(metric).title, justify="right")
        table.add_column("95 % interval")
        table.add_column("change", justify="right")
    before = ""
    for row in robustness.rows():
        key = row.condition.perturbation
        if before not in ("", key):
            table.add_section()
        before = key
        cells = [_said(row.condition), *([row.policy, str(row.runs)] if several else [])]
        for metric, number in row.numbers.items():
            cells += number.texts(metric)
        table.add_row(*cells)
    (console or Console()).print(table)


def write_robustness(robustness: Robustness, command: str, folder: Path | None, page: Path | None) -> list[Path]:
    """Writes robustness.json and robustness.csv into a folder, and a page; returns the paths.

    Args:
        robustness: what was found.
        command: that found it.
        folder: None: no tables.
        page: HTML file; None: no page.
    """
    files: dict[Path, str] = {}
    if folder is not None:
        content = {"command": command} | robustness.to_dict()
        files[folder / "robustness.json"] = json.dumps(content, indent=1) + "\n"
        files[folder / "robustness.csv"] = robustness.to_csv()
    if page is not None:
        title = "Robustness: " + ", ".join(policy.name for policy in robustness.policies)
        files[page] = render_robustness(robustness, title, command, unperturbed_values(robustness.conditions))
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return list(files)
