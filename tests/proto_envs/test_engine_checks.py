"""Every check of engines finds the fault that it is there for."""

import math
from dataclasses import replace

import pytest
import torch

from poselib.rotations import quat_apply_inverse, wxyz_from_xyzw
from proto_envs.context import ObjectState, RobotState
from proto_envs.simulators import UnsupportedError
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.terrain import FLAT
from proto_envs.testing import ENGINE_CHECKS, Allowance, ConformanceError, check_engine, engine_outcomes

BODY_FIELDS = ("body_positions", "body_rotations", "body_velocities", "body_angular_velocities")


class Altered(MujocoSimulator):
    """What is read of the robots goes through `alter(name, field)`."""

    def alter(self, name, field):
        return field

    def robot(self, ids=None):
        state = super().robot(ids)
        fields = [self.alter(name, getattr(state, name)) for name in BODY_FIELDS]
        return RobotState(*fields, read=lambda name: self.alter(name, getattr(state, name)))


def altering(name, change):
    """An engine that changes one field."""
    return type("One", (Altered,), {"alter": lambda self, key, field: change(field) if key == name else field})


def swapped(field):
    index = torch.arange(field.shape[1])
    index[[3, 4]] = index[[4, 3]]
    return field[:, index]


class LocalAngularVelocities(Altered):
    def robot(self, ids=None):
        state = super().robot(ids)
        state.body_angular_velocities = quat_apply_inverse(state.body_rotations, state.body_angular_velocities)
        return state


class Late(Altered):
    """Bodies are read as they were a step ago."""

    old = None

    def step(self, targets):
        self.old = super().robot().body_positions
        super().step(targets)

    def alter(self, name, field):
        return field if name != "body_positions" or self.old is None else self.old


class LateVelocities(Late):
    def step(self, targets):
        self.old = MujocoSimulator.robot(self).body_velocities
        MujocoSimulator.step(self, targets)

    def alter(self, name, field):
        return field if name != "body_velocities" or self.old is None else self.old


class Overwriting(Altered):
    buffer = None

    def alter(self, name, field):
        if name != "body_velocities":
            return field
        if self.buffer is None or len(self.buffer) != len(field):
            self.buffer = torch.empty_like(field)
        return self.buffer.copy_(field)


class WrongPicture(MujocoSimulator):
    def render_state(self, index):
        qpos = super().render_state(index)
        qpos[3:7] = qpos[[4, 5, 6, 3]]
        return qpos


class ResetsNeighbours(MujocoSimulator):
    def set_state(self, ids, state):
        super().set_state(ids, state)
        if len(ids) < self.num_envs:
            super().add_velocity(torch.full((self.num_envs, 3), 1e-4), torch.zeros(self.num_envs, 3))


class Restless(MujocoSimulator):
    def step(self, targets):
        super().step(targets + 1e-3 * torch.randn(targets.shape))


class Forgetful(MujocoSimulator):
    def load_state_dict(self, state):
        super().load_state_dict({**state, "state": state["state"] + 1e-9})


class Confident(MujocoSimulator):
    def unstable(self):
        return torch.zeros(self.num_envs, dtype=torch.bool)


class Light(MujocoSimulator):
    def __init__(self, robot, num_envs, settings):
        super().__init__(robot, num_envs, replace(settings, gravity=0.9 * settings.gravity))


class Slippery(MujocoSimulator):
    def __init__(self, robot, num_envs, settings):
        super().__init__(robot, num_envs, replace(settings, friction=0.7 * settings.friction))


class Sticky(MujocoSimulator):
    def __init__(self, robot, num_envs, settings):
        super().__init__(robot, num_envs, replace(settings, friction=1.0))


class Flat(MujocoSimulator):
    def __init__(self, robot, num_envs, settings):
        super().__init__(robot, num_envs, replace(settings, terrain=FLAT))


class Lazy(MujocoSimulator):
    def step(self, targets):
        super().step(0.5 * targets)


class PushesAll(MujocoSimulator):
    def apply_force(self, body, force):
        super().apply_force(body, force.sum(0, keepdim=True).expand_as(force))


class PushesOn(MujocoSimulator):
    """A push never ends."""

    pushes = ()

    def apply_force(self, body, force):
        self.pushes = (body, force)

    def step(self, targets):
        if self.pushes:
            super().apply_force(*self.pushes)
        super().step(targets)


class Unturned(MujocoSimulator):
    def add_velocity(self, linear, angular):
        super().add_velocity(linear, torch.zeros_like(angular))


class Accepting(MujocoSimulator):
    def set_params(self, name, ids, values):
        if name in self.capabilities.parameters:
            super().set_params(name, ids, values)


class MovesLooseObjects(MujocoSimulator):
    def set_objects(self, ids, state, *, held_only=False):
        super().set_objects(ids, state)


class SinkingObjects(MujocoSimulator):
    def objects(self, ids=None):
        state = super().objects(ids)
        sunk = state.positions - torch.tensor([0.0, 0.0, 0.05])
        return ObjectState(sunk, state.rotations, state.velocities, state.angular_velocities)


class HangingObjects(MujocoSimulator):
    def step(self, targets):
        before = self.objects() if self.scenes is not None else None
        super().step(targets)
        if before is not None:
            self.set_objects(None, before)


class ThrowsAll(MujocoSimulator):
    def throw(self, chosen, state):
        super().throw(torch.ones_like(chosen), state)


FAULTS = [
    ("protocol", altering("body_positions", torch.Tensor.double), "body_positions is torch.float64"),
    ("protocol", Accepting, "an unknown parameter is no UnsupportedError"),
    ("order of bodies and joints", altering("body_positions", swapped), "is read as"),
    ("order of bodies and joints", altering("dof_positions", swapped), "is read as"),
    ("state round trip", altering("body_positions", lambda x: x + 1e-3), "are where a state"),
    ("rotation frames", altering("body_rotations", wxyz_from_xyzw), "they are wxyz"),
    ("rotation frames", altering("body_rotations", lambda q: q * torch.tensor([-1, -1, -1, 1])), "world to body"),
    ("velocity frames", LocalAngularVelocities, "in the bodies' frames"),
    ("velocity frames", altering("body_velocities", lambda v: v + 0.005), "of the bodies' origins"),
    ("joint positions", altering("dof_positions", lambda x: 1.1 * x), "as rotation vectors"),
    ("joint velocities", altering("dof_velocities", lambda x: 1.1 * x), "child's frame"),
    ("one moment", Late, "a physics step late"),
    ("one moment of velocities", LateVelocities, "bodies move as"),
    ("nothing is overwritten", Overwriting, "through later steps"),
    ("render state", WrongPicture, "are turned by"),
    ("subset reset", ResetsNeighbours, "changed by"),
    ("determinism", Restless, "bit-equal"),
    ("exact state", Forgetful, "another instance"),
    ("lost state", Confident, r"unstable\(\) is \[False, False, False\]"),
    ("free fall", Light, "gravity says"),
    ("pose tracking", Lazy, "reach a commanded pose"),
    ("weight at rest", Light, "its weight"),
    ("friction slope", Slippery, "slides|Coulomb"),
    ("friction slope", Sticky, "Coulomb"),
    ("push", PushesAll, "named environment"),
    ("push", PushesOn, "once"),
    ("change of velocity", Unturned, "put there with it"),
    ("height field", Flat, "plateau"),
    ("objects round trip", MovesLooseObjects, "held_only has moved loose objects"),
    ("objects at rest", SinkingObjects, "for a second"),
    ("objects in free fall", HangingObjects, "as gravity says"),
    ("projectiles", ThrowsAll, "not thrown have moved"),
]


@pytest.mark.parametrize(("check", "engine", "words"), FAULTS, ids=[f"{c}-{e.__name__}" for c, e, _ in FAULTS])
def test_a_fault_is_found_by_its_check(amp, check, engine, words):
    with pytest.raises(ConformanceError, match=rf"^{check}: failed.*({words})"):
        check_engine(engine, amp, checks=[check])


def test_there_is_a_fault_for_every_check():
    known = {check for check, _, _ in FAULTS} | {name for name in ENGINE_CHECKS if name.startswith("parameter ")}
    assert known == ENGINE_CHECKS.keys()


# --- outcomes --------------------------------------------------------------------------------------------------------


class Modest(MujocoSimulator):
    """An engine that offers next to nothing, and says so."""

    def __init__(self, robot, num_envs, settings):
        if settings.contact_forces or settings.terrain is not FLAT:
            raise UnsupportedError("engine modest has neither contact forces nor height fields")
        super().__init__(robot, num_envs, settings)
        self.capabilities = replace(
            self.capabilities,
            name="modest",
            parameters=frozenset(),
            apply_force=False,
            scenes=False,
            deterministic=False,
            state_dict=False,
        )

    def set_params(self, name, ids, values):
        raise UnsupportedError(f"engine modest has no parameter {name}")

    def state_dict(self):
        raise UnsupportedError("engine modest cannot save its state")


def test_what_an_engine_does_not_offer_is_no_fault(amp):
    outcomes = {outcome.check: outcome for outcome in engine_outcomes(Modest, amp)}
    assert outcomes.keys() == ENGINE_CHECKS.keys()
    left_out = {name for name, outcome in outcomes.items() if outcome.status == "not offered"}
    assert {name for name, outcome in outcomes.items() if outcome.status == "failed"} == set()
    assert left_out == {
        *("determinism", "exact state", "lost state", "weight at rest", "friction slope", "push"),
        *("change of velocity", "height field", "projectiles"),
        *(name for name in ENGINE_CHECKS if name.startswith(("parameter ", "objects "))),
    }
    assert "contact forces nor height fields" in outcomes["weight at rest"].detail
    assert "capabilities.scenes is false" in str(outcomes["objects at rest"])
    measured = check_engine(Modest, amp, checks=["free fall", "push"])
    assert measured["free fall"] < 1e-6 and math.isnan(measured["push"])


def test_an_engine_that_breaks_down_has_failed_and_the_next_check_goes_on(amp):
    class Fragile(MujocoSimulator):
        def apply_force(self, body, force):
            raise RuntimeError("out of order")

    push, fall = engine_outcomes(Fragile, amp, checks=["push", "free fall"])
    assert (push.status, push.error, push.detail) == ("failed", None, "RuntimeError: out of order")
    assert fall.status == "passed" and fall.error <= fall.allowed == 0.01


def test_a_broken_promise_is_no_lack(amp):
    """What the capabilities have may not be refused."""

    class Lying(MujocoSimulator):
        def apply_force(self, body, force):
            raise UnsupportedError("no pushes")

    (outcome,) = engine_outcomes(Lying, amp, checks=["push"])
    assert outcome.status == "failed" and "no pushes" in outcome.detail


def test_an_allowance_lets_a_larger_error_pass_and_says_why(amp):
    allowances = {"free fall": Allowance(0.2, "its gravity is weak")}
    (outcome,) = engine_outcomes(Light, amp, checks=["free fall"], allowances=allowances)
    assert outcome.status == "passed" and 0.01 < outcome.error < 0.2 and outcome.detail == "its gravity is weak"
    with pytest.raises(ConformanceError):
        check_engine(Light, amp, checks=["free fall"], allowances={"free fall": Allowance(0.02, "")})


def test_a_check_that_does_not_exist_lists_those_that_do(amp):
    with pytest.raises(ValueError, match=r"no checks \['fre fall'\]; there are \['protocol', .*'free fall'"):
        list(engine_outcomes(MujocoSimulator, amp, checks=["fre fall"]))


def test_every_engine_of_a_check_is_closed_even_if_it_fails(amp):
    alive = []

    class Counting(Light):
        def __init__(self, *args):
            super().__init__(*args)
            alive.append(self)

        def close(self):
            super().close()
            if self in alive:
                alive.remove(self)

    list(engine_outcomes(Counting, amp, checks=["free fall", "exact state", "parameter mass"]))
    assert not alive
