"""A headless Chromium to look at pages with, over its own protocol: no driver to install."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_FLAGS = (
    "headless no-sandbox disable-quic no-first-run disable-background-networking disable-component-update "
    "disable-sync use-gl=angle use-angle=swiftshader enable-unsafe-swiftshader remote-debugging-port=0"
)


class Page:
    """One page; keys and clicks arrive as a person's would."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._count = socket, 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the Chrome DevTools protocol."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def press(self, key: str, code: str = "") -> None:
        """Press and release a key, as `KeyboardEvent.key` and `.code` name it."""
        named = {"key": key, "code": code, **({"text": key} if len(key) == 1 else {})}
        self.call("Input.dispatchKeyEvent", type="keyDown", **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def click(self, text: str) -> None:
        """Click the middle of the smallest element with this text."""
        places = f"""[...document.querySelectorAll("button, label, [role=option], p, span")]
            .filter(e => e.textContent.trim() === {json.dumps(text)})
            .map(e => e.getBoundingClientRect()).filter(r => r.width * r.height > 0)
            .sort((a, b) => a.width * a.height - b.width * b.height)
            .map(r => [r.x + r.width / 2, r.y + r.height / 2])[0]"""
        place = self.evaluate(places)
        assert place, f"no {text!r} on the page: {self.evaluate('document.body.innerText')}"
        self.click_at(*place)

    def click_at(self, x: float, y: float) -> None:
        """Click a place, in pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path | None = None) -> np.ndarray:
        """(height, width, 3) int."""
        from PIL import Image

        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@contextmanager
def open_page(url: str, folder: Path, width: int = 1280, height: int = 800) -> Iterator[Page]:
    """Chromium with a fresh profile in `folder`, on a page."""
    from websockets.sync.client import connect

    profile = folder / "profile"
    flags = [f"--{flag}" for flag in (*_FLAGS.split(), f"window-size={width},{height}", f"user-data-dir={profile}")]
    browser = subprocess.Popen([str(CHROMIUM), *flags, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = profile / "DevToolsActivePort"
        wait_for(lambda: port_file.exists() and len(port_file.read_text().split()) == 2, 60)
        port = port_file.read_text().split()[0]

        def targets() -> list[dict[str, Any]]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as answer:
                return [target for target in json.load(answer) if target["type"] == "page"]

        wait_for(lambda: bool(targets()), 60)
        with connect(targets()[0]["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Page(socket)
    finally:
        browser.terminate()
        browser.wait(timeout=20)


def wait_for(condition: Callable[[], bool], seconds: float, what: str = "what was waited for") -> None:
    """Until it is true.

    Raises:
        TimeoutError: it did not come true.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.05)
