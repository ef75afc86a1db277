"""The overlays of configs/opt: each goes over an experiment, and what comes of it builds its environment."""

import pytest
import torch

from proto_agents.cli.environments import make_environment
from proto_agents.config import config_root, load_experiment

GOES_OVER = {
    "disable_discriminator": ["style-walk", "style-steering"],
    "force_flat_terrain": ["mimic", "terrain/complex"],
    "full_run": ["task-ppo", "task/steering"],
    "gpu": ["quickstart"],
    "legged_robot": ["mimic", "robot/h1"],
    "masked_mimic_v3": ["masked-mimic"],
    "no_residual_prior": ["masked-mimic"],
    "no_structured_masking": ["masked-mimic"],
    "record_motion": ["quickstart"],
    "record_video": ["quickstart"],
    "residual": ["mimic"],
    "single_gpu": ["quickstart"],
    "slurm_autoresume": ["cartpole"],
    "small_run": ["style-walk"],
    "smoke": ["quickstart"],
    "standard_run": ["quickstart"],
    "tensorboard": ["cartpole"],
    "wandb": ["cartpole"],
}


def shipped():
    return sorted(path.stem for path in (config_root() / "opt").glob("*.yaml"))


@pytest.mark.parametrize("name", shipped())
def test_an_overlay_goes_over_its_experiment(name):
    assert name in GOES_OVER, "say which experiment it goes over"
    if name == "single_gpu" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    before = load_experiment(GOES_OVER[name])
    after = load_experiment([*GOES_OVER[name], f"opt/{name}"])
    assert after != before or name == "tensorboard", "an overlay changes something; TensorBoard is the default"
    batch = after.env.num_envs * after.algorithm.horizon
    assert batch % after.algorithm.minibatch_size == 0
    brief = {"motions": "walk"} if "Proto" in after.env.id and after.env.id != "ProtoSteering-AMP-v0" else {}
    for overlay in (brief, after.evaluation.env | brief):
        env = make_environment(after, 2, overlay)
        env.reset(seed=0)
        env.step(torch.zeros(env.action_space.shape) if brief else env.action_space.sample())
        env.close()


def test_an_overlay_does_what_its_name_says():
    assert load_experiment(["style-walk", "style-steering", "opt/disable_discriminator"]).discriminator.kind == "none"
    legged = load_experiment(["mimic", "robot/g1", "opt/legged_robot"])
    calm = legged.env.keyword_arguments(legged.evaluation.env)
    assert legged.env.kwargs["randomization"]["pushes"] and calm["randomization"] is None
    sizes = [
        load_experiment(["task-ppo", f"opt/{name}_run"]).runner.max_samples for name in ("small", "standard", "full")
    ]
    assert sizes == sorted(sizes) and sizes[-1] == 4000 * 1024 * 32
    assert load_experiment(["mimic", "opt/force_flat_terrain"]).env.kwargs == {"force_flat": True}
