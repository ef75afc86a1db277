"""Robots to watch and to meddle with, in the browser or in MuJoCo's own window.

A `Session` steps the environments and does what a person asks for; it knows no window. `BrowserViewer` and
`WindowViewer` show it, and `run` keeps the pace.
"""

from proto_envs.viewer.agents import AGENTS, Agent, ScriptedAgent
from proto_envs.viewer.browser import BrowserViewer
from proto_envs.viewer.errors import ViewerError
from proto_envs.viewer.pace import Display, run
from proto_envs.viewer.session import Session
from proto_envs.viewer.window import WindowViewer

__all__ = [
    "AGENTS",
    "Agent",
    "BrowserViewer",
    "Display",
    "ScriptedAgent",
    "Session",
    "ViewerError",
    "WindowViewer",
    "run",
]
