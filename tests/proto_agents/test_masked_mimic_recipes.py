"""The recipes from a tracker to a foundation to tasks: each starts, learns, measures what it expects, is exported."""

import pytest
import torch

from proto_agents.checkpoint import load_tensors
from proto_agents.cli import train
from proto_agents.cli.environments import find_run, make_environment
from proto_agents.cli.evaluate import evaluate_checkpoint
from proto_agents.cli.learners import completed, load_policy
from proto_agents.config import config_root, evaluated_with, load_experiment
from proto_agents.export import export_policy
from proto_agents.parsing import ConfigError

pytest.importorskip("proto_envs")

TINY = """
env: {num_envs: 8}
model: {hidden_sizes: [16], critic_hidden_sizes: [16]}
algorithm: {horizon: 4, minibatch_size: 32, epochs: 1}
runner: {max_samples: 64, logger: none, report: false, threads: 1}
evaluation: {num_envs: 4, steps: 2, seconds: null}
"""
STUDENT = """
env: {motions: walk}
masked_mimic:
  latent_size: 4
  transformer: {width: 8, layers: 1, heads: 2, feedforward: 8, token_hidden_sizes: [8]}
  head_hidden_sizes: [8]
  posterior_hidden_sizes: [8]
  decoder_hidden_sizes: [8]
distillation: {horizon: 4, minibatch_size: 32, epochs: 1}
"""


def tiny(folder, overlays, more="", **extra):
    """The experiment of overlays with small networks and few samples, with a run folder below `folder`."""
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "more.yaml").write_text(more or "{}")
    name = "-".join(overlays).replace("/", "-")
    run = {"runner": {"run_dir": str(folder / name)}} | extra
    return load_experiment([*overlays, str(folder / "tiny.yaml"), str(folder / "more.yaml")], run)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A tracker of one clip, and a student of it; barely trained."""
    folder = tmp_path_factory.mktemp("recipes")
    teacher = tiny(folder, ["library-amp"], "env: {motions: walk}\nmodel: {symmetric: false}")
    train.train(teacher)
    experiment = tiny(folder, ["masked-mimic"], STUDENT, distillation={"teacher": teacher.runner.run_dir})
    train.train(experiment)
    return experiment.runner.run_dir


def test_a_student_is_trained_by_its_tracker_and_measured(student):
    experiment, checkpoint = find_run(student)
    assert experiment.masked_mimic.tokens == ("self", "sparse_poses", "history"), "what it reads is written down"
    report = evaluate_checkpoint(experiment, checkpoint)
    assert set(experiment.expect) | {experiment.runner.best_metric, "mpjpe_mm"} <= set(report.values())


@pytest.mark.parametrize("overlay", ["constraint/vr", "goal/user", "goal/steering", "goal/reach", "goal/story"])
def test_it_is_driven_by_constraints_and_controllers(student, overlay):
    experiment, checkpoint = find_run(student)
    report = evaluate_checkpoint(evaluated_with(experiment, [overlay]), checkpoint)
    assert report.steps == 2


def test_every_constraint_and_every_controller_has_an_overlay():
    from proto_envs.components.masking import CONSTRAINTS
    from proto_envs.tasks.goal_engineering import ENGINEERED

    names = {group: {path.stem for path in (config_root() / group).glob("*.yaml")} for group in ("constraint", "goal")}
    assert names["constraint"] == set(CONSTRAINTS)
    assert names["goal"] == {*ENGINEERED, "inbetween", "story"}


@pytest.mark.parametrize("adaptation", ["", "lora", "finetune", "none"])
def test_a_student_is_adapted_to_a_task_and_the_result_needs_it_no_more(student, tmp_path, adaptation):
    overlays = ["task-tokens", "task/steering", *([f"adapt/{adaptation}"] if adaptation else [])]
    experiment = tiny(tmp_path, overlays, task_tokens={"foundation": student})
    train.train(experiment)
    trained, checkpoint = find_run(experiment.runner.run_dir)
    export_policy(trained, checkpoint, tmp_path / "shipped")
    before = load_tensors(find_run(student)[1] / "model.safetensors")
    after = load_tensors(tmp_path / "shipped" / "model.safetensors")
    if adaptation in ("", "none"):
        mine = {name.removeprefix("actor.foundation."): value for name, value in after.items() if "foundation." in name}
        assert mine and all(torch.equal(value, before[name]) for name, value in mine.items())
    shipped, checkpoint = find_run(str(tmp_path / "shipped"))
    assert not shipped.task_tokens.foundation
    report = evaluate_checkpoint(shipped, checkpoint)
    assert "success_rate" in report.values()


@pytest.mark.parametrize("task", ["facing", "path", "reach", "strike", "jump"])
def test_every_task_can_be_told_by_a_token(student, tmp_path, task):
    experiment = completed(tiny(tmp_path, ["task-tokens", f"task/{task}"], task_tokens={"foundation": student}))
    env = make_environment(experiment, 2)
    try:
        policy = load_policy(find_run(student)[0], env, find_run(student)[1])
        observations, _ = env.reset(seed=0)
        assert "goal" in observations and policy.model.act_deterministic(observations).shape == (2, 28)
    finally:
        env.close()


def test_scratch_is_a_recipe_for_the_same_tasks(tmp_path):
    train.train(tiny(tmp_path, ["task-ppo", "task/reach"]))
    assert find_run(str(tmp_path / "task-ppo-task-reach"))[0].env.id == "ProtoReach-AMP-v0"


def test_a_resumed_task_needs_no_foundation(student, tmp_path):
    experiment = tiny(tmp_path, ["task-tokens", "task/steering"], task_tokens={"foundation": student})
    train.train(experiment)
    arguments = [
        "--resume",
        experiment.runner.run_dir,
        "--runner.max-samples",
        "96",
        "--task-tokens.foundation",
        "gone",
    ]
    parsed = train.parse_arguments(arguments)
    assert train.train(parsed.experiment, parsed.resume).samples == 96


@pytest.mark.parametrize(
    ("overlays", "extra", "message"),
    [
        (["masked-mimic"], {}, "--teacher RUN"),
        (["task-tokens"], {"task_tokens": {"foundation": ""}}, "--task-tokens.foundation RUN"),
        (["task-tokens"], {"task_tokens": {"foundation": "pretrained/walk-amp"}}, "want a policy of model.kind"),
        (["masked-mimic"], {"distillation": {"teacher": "pretrained/walk-smpl"}}, "give the environment the task's"),
        (["masked-mimic"], {"model": {"symmetric": True}}, "model.symmetric: false"),
    ],
)
def test_what_is_missing_is_said(tmp_path, overlays, extra, message):
    with pytest.raises(ConfigError, match=message):
        train.train(tiny(tmp_path, overlays, "" if "task" in overlays[0] else "env: {motions: walk}", **extra))
