"""The viewer's page in a real browser: a headless Chromium, driven over its own protocol."""

import base64
import io
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager

import gymnasium
import numpy as np
import pytest
import torch

import proto_envs  # noqa: F401  registers the ids
from motionlib import Motion
from proto_envs.viewer import BrowserViewer, ScriptedAgent, Session, run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "headless no-sandbox disable-quic no-first-run disable-background-networking disable-component-update "
    "disable-sync use-gl=angle use-angle=swiftshader enable-unsafe-swiftshader remote-debugging-port=0"
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium")]


class Page:
    """One page; keys and clicks arrive as a person's would."""

    def __init__(self, socket):
        self._socket, self._count = socket, 0

    def call(self, method, **parameters):
        """A command of the Chrome DevTools protocol."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, script):
        """The value of an expression of JavaScript."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    @property
    def text(self):
        """All that is written on it."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def press(self, key, code=""):
        """Press and release a key, as `KeyboardEvent.key` and `.code` name it."""
        named = {"key": key, "code": code, **({"text": key} if len(key) == 1 else {})}
        self.call("Input.dispatchKeyEvent", type="keyDown", **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def click(self, text):
        """Click the middle of the smallest element with this text."""
        places = f"""[...document.querySelectorAll("button, label, [role=option], p, span")]
            .filter(e => e.textContent.trim() === {json.dumps(text)})
            .map(e => e.getBoundingClientRect()).filter(r => r.width * r.height > 0)
            .sort((a, b) => a.width * a.height - b.width * b.height)
            .map(r => [r.x + r.width / 2, r.y + r.height / 2])[0]"""
        place = self.evaluate(places)
        assert place, f"no {text!r} on the page: {self.text}"
        self.click_at(*place)

    def click_at(self, x, y):
        """Click a place, in pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path=None):
        """(height, width, 3) int."""
        from PIL import Image

        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@contextmanager
def open_page(url, folder, width=1280, height=800):
    """Chromium with a fresh profile in `folder`, on a page."""
    from websockets.sync.client import connect

    profile = folder / "profile"
    flags = [f"--{flag}" for flag in (*FLAGS.split(), f"window-size={width},{height}", f"user-data-dir={profile}")]
    browser = subprocess.Popen([str(CHROMIUM), *flags, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = profile / "DevToolsActivePort"
        wait_for(lambda: port_file.exists() and len(port_file.read_text().split()) == 2, 60)
        port = port_file.read_text().split()[0]

        def targets():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=20) as answer:
                return [target for target in json.load(answer) if target["type"] == "page"]

        wait_for(lambda: bool(targets()), 60)
        with connect(targets()[0]["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Page(socket)
    finally:
        browser.terminate()
        browser.wait(timeout=20)


def wait_for(condition, seconds, what="what was waited for"):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.05)


@pytest.fixture
def watched(tmp_path):
    """`with watched("Facing", **keywords of make_vec) as (session, page):` a page that is looked at while it runs."""
    pytest.importorskip("viser")
    pytest.importorskip("trimesh")

    @contextmanager
    def look(task, **keywords):
        env = gymnasium.make_vec(f"Proto{task}-SMPL-v0", num_envs=2, threads=1, detailed_metrics=True, **keywords)
        session = Session(env, ScriptedAgent(env.unwrapped), recordings=tmp_path / "recordings")
        viewer = BrowserViewer(session, task, port=19460 + os.getpid() % 500)
        loop = threading.Thread(target=run, args=(session, viewer))
        torch.set_num_threads(1)
        loop.start()
        try:
            with open_page(viewer.url, tmp_path) as page:
                wait_for(lambda: "push (J)" in page.text, 90, "the panel")
                yield session, page
        finally:
            session.ask(session.close)  # where its renderer was opened
            loop.join()
            viewer.close()
            env.close()

    return look


def becomes(look, wanted):
    wait_for(lambda: look() == wanted, 20, f"{wanted!r}")


def skin(pixels):
    """Share of the scene's middle that has the robot's colour, which neither sky, ground nor reference have."""
    middle = pixels[150:550, 400:900]
    return ((middle[..., 0] > 120) & (middle[..., 0] - middle[..., 2] > 40)).mean()


def test_the_page_shows_the_robot_and_keys_and_buttons_act(watched, tmp_path):
    with watched("Facing", motions=None) as (session, page):
        wait_for(lambda: skin(page.picture()) > 0.005, 60, "the robot")
        picture = page.picture(tmp_path / "page.png")
        middle = picture[150:550, 400:900].reshape(-1, 3)
        assert len(np.unique(middle // 8, axis=0)) > 60, "the scene is blank"
        assert skin(picture) < 0.2

        page.press("m", "KeyM")
        becomes(lambda: session.shows["goals"], False)
        page.click("markers (M)")
        becomes(lambda: session.shows["goals"], True)
        page.press("o", "KeyO")
        becomes(lambda: session.camera, "behind")

        page.press("l", "KeyL")
        becomes(lambda: session.recorder.recording, True)
        page.press(";", "Semicolon")
        becomes(lambda: session.recorder.recording, False)
        assert not list((tmp_path / "recordings").iterdir())

        page.press("j", "KeyJ")
        page.press("u", "KeyU")
        wait_for(lambda: "pushed" in (text := page.text) and "new goals" in text, 20)

        page.press(" ", "Space")
        becomes(lambda: session.paused, True)
        here = session.time
        page.press(".", "Period")
        becomes(lambda: round((session.time - here) / session.dt), 1)
        page.click("pause (␣)")
        becomes(lambda: session.paused, False)

        page.press("r", "KeyR")
        page.click("record (L)")
        becomes(lambda: len(session.recorder._poses) > 1, True)
        page.click("record (L)")
        becomes(lambda: session.recorder.recording, False)
        (clip,) = (tmp_path / "recordings").glob("*.npz")
        assert Motion.load(clip).num_frames >= 2


VISIBLE = "[...document.querySelectorAll('input')].filter(e => e.getBoundingClientRect().width > 0)"


def test_keys_that_drive_neither_move_the_camera_nor_stop_at_a_tick_box(watched):
    with watched("Facing", motions=None) as (session, page):
        session.ask(session.pause)
        becomes(lambda: session.paused, True)
        wait_for(lambda: skin(page.picture()) > 0.005, 60, "the robot")
        time.sleep(1.0)
        before = page.picture()
        for key, code in (("ArrowLeft", "ArrowLeft"), ("w", "KeyW")):
            page.press(key, code)
        becomes(lambda: session.settings, {"direction": 5.0, "speed": 1.3})
        time.sleep(1.0)
        changed = np.abs(page.picture()[150:500, 420:900] - before[150:500, 420:900]).max(-1) > 40
        assert changed.mean() < 0.01, "the camera has moved"

        place = f"{VISIBLE}.filter(e => e.type === 'checkbox').map(e => e.getBoundingClientRect())[0]"
        page.evaluate(f"{VISIBLE}.filter(e => e.type === 'checkbox')[0].scrollIntoView()")
        time.sleep(0.5)
        page.click_at(*page.evaluate(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({place})"))
        becomes(lambda: session.shows["reference"], False)
        page.press("o", "KeyO")
        becomes(lambda: session.camera, "behind")

        assert page.evaluate(
            f"(e => {{ e.focus(); return document.activeElement === e }})({VISIBLE}.find(e => e.type === 'text'))"
        )
        page.press("o", "KeyO")
        time.sleep(1.0)
        assert session.camera == "behind", "keys that are typed into a field do nothing else"
