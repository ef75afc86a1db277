"""The rules of the house that a program can check; CONTRIBUTING.md gives the reasons."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[1] / "packages"
ABOVE = {  # what each package must not know
    "poselib": {"motionlib", "proto_envs", "proto_agents"},
    "motionlib": {"proto_envs", "proto_agents"},
    "proto_envs": {"proto_agents"},
    "proto_agents": set(),
}
ENGINE_MODULES = {
    "mujoco_warp": "mujoco_warp",
    "newton": "newton",
    "genesis": "genesis",
    "isaaclab": "isaaclab",
    "isaacgym": "isaacgym_worker",
}
"""module of an engine to the file in proto_envs/simulators that alone may import it"""

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 450
COMMANDS = "proto_agents/cli/"
RESTRICTED_UNPICKLERS = {"motionlib/datasets/joblib_files.py", "motionlib/importers/pickles.py"}
"""files that read other projects' pickles by a subclass of `pickle.Unpickler` that lets in named classes alone"""
FOREIGN_WRITERS = {"motionlib/exporters/protomotions.py"}
"""files that write another project's format, which is a pickle, from plain tensors"""
PICKLE_MODULES = ("pickle", "joblib", "dill")

FILES = {
    path.relative_to(source).as_posix(): path
    for source in sorted(PACKAGES.glob("*/src"))
    for path in sorted(source.rglob("*.py"))
}
"""`package/module.py` to its path"""


def modules(package: str = "") -> list[str]:
    """Files as `package/module.py`, all or one package's."""
    return [name for name in FILES if name.startswith(package)]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"), name)


def imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported at or below a node, by its top name, with the line."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name.partition(".")[0], child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module.partition(".")[0], child.lineno
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module"):
            named = [a.value for a in child.args[:1] if isinstance(a, ast.Constant)]
            yield from ((str(name).partition(".")[0], child.lineno) for name in named)


def top_level(module: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run at import."""
    stack: list[ast.stmt] = list(module.body)
    while stack:
        statement = stack.pop()
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(statement):
            continue
        yield statement
        stack += [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)]


def is_type_checking(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test).endswith("TYPE_CHECKING")


def test_all_four_packages_are_there():
    assert {name.partition("/")[0] for name in FILES} == set(ABOVE)


@pytest.mark.parametrize("package", ABOVE)
def test_packages_know_only_what_is_below_them(package: str):
    wrong = [f"{m}:{line} imports {n}" for m in modules(package) for n, line in imports(tree(m)) if n in ABOVE[package]]
    assert not wrong, wrong


def test_the_trainer_knows_environments_only_in_its_commands_and_lazily():
    wrong = []
    for module in modules("proto_agents"):
        nodes = top_level(tree(module)) if module.startswith(COMMANDS) else [tree(module)]
        statements = (n for n in nodes if isinstance(n, ast.Module | ast.Import | ast.ImportFrom))
        found = {line for node in statements for name, line in imports(node) if name == "proto_envs"}
        wrong += [f"{module}:{line}" for line in sorted(found)]
    assert not wrong, f"proto_envs may be imported in {COMMANDS} alone, inside functions: {wrong}"


def test_each_engine_is_imported_in_its_one_file():
    wrong = [
        f"{module}:{line} imports {name}"
        for module in FILES
        for name, line in imports(tree(module))
        if name in ENGINE_MODULES and module != f"proto_envs/simulators/{ENGINE_MODULES[name]}.py"
    ]
    assert not wrong, wrong


def test_no_pickles():
    wrong = []
    for module in FILES:
        pickles = [f"{module}:{line} imports {n}" for n, line in imports(tree(module)) if n in PICKLE_MODULES]
        wrong += pickles if module not in RESTRICTED_UNPICKLERS else []
        for node in ast.walk(tree(module)):
            if not isinstance(node, ast.Call):
                continue
            function, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if function == "torch.load" and given.get("weights_only") != "True":
                wrong.append(f"{module}:{node.lineno} torch.load without weights_only=True")
            if function in ("pickle.load", "pickle.loads", "pickle.Unpickler"):
                wrong.append(f"{module}:{node.lineno} {function} lets any class in")
            if function == "torch.save" and module not in FOREIGN_WRITERS:
                wrong.append(f"{module}:{node.lineno} torch.save writes a pickle; use safetensors")
            if given.get("allow_pickle") == "True":
                wrong.append(f"{module}:{node.lineno} allow_pickle=True")
    assert not wrong, wrong


def test_public_modules_say_what_is_public():
    """A module that defines nothing needs no `__all__`; nor do the commands, whose one name is `main`."""
    lacking = []
    for module in FILES:
        if module.startswith(COMMANDS) or Path(module).stem == "__main__":
            continue
        statements = tree(module).body
        targets = {ast.unparse(t) for s in statements if isinstance(s, ast.Assign) for t in s.targets}
        defines = any(isinstance(s, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign) for s in statements)
        if defines and "__all__" not in targets:
            lacking.append(module)
    assert not lacking, f"no __all__ in {lacking}"


def test_functions_and_files_stay_short():
    long = []
    for module in FILES:
        lines = len(FILES[module].read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            long.append(f"{module}: {lines} lines")
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    long.append(f"{module}:{node.lineno} {node.name}: {length} lines")
    assert not long, long


def test_folders_are_domains():
    vague = {"utils", "util", "helpers", "common", "misc"}
    wrong = [module for module in FILES if vague & {Path(part).stem for part in Path(module).parts}]
    assert not wrong, wrong


def test_importing_the_environments_registers_ids_and_loads_nothing_heavy():
    program = (
        "import sys, gymnasium, proto_envs\n"
        "ids = [i for i in gymnasium.registry if i.startswith('Proto')]\n"
        "heavy = [m for m in ('torch', 'mujoco', 'motionlib', 'poselib') if m in sys.modules]\n"
        "print(len(ids), *heavy)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert int(output[0]) >= 2, "no Proto ids in gymnasium's registry"
    assert output[1:] == [], f"import proto_envs loads {output[1:]}"


def test_commands_start_without_what_only_a_run_or_an_evaluation_needs():
    program = (
        "import sys, proto_agents.cli.train, proto_agents.cli.evaluate, proto_agents.cli.sweep\n"
        "late = 'scipy matplotlib tensorboard wandb onnx mujoco motionlib poselib proto_envs'.split()\n"
        "print(*[m for m in late if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert output == [], f"the commands load {output} before they know what to do"
