import pytest
import yaml

from proto_agents.config import (
    EnvironmentConfig,
    Experiment,
    config_root,
    find_overlay,
    load_experiment,
    split_free_flags,
    with_run_folder,
)
from proto_agents.parsing import ConfigError, load_yaml, merge, parse_dataclass, plain


def overlay(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("path", sorted(config_root().rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_overlays_are_valid_and_all_they_say_counts(path):
    said, experiment = load_yaml(path.read_text(), path.name), plain(load_experiment([str(path)]))
    assert said and merge(experiment, said) == experiment


@pytest.mark.parametrize("path", sorted((config_root() / "exp").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_experiments_say_what_to_expect(path):
    # Alone or laid over quickstart, as its first line says.
    experiment = load_experiment(["quickstart", path.stem])
    assert experiment.expect and experiment.env.id and experiment.name == path.stem


def test_overlays_merge_left_to_right(tmp_path):
    first = overlay(tmp_path, "env: {id: A, task: {speed: 1, size: 2}}\nmodel: {hidden_sizes: [8]}", "first.yaml")
    second = overlay(tmp_path, "env: {num_envs: 3, task: {speed: 5}}\nrunner: {max_samples: 1e6}", "second.yaml")
    experiment = load_experiment([first, second], {"env": {"task": {"new": True}}})
    assert experiment.env == EnvironmentConfig(id="A", num_envs=3, task={"speed": 5, "size": 2, "new": True})
    assert experiment.model.hidden_sizes == (8,) and experiment.runner.max_samples == 1_000_000


def test_an_experiment_survives_its_file():
    experiment = load_experiment(["quickstart"])
    stored = load_yaml(yaml.safe_dump(plain(experiment)), "config.yaml")
    assert parse_dataclass(Experiment, stored, "config.yaml") == experiment


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("env: {num_env: 3}", r"mine\.yaml: unknown key 'env\.num_env'; did you mean 'num_envs'\?"),
        ("algoritm: {}", r"mine\.yaml: unknown key 'algoritm'; did you mean 'algorithm'\?"),
        ("env: {num_envs: many}", r"mine\.yaml: env\.num_envs must be int, not 'many' \(str\)"),
        ("env: {num_envs: true}", r"env\.num_envs must be int, not True \(bool\)"),
        ("algorithm: {schedule: adaptiv}", r"algorithm\.schedule is 'adaptiv'; did you mean 'adaptive'\?"),
        ("algorithm: {kind: sac}", r"algorithm\.kind is 'sac'; valid: ppo"),
        ("model: {hidden_sizes: [8, big]}", r"model\.hidden_sizes\[1\] must be int"),
        ("expect: {success_rate: [1]}", r"expect\.success_rate must be tuple\[float, float\]"),
        ("env: 3", r"env must be a mapping, not 3 \(int\)"),
        ("env: {", r"mine\.yaml: not valid YAML"),
        ("- 1", "the file must be a mapping"),
    ],
)
def test_mistakes_name_file_key_and_remedy(tmp_path, text, message):
    good = overlay(tmp_path, "env: {num_envs: 3}", "good.yaml")
    with pytest.raises(ConfigError, match=message):
        load_experiment([good, overlay(tmp_path, text)])


def test_an_unknown_overlay_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no overlay 'quikstart'.*did you mean 'quickstart'"):
        find_overlay("quikstart")


def test_yaml_numbers_with_an_exponent_are_numbers():
    loaded = load_yaml("a: 3e-4\nb: 1_500_000\nc: 1.5E6\nd: walk\ne: -2e3", "here")
    assert loaded == {"a": 3e-4, "b": 1_500_000, "c": 1.5e6, "d": "walk", "e": -2000.0}


def test_only_what_is_set_reaches_the_environment():
    config = EnvironmentConfig(id="A", motions=("walk", "run"), task={"a": {"b": 1, "c": 2}}, kwargs={"extra": 1})
    overlaid = config.keyword_arguments({"task": {"a": {"b": 9}}, "motions": "jump"})
    assert overlaid == {"motions": "jump", "task": {"a": {"b": 9, "c": 2}}, "extra": 1}
    assert config.keyword_arguments()["motions"] == ["walk", "run"]
    assert EnvironmentConfig(id="CartPole-v1").keyword_arguments() == {}


def test_free_flags_are_read_as_yaml():
    rest, taken = split_free_flags(
        ["--env.num-envs", "3", "--env.task.max-error", "0.5", "--env.task.rewards.pose={scale: 2}", "--resume", "x"],
        ("env.task",),
    )
    assert rest == ["--env.num-envs", "3", "--resume", "x"]
    assert taken == {"env": {"task": {"max_error": 0.5, "rewards": {"pose": {"scale": 2}}}}}
    with pytest.raises(ConfigError, match="needs a value"):
        split_free_flags(["--env.task.speed"], ("env.task",))


def test_merging_leaves_its_inputs_alone():
    base = {"a": {"b": 1}}
    assert merge(base, {"a": {"c": 2}, "d": [1]}) == {"a": {"b": 1, "c": 2}, "d": [1]}
    assert base == {"a": {"b": 1}}


def test_run_folders_never_overwrite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert with_run_folder(Experiment(name="walk")).runner.run_dir == "runs/walk"
    (tmp_path / "runs/walk").mkdir(parents=True)
    assert with_run_folder(Experiment(name="walk")).runner.run_dir == "runs/walk-2"
    (tmp_path / "runs/walk/config.yaml").touch()
    asked = parse_dataclass(Experiment, {"runner": {"run_dir": "runs/walk"}}, "here")
    with pytest.raises(ConfigError, match="already holds a run; go on with --resume runs/walk"):
        with_run_folder(asked)
