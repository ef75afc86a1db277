"""A session in the browser, through viser."""

from __future__ import annotations

import importlib.util
import json
import logging
import time
from functools import partial
from importlib.resources import files
from typing import Any

from proto_envs.viewer.actions import actions_of
from proto_envs.viewer.errors import ViewerError
from proto_envs.viewer.panel import Panel
from proto_envs.viewer.plots import Plots
from proto_envs.viewer.scene import BrowserScene
from proto_envs.viewer.session import Session

__all__ = ["BrowserViewer"]

_TEXTS = 0.2
"""s between two looks at what is written: numbers, plots"""
_REFRESH = 2.0
"""s between two looks for a newer policy"""


class BrowserViewer:
    """A web page that shows a session and acts on it. Needs the extra `proto-envs[viewer]`."""

    def __init__(self, session: Session, title: str, *, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Serve the page.

        Args:
            session: what to show.
            title: of the page.
            host: address to listen at; "0.0.0.0" lets other machines look, and act.
            port: of the page; the next free one is taken where it is in use.

        Raises:
            ViewerError: if viser or trimesh is missing.
        """
        if missing := [name for name in ("viser", "trimesh") if importlib.util.find_spec(name) is None]:
            raise ViewerError(f"the viewer needs {' and '.join(missing)}: pip install 'proto-envs[viewer]'")
        import viser

        # A browser that opens a connection and thinks better of it is nobody's error.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self.session = session
        self.server = viser.ViserServer(host=host, port=port, label="Proto", verbose=False)
        gui = self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(37, 99, 235))
        self.scene = BrowserScene(self.server, session.world)
        self.panel = Panel(gui, session, title)
        self.plots = Plots(gui, session.history)
        self._written = self._looked = -1.0
        self._listen()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def _listen(self) -> None:
        """Let keys act: viser's commands have hotkeys."""
        gui: Any = self.server.gui
        actions = actions_of(self.session)
        for action in actions:
            for key in action.keys:
                command = gui.add_command(action.label, description=action.help or None, hotkey=key)
                command.on_trigger(lambda _, do=action.do: self.session.ask(partial(do, self.session)))
        from viser._messages import RunJavascriptMessage

        source = files("proto_envs.viewer").joinpath("keyboard.js").read_text(encoding="utf-8")
        keys = json.dumps([key for action in actions for key in action.keys])
        gui._websock_interface.queue_message(RunJavascriptMessage(source=source.replace("KEYS", keys, 1)))

    def is_open(self) -> bool:
        """A page is never closed from the other side: it may be looked at again."""
        return True

    def show(self) -> None:
        """Show the session as it is now."""
        session, now = self.session, time.monotonic()
        if now - self._looked >= _REFRESH:
            self._looked = now
            session.ask(session.refresh_agent)
        self.scene.show(session.frame(), session.camera, session.shows)
        if now - self._written >= _TEXTS or session.paused:
            self._written = now
            self.panel.show()
            self.plots.show()
        while session.notices:
            text = session.notices.popleft()
            for client in self.server.get_clients().values():
                client.add_notification(text, "", auto_close_seconds=4.0)

    def close(self) -> None:
        """Stop serving."""
        self.server.stop()
