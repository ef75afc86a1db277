"""A training run as a job of SLURM; commands of SLURM are stood in for by scripts."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proto_agents.checkpoint import load_state
from proto_agents.cli import submit
from proto_agents.cli.train import parse_arguments

STAND_INS = {
    # As SLURM does it: a process for each task, numbered, and signals for each of them.
    "srun": """
        shift  # --kill-on-bad-exit=1
        tasks=""
        for number in $(seq 0 $((SLURM_NTASKS - 1))); do
          SLURM_PROCID=$number SLURM_LOCALID=$number "$@" &
          tasks="$tasks $!"
        done
        echo $tasks > tasks
        status=0
        for task in $tasks; do wait $task || status=$?; done
        exit $status""",
    "scontrol": """
        if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> requeued; fi""",
    "sbatch": """
        cat > submitted""",
    "proto-train": f"""
        exec {sys.executable} -m proto_agents.cli.train "$@" """,
}
JOB = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node", "SLURM_NTASKS": "2", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def cluster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in STAND_INS.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("#!/bin/sh\n" + "\n".join(line.strip() for line in text.splitlines()) + "\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def printed(capsys, *arguments):
    submit.main(list(arguments))
    return capsys.readouterr().out


def test_the_script_asks_for_what_was_said(capsys):
    script = printed(
        capsys, "quickstart", "opt/gpu", *("--nodes", "2", "--gpus", "4", "--partition", "big"), "--runner.seed", "3"
    )
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))
    assert asked["nodes"] == "2" and asked["ntasks-per-node"] == asked["gpus-per-node"] == "4"
    assert asked["job-name"] == "quickstart" and asked["partition"] == "big" and asked["signal"] == "USR1@300"
    assert "account" not in asked and "#SBATCH --requeue" in script
    directives = [i for i, line in enumerate(script.splitlines()) if line.startswith("#SBATCH")]
    assert directives == list(range(1, len(directives) + 1))  # sbatch reads none that comes later
    command = next(line for line in script.splitlines() if line.startswith("srun "))
    experiment = parse_arguments(shlex.split(command)[shlex.split(command).index("proto-train") + 1 :]).experiment
    assert experiment.runner.auto_resume and experiment.runner.seed == 3 and experiment.env.num_envs == 4096


def test_without_a_gpu_and_without_requeueing(capsys):
    script = printed(capsys, "cartpole", *("--gpus", "0", "--processes", "4", "--no-requeue", "--option", "mem=8G"))
    assert "gpus" not in script and "#SBATCH --ntasks-per-node=4" in script and "#SBATCH --mem=8G" in script
    assert "#SBATCH --no-requeue" in script and "scontrol requeue" not in script


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cartpole", "--gpus", "3"], "env.num_envs 16 cannot be split over 3 processes"),
        (["cartpole", "--nodes", "0"], "--nodes, --cpus and --grace must be at least 1"),
        (["cartpole", "--resume", "runs/cartpole"], "--resume: a job goes on by itself"),
        (["cartpol"], "did you mean 'cartpole'"),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(words, message):
    with pytest.raises(SystemExit, match=message):
        submit.main([*words, "--submit"])
    assert not Path("submitted").exists()


def test_a_script_is_submitted_and_kept(cluster, monkeypatch):
    with pytest.raises(SystemExit) as end:
        submit.main(["cartpole", "--script", "job.sh", "--submit"])
    assert end.value.code == 0 and Path("submitted").read_text() == Path("job.sh").read_text()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="sbatch; is this a machine of SLURM's"):
        submit.main(["cartpole", "--submit"])


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (130, True)])
def test_a_job_that_only_saved_goes_back_into_the_queue(cluster, status, requeued):
    submit.main(["cartpole", "--script", "job.sh", "--gpus", "2", "--runner.max-samples", "5"])
    seen = 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT $@" > seen$RANK'
    (cluster / "bin" / "proto-train").write_text(f"#!/bin/sh\n{seen}\nexit {status}\n")
    assert subprocess.run(["bash", "job.sh"], env=os.environ | JOB, check=False).returncode == status
    for rank in "01":
        expected = f"{rank} {rank} 2 2 127.0.0.1 24711 cartpole opt/slurm_autoresume --runner.max-samples 5"
        assert Path(f"seen{rank}").read_text().strip() == expected
    assert Path("requeued").exists() == requeued
    if requeued:
        assert Path("requeued").read_text() == "requeue 4711\n"


@pytest.mark.slow
def test_a_job_that_comes_to_its_limit_saves_and_goes_on_when_it_is_its_turn_again():
    flags = ("--gpus", "2", "--env.num-envs", "4", "--algorithm.horizon", "16", "--runner.logger", "none")
    flags += ("--runner.no-report", "--runner.checkpoint-every", "256", "--evaluation.num-envs", "2")

    def job(samples):
        submit.main(["cartpole", "--script", "job.sh", *flags, "--runner.max-samples", str(samples)])
        return subprocess.Popen(["bash", "job.sh"], env=os.environ | JOB | {"CUDA_VISIBLE_DEVICES": ""})

    last = Path("runs/cartpole/last")
    first = job(100_000_000)
    deadline = time.monotonic() + 600
    while not last.exists():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.2)
    for task in Path("tasks").read_text().split():
        subprocess.run(["kill", "-USR1", task], check=True)
    assert first.wait(300) == 130 and Path("requeued").read_text() == "requeue 4711\n"
    state = load_state(last)
    assert state["ranks"] == 2
    assert job(state["samples"] + 640).wait(600) == 0
    assert load_state(last)["samples"] == state["samples"] + 640
