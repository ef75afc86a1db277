"""Isaac Gym's calls as its documentation describes them, in plain Python 3.8, over very simple physics.

A robot falls and turns as one rigid mass, its joints follow their drives as if each had an inertia of 1 kg m2, and the
ground holds up the lowest body and rubs on it. What the calls are strict about, so is this: states and forces are told
once before a physics step, reach the robots in it, and are seen in a tensor after it was refreshed. ISAACGYM_STAND_IN
makes it fail: "raise", "die" or "hang" in a physics step, "none" at the start, "shuffle" by another order of bodies.
"""

import ctypes
import math
import os
import sys
import time
from xml.etree import ElementTree

DTYPE_FLOAT32, DTYPE_UINT32 = "float32", "uint32"
SIM_PHYSX, UP_AXIS_Z, DOF_MODE_POS, CC_LAST_SUBSTEP, ENV_SPACE = "physx", "z", 1, "last", "env"
FAULT = os.environ.get("ISAACGYM_STAND_IN", "")


# --- structures ------------------------------------------------------------------------------------------------------


class Vec3:
    __slots__ = ("x", "y", "z")

    def __init__(self, x=0.0, y=0.0, z=0.0):
        self.x, self.y, self.z = x, y, z


class Quat:
    __slots__ = ("w", "x", "y", "z")

    def __init__(self, x=0.0, y=0.0, z=0.0, w=1.0):
        self.x, self.y, self.z, self.w = x, y, z, w


class Transform:
    __slots__ = ("p", "r")

    def __init__(self):
        self.p, self.r = Vec3(), Quat()


class Mat33:
    __slots__ = ("x", "y", "z")


class Tensor:
    __slots__ = ("data_address", "device", "dtype", "memory", "own_data", "shape")


class Settings:
    """Takes any field."""


class SimParams(Settings):
    def __init__(self):
        self.physx = Settings()


class PlaneParams(Settings):
    pass


class AssetOptions(Settings):
    pass


class RigidBodyProperties:
    __slots__ = ("com", "inertia", "mass")


class RigidShapeProperties:
    __slots__ = ("friction", "restitution")


def read(tensor, count, kind=ctypes.c_float):
    return (kind * count).from_address(tensor.data_address)[:]


def made(*shape):
    tensor = Tensor()
    tensor.memory = (ctypes.c_float * math.prod(shape))()
    tensor.data_address, tensor.shape = ctypes.addressof(tensor.memory), shape
    tensor.dtype, tensor.device, tensor.own_data = DTYPE_FLOAT32, -1, True
    return tensor


# --- rotations (xyzw) ------------------------------------------------------------------------------------------------


def multiply(a, b):
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def turned(q, v):
    x, y, z, _ = multiply(multiply(q, (*v, 0.0)), (-q[0], -q[1], -q[2], q[3]))
    return x, y, z


def exponential(v):
    angle = math.sqrt(sum(c * c for c in v))
    scale = math.sin(0.5 * angle) / angle if angle > 1e-9 else 0.5
    return (*(scale * c for c in v), math.cos(0.5 * angle))


def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def plus(*vectors):
    return tuple(map(sum, zip(*vectors)))  # noqa: B905  Python 3.8


# --- the robot -------------------------------------------------------------------------------------------------------


class Body:
    """One of the tree, with the first of its dofs."""

    def __init__(self, element, parent, first):
        self.name, self.parent, self.first = element.get("name"), parent, first
        self.offset = tuple(map(float, element.get("pos").split()))
        w, x, y, z = map(float, element.get("quat").split())
        self.rest = (x, y, z, w)
        joints = element.findall("joint")
        self.dofs = [joint.get("name") for joint in joints]
        self.axes = [tuple(map(float, joint.get("axis").split())) for joint in joints]
        self.shapes = len(element.findall("geom"))
        assert len(self.dofs) in (0, 1, 3), "the importer makes hinges and spherical joints"

    def along_axes(self, values):
        own = values[self.first : self.first + len(self.dofs)]
        return plus((0.0, 0.0, 0.0), *(tuple(v * c for c in a) for v, a in zip(own, self.axes)))  # noqa: B905


class Asset:
    def __init__(self, path):
        self.bodies = []
        root = ElementTree.parse(path).getroot()
        assert root.find("compiler").get("angle") == "degree"
        self._add(root.find("worldbody").find("body"), -1)
        self.dofs = [name for body in self.bodies for name in body.dofs]

    def _add(self, element, parent):
        body = Body(element, parent, sum(len(b.dofs) for b in self.bodies))
        self.bodies.append(body)
        index = len(self.bodies) - 1
        for child in element.findall("body"):
            self._add(child, index)


class Actor:
    """A robot; its velocity is that of the root's centre of mass."""

    def __init__(self, asset, origin):
        self.asset, self.origin = asset, origin
        count = len(asset.dofs)
        self.position, self.rotation = origin, (0.0, 0.0, 0.0, 1.0)
        self.velocity = self.spin = (0.0, 0.0, 0.0)
        self.dofs, self.rates, self.targets = [0.0] * count, [0.0] * count, [0.0] * count
        names = ("driveMode", "stiffness", "damping", "effort", "velocity", "friction", "armature")
        self.drives = {name: [0.0] * count for name in names}
        self.shapes = [RigidShapeProperties() for body in asset.bodies for _ in range(body.shapes)]
        self.bodies = [RigidBodyProperties() for _ in asset.bodies]
        self.contacts = [(0.0, 0.0, 0.0)] * len(asset.bodies)

    def forward(self):
        """Position, rotation, velocity of the centre of mass and angular velocity of each body."""
        centre = self._centre(0)
        arm = turned(self.rotation, tuple(-c for c in centre))
        origins = [(self.position, self.rotation, plus(self.velocity, cross(self.spin, arm)), self.spin)]
        for body in self.asset.bodies[1:]:
            position, rotation, velocity, spin = origins[body.parent]
            offset = turned(rotation, body.offset)
            own = multiply(multiply(rotation, body.rest), exponential(body.along_axes(self.dofs)))
            rate = turned(own, body.along_axes(self.rates))
            velocity = plus(velocity, cross(spin, offset))
            origins.append((plus(position, offset), own, velocity, plus(spin, rate)))
        return [(p, q, plus(v, cross(w, turned(q, self._centre(i)))), w) for i, (p, q, v, w) in enumerate(origins)]

    def _centre(self, body):
        com = self.bodies[body].com
        return com.x, com.y, com.z

    def move(self, dt, gravity, force):
        mass = sum(body.mass for body in self.bodies)
        self.velocity = tuple(v + dt * (g + f / mass) for v, g, f in zip(self.velocity, gravity, force))  # noqa: B905
        for i, target in enumerate(self.targets):
            stiffness, damping = self.drives["stiffness"][i], self.drives["damping"][i]
            pull = self.rates[i] + dt * stiffness * (target - self.dofs[i])
            self.rates[i] = pull / (1.0 + dt * damping + dt * dt * stiffness)
            self.dofs[i] += dt * self.rates[i]
        centre = self._centre(0)
        middle = plus(self.position, turned(self.rotation, centre), tuple(dt * v for v in self.velocity))
        self.rotation = multiply(exponential(tuple(dt * w for w in self.spin)), self.rotation)
        self.position = plus(middle, tuple(-c for c in turned(self.rotation, centre)))
        self.contacts = [(0.0, 0.0, 0.0)] * len(self.bodies)
        if self.position[2] < 2.0:
            self._land(mass / dt)

    def _land(self, factor):
        heights = [position[2] for position, _, _, _ in self.forward()]
        lowest = min(heights)
        if lowest < 0.0:
            self.position = plus(self.position, (0.0, 0.0, -lowest))
            x, y, z = self.velocity
            stopped = max(-z, 0.0)
            kept = max(0.0, 1.0 - self.shapes[0].friction * stopped / (math.hypot(x, y) + 1e-12))
            self.velocity = (kept * x, kept * y, z + stopped)
            self.contacts[heights.index(lowest)] = (0.0, 0.0, factor * stopped)


# --- the interface ---------------------------------------------------------------------------------------------------


class Sim:
    def __init__(self, params):
        self.params, self.actors, self.grounds = params, [], []
        self.prepared, self.told, self.roots, self.joints, self.forces = False, set(), {}, {}, None


class Gym:
    def create_sim(self, compute_device, graphics_device, kind, params):
        print("stand-in for Isaac Gym")
        assert (graphics_device, kind, params.use_gpu_pipeline) == (-1, SIM_PHYSX, False)
        return None if FAULT == "none" else Sim(params)

    def destroy_sim(self, sim):
        sim.actors = None

    def add_ground(self, sim, params):
        assert params.normal.z == 1.0
        sim.grounds.append(params)

    def load_asset(self, sim, folder, file, options):
        assert not options.collapse_fixed_joints and not options.fix_base_link
        return Asset(os.path.join(folder, file))

    def get_asset_rigid_body_names(self, asset):
        names = [body.name for body in asset.bodies]
        return names[::-1] if FAULT == "shuffle" else names

    def get_asset_dof_names(self, asset):
        return list(asset.dofs)

    def create_env(self, sim, lower, upper, per_row):
        row, column = divmod(len(sim.actors), per_row)
        origin = (column * (upper.x - lower.x), row * (upper.y - lower.y), 0.0)
        sim.actors.append(origin)
        return sim, len(sim.actors) - 1

    def get_env_origin(self, env):
        sim, index = env
        return Vec3(*sim.actors[index].origin)

    def create_actor(self, env, asset, pose, name, group, filter):
        sim, index = env
        assert group == index and not sim.prepared
        sim.actors[index] = Actor(asset, sim.actors[index])
        return 0

    def _actor(self, env):
        sim, index = env
        return sim.actors[index]

    def get_actor_rigid_shape_properties(self, env, actor):
        return self._actor(env).shapes

    def set_actor_rigid_shape_properties(self, env, actor, shapes):
        assert all(shape.friction == env[0].grounds[0].static_friction for shape in shapes)
        return True

    def get_actor_rigid_body_properties(self, env, actor):
        return self._actor(env).bodies

    def set_actor_rigid_body_properties(self, env, actor, bodies, recompute):
        assert all(body.mass > 0.0 and body.inertia.x.x > 0.0 for body in bodies)
        return True

    def get_actor_dof_properties(self, env, actor):
        return {name: list(values) for name, values in self._actor(env).drives.items()}

    def set_actor_dof_properties(self, env, actor, drives):
        assert set(drives["driveMode"]) == {DOF_MODE_POS}
        self._actor(env).drives = drives
        return True

    def prepare_sim(self, sim):
        sim.prepared = True
        count, first = len(sim.actors), sim.actors[0]
        sim.root, sim.dof = made(count, 13), made(count * len(first.dofs), 2)
        sim.body, sim.contact = made(count * len(first.bodies), 13), made(count * len(first.bodies), 3)
        return True

    def acquire_actor_root_state_tensor(self, sim):
        assert sim.prepared
        return sim.root

    def acquire_dof_state_tensor(self, sim):
        return sim.dof

    def acquire_rigid_body_state_tensor(self, sim):
        return sim.body

    def acquire_net_contact_force_tensor(self, sim):
        return sim.contact

    def _tell(self, sim, what):
        assert what not in sim.told, f"{what} was told twice before a physics step"
        sim.told.add(what)

    def _rows(self, sim, tensor, indices, count, width):
        values, per = read(tensor, len(sim.actors) * width), width
        return {i: values[i * per : (i + 1) * per] for i in read(indices, count, ctypes.c_int32)}

    def set_actor_root_state_tensor_indexed(self, sim, tensor, indices, count):
        self._tell(sim, "root")
        sim.roots = self._rows(sim, tensor, indices, count, 13)
        return True

    def set_dof_state_tensor_indexed(self, sim, tensor, indices, count):
        self._tell(sim, "dof")
        sim.joints = self._rows(sim, tensor, indices, count, 2 * len(sim.actors[0].dofs))
        return True

    def set_dof_position_target_tensor(self, sim, tensor):
        self._tell(sim, "targets")
        dofs = len(sim.actors[0].dofs)
        values = read(tensor, len(sim.actors) * dofs)
        for i, actor in enumerate(sim.actors):
            actor.targets = values[i * dofs : (i + 1) * dofs]
        return True

    def apply_rigid_body_force_tensors(self, sim, forceTensor=None, torqueTensor=None, space=None):  # noqa: N803
        self._tell(sim, "forces")
        assert space == ENV_SPACE
        sim.forces = read(forceTensor, 3 * len(sim.actors) * len(sim.actors[0].bodies))
        return True

    def simulate(self, sim):
        if FAULT == "raise":
            raise RuntimeError("the stand-in fails on purpose")
        if FAULT == "die":
            print("the stand-in dies on purpose", file=sys.stderr)
            os._exit(7)
        if FAULT == "hang":
            time.sleep(600.0)
        for i, row in sim.roots.items():
            actor = sim.actors[i]
            actor.position, actor.rotation = tuple(row[:3]), tuple(row[3:7])
            actor.velocity, actor.spin = tuple(row[7:10]), tuple(row[10:])
        for i, row in sim.joints.items():
            sim.actors[i].dofs, sim.actors[i].rates = row[::2], row[1::2]
        gravity = sim.params.gravity
        for i, actor in enumerate(sim.actors):
            size = 3 * len(actor.bodies)
            own = [0.0] * size if sim.forces is None else sim.forces[i * size : (i + 1) * size]
            force = [sum(own[axis::3]) for axis in range(3)]
            actor.move(sim.params.dt, (gravity.x, gravity.y, gravity.z), force)
        sim.told, sim.roots, sim.joints, sim.forces = set(), {}, {}, None

    def fetch_results(self, sim, wait):
        assert wait

    def _refresh(self, tensor, numbers):
        tensor.memory[:] = numbers
        return True

    def refresh_actor_root_state_tensor(self, sim):
        states = ((*a.position, *a.rotation, *a.velocity, *a.spin) for a in sim.actors)
        return self._refresh(sim.root, [number for state in states for number in state])

    def refresh_dof_state_tensor(self, sim):
        pairs = (pair for a in sim.actors for pair in zip(a.dofs, a.rates))  # noqa: B905
        return self._refresh(sim.dof, [number for pair in pairs for number in pair])

    def refresh_rigid_body_state_tensor(self, sim):
        parts = (part for actor in sim.actors for body in actor.forward() for part in body)
        return self._refresh(sim.body, [number for part in parts for number in part])

    def refresh_net_contact_force_tensor(self, sim):
        forces = (force for actor in sim.actors for force in actor.contacts)
        return self._refresh(sim.contact, [number for force in forces for number in force])


def acquire_gym():
    return Gym()
