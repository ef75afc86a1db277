"""What mkdocs does besides: README as first page, pages of recipes and of the API, and links that leave docs/.

Pages link to source files (`../packages/...`), which a forge shows and a site does not have. With `repo_url` in
mkdocs.yml they lead there; without, the path is shown instead.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("poselib", "motionlib", "proto_envs", "proto_agents")
_LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the API's pages into the navigation."""
    api: list[Any] = [
        {package: [{page: f"api/{package}/{page}.md"} for page in pages_of(package)]} for package in PACKAGES
    ]
    assert config.nav is not None
    config.nav = [*config.nav, {"API": api}]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add README and the API's pages."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    files.append(File.generated(config, "recipes.md", content=recipes()))
    for package in PACKAGES:
        for page, modules in pages_of(package).items():
            content = f"# {package}.{page}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n"
            files.append(File.generated(config, f"api/{package}/{page}.md", content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:  # noqa: ANN401
    """Turn links that leave docs/ into ones to the repository, or into paths."""
    folder = ROOT if page.file.src_uri == "index.md" else (ROOT / "docs" / page.file.src_uri).parent

    def turned(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        path, _, anchor = target.partition("#")
        if "://" in target or not path or files.get_file_from_path(path) is not None:
            return match[0]
        inside = (folder / path).resolve()
        if not inside.exists():
            return match[0]  # mkdocs says what is wrong
        if not config.repo_url:
            return text if "`" in text else f"{text} (`{inside.relative_to(ROOT)}`)"
        kind = "tree" if inside.is_dir() else "blob"
        hash_ = f"#{anchor}" if anchor else ""
        return f"[{text}]({config.repo_url.rstrip('/')}/{kind}/main/{inside.relative_to(ROOT)}{hash_})"

    parts = re.split(r"(^```.*?^```)", markdown, flags=re.S | re.M)
    return "".join(part if part.startswith("```") else _LINK.sub(turned, part) for part in parts)


def recipes() -> str:
    """A page of all experiments in configs/exp: what their files say of them, budget, and what they expect."""
    parts = [
        "# Recipes",
        "Experiments of `configs/exp`, for `proto-train NAME`. What a recipe expects is checked by `proto-eval` and at"
        " the end of its run; where it is a goal that nobody has reached yet, its file says so.",
    ]
    for path in sorted((ROOT / "configs" / "exp").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        lines = [line[2:] for line in itertools.takewhile(lambda line: line.startswith("# "), text.splitlines())]
        settings = yaml.safe_load(text)
        facts = []
        if samples := settings.get("runner", {}).get("max_samples"):
            facts.append(f"{samples / 1e6:g} M samples")
        expected = settings.get("expect", {})
        facts += [f"`{name}` {low:g} to {high:g}" for name, (low, high) in expected.items()]
        note = re.search(r"^expect:\s*# (.+)$", text, re.M)
        listed = "; ".join(facts) + (f" ({note[1]})" if note else "")
        parts += [f"## {path.stem}", " ".join(lines).replace("<", "&lt;"), listed]
    return "\n\n".join(parts) + "\n"


def pages_of(package: str) -> dict[str, list[str]]:
    """Modules that are public, by the page that they share: that of their folder, or the package's own."""
    source = ROOT / "packages" / package / "src" / package
    pages: dict[str, list[str]] = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        hidden = any(part.startswith("_") for part in parts) or parts[0] in ("cli", "pretrained", "configs")
        if hidden or "__all__" not in path.read_text(encoding="utf-8"):
            continue
        page = parts[0] if len(parts) > 1 else "package"
        pages.setdefault(page, []).append(".".join((package, *parts)))
    return dict(sorted(pages.items(), key=lambda item: (item[0] != "package", item[0])))
