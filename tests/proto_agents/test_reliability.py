"""What is left when a process dies, the disk is full, or two runs want one folder."""

import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import time

import pytest
import torch

from proto_agents import checkpoint as checkpoints
from proto_agents.checkpoint import CheckpointError
from proto_agents.run_lock import LOCK_FILE, RunLock

FORK = multiprocessing.get_context("fork")  # importing torch anew for each kill would take minutes


def save(folder, number, size=20_000):
    tensors = {"weight": torch.full((size,), float(number))}
    checkpoints.save_checkpoint(folder / "last", tensors, tensors, {"samples": number})


def number_of(checkpoint):
    """The number that a checkpoint was saved with; all three files must say the same."""
    samples = checkpoints.load_state(checkpoint)["samples"]
    for name in (checkpoints.MODEL_FILE, checkpoints.TRAINER_FILE):
        assert (checkpoints.load_tensors(checkpoint / name)["weight"] == samples).all()
    return samples


def save_for_ever(folder, number, started):
    while True:
        save(folder, number)
        checkpoints.copy_checkpoint(folder / "last", folder / "best")
        started.set()
        number += 1


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_9_while_saving_loses_no_checkpoint(tmp_path, kills):
    chance, last, best = random.Random(kills), 0, 0
    for _ in range(kills):
        started = FORK.Event()
        process = FORK.Process(target=save_for_ever, args=(tmp_path, last + 1, started))
        process.start()
        assert started.wait(60)
        time.sleep(chance.uniform(0.0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        found = number_of(checkpoints.find_checkpoint(tmp_path, ("last",)))
        copied = number_of(checkpoints.find_checkpoint(tmp_path, ("best",)))
        assert found > last and copied > best and found - copied in (0, 1)
        last, best = found, copied


def test_what_a_crash_left_is_kept_when_the_next_save_dies_too(tmp_path, monkeypatch):
    save(tmp_path, 1)
    (tmp_path / "last").rename(tmp_path / ".last.old")  # killed between the two renames
    monkeypatch.setattr(checkpoints, "_save_tensors", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    process = FORK.Process(target=save, args=(tmp_path, 2))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert number_of(checkpoints.find_checkpoint(tmp_path / "last")) == 1


def save_with_little_room(folder, queue):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    try:
        save(folder, 2)
    except CheckpointError as error:
        queue.put(str(error))


def test_a_save_without_room_leaves_the_old_checkpoint_and_no_half_file(tmp_path):
    save(tmp_path, 1)
    queue = FORK.SimpleQueue()
    process = FORK.Process(target=save_with_little_room, args=(tmp_path, queue))
    process.start()
    process.join()
    assert process.exitcode == 0
    message = queue.get()
    assert "cannot write the checkpoint" in message and "the previous last/ is as it was" in message
    assert "it takes 0.16 MB" in message
    assert number_of(tmp_path / "last") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def hold(folder, started):
    with RunLock(folder):
        started.set()
        time.sleep(600)


def test_a_folder_in_use_is_refused_and_a_dead_runs_lock_is_taken_over(tmp_path):
    started = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path, started))
    process.start()
    assert started.wait(60)
    with pytest.raises(CheckpointError, match=rf"in use by process {process.pid} on"), RunLock(tmp_path):
        pass
    process.kill()
    process.join()
    with RunLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_lock_of_another_host_is_respected_unless_a_scheduler_moved_the_run(tmp_path):
    (tmp_path / LOCK_FILE).write_text(json.dumps({"pid": 1, "host": f"not-{socket.gethostname()}"}))
    with pytest.raises(CheckpointError, match="in use by process 1 on not-"), RunLock(tmp_path):
        pass
    with RunLock(tmp_path, scheduled=True):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["host"] == socket.gethostname()
    assert not (tmp_path / LOCK_FILE).exists()
