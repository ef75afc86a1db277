"""The controls beside the scene in the browser."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from proto_envs.components.user_control import Dial
from proto_envs.viewer.actions import Action, actions_of
from proto_envs.viewer.session import CAMERAS, Session

__all__ = ["Panel"]

_SPEEDS = (0.1, 4.0, 0.1)
"""slowest, fastest, step"""


class Panel:
    """Buttons, menus and sliders. What they do is asked of the session, which does it between two steps."""

    def __init__(self, gui: Any, session: Session, title: str) -> None:  # noqa: ANN401 - viser is an extra
        """Build the controls.

        Args:
            gui: of a viser server.
            session: that they act on.
            title: what is shown.
        """
        self._gui, self._session = gui, session
        gui.add_markdown(f"### {title}")
        self._status = gui.add_markdown("")
        self._add_actions()
        self._speed = self._control(
            gui.add_slider("speed", *_SPEEDS, initial_value=1.0), lambda value: setattr(session, "speed", value)
        )
        self._add_choices()
        self._dials: dict[str, Any] = {}
        if session.dials:
            with gui.add_folder("command"):
                self._add_dials()
        with gui.add_folder("show"):
            self._shows = {
                name: self._control(gui.add_checkbox(name, shown), partial(session.shows.__setitem__, name))
                for name, shown in session.shows.items()
            }

    def _control(self, handle: Any, change: Callable[[Any], object]) -> Any:  # noqa: ANN401 - handles of viser
        """A control whose new value is handed to `change` between two steps; what we set ourselves is not."""

        @handle.on_update
        def _(event: Any) -> None:  # noqa: ANN401
            if event.client is not None:
                value = event.target.value
                self._session.ask(lambda: change(value))

        return handle

    def _add_actions(self) -> None:
        groups: dict[str, dict[str, Action]] = {}
        for action in actions_of(self._session):
            if action.group:
                groups.setdefault(action.group, {})[action.button] = action
        for name, actions in groups.items():
            hints = "; ".join(f"{action.label}: {action.help}" for action in actions.values())
            row = self._gui.add_button_group(name, tuple(actions), hint=hints)

            @row.on_click
            def _(event: Any, actions: dict[str, Action] = actions) -> None:  # noqa: ANN401
                self._session.ask(partial(actions[event.target.value].do, self._session))

    def _add_choices(self) -> None:
        gui, session = self._gui, self._session
        self._agent = self._control(
            gui.add_dropdown(session.agent.title, session.agent.choices, initial_value=session.agent.chosen),
            session.choose_agent,
        )
        self._index = None
        if session.world.num_envs > 1:
            names = tuple(map(str, range(session.world.num_envs)))
            self._index = self._control(
                gui.add_dropdown("environment", names, initial_value="0"), lambda value: session.look_at(int(value))
            )
        self._camera = self._control(
            gui.add_dropdown("camera", CAMERAS, initial_value=session.camera),
            lambda value: setattr(session, "camera", value),
        )

    def _add_dials(self) -> None:
        gui, session = self._gui, self._session
        self._told = gui.add_markdown("")
        for dial in session.dials:
            if isinstance(dial, Dial):
                label = f"{dial.name} ({dial.unit})" if dial.unit else dial.name
                handle = gui.add_slider(label, dial.low, dial.high, dial.step, initial_value=dial.start)
            else:
                handle = gui.add_dropdown(dial.name, dial.options, initial_value=dial.start)
            self._dials[dial.name] = self._control(handle, partial(session.set, dial.name))
        gui.add_button("let go").on_click(lambda _: session.ask(session.let_go))

    def show(self) -> None:
        """Bring the controls to what the session is now: keys have changed it, or another page."""
        session = self._session
        for name, shown in session.shows.items():
            _set(self._shows[name], shown)
        _set(self._camera, session.camera)
        _set(self._speed, session.speed)
        if self._agent.options != session.agent.choices:
            self._agent.options = session.agent.choices
        _set(self._agent, session.agent.chosen)
        if self._index is not None:
            _set(self._index, str(session.index))
        for dial in session.dials if self._dials else ():
            _set(self._dials[dial.name], session.settings.get(dial.name, dial.start))
        if self._dials:
            _set(self._told, _who_decides(session), "content")
        _set(self._status, self._text(), "content")

    def _text(self) -> str:
        session = self._session
        facts = [f"{session.time:.1f} s", f"return {session.episode_return:.1f}"]
        if session.clip:
            facts.append(f"clip {session.clip}")
        states = ["**paused**"] if session.paused else []
        states += ["**recording**"] if session.recorder.recording else []
        return " · ".join([*states, *facts])


def _who_decides(session: Session) -> str:
    named = [name for name in session.settings if name]
    return f"set by you: {', '.join(named)}" if named else "the task decides; a slider or an arrow key takes over"


def _set(handle: Any, value: Any, name: str = "value") -> None:  # noqa: ANN401
    """Change what a control shows, unless it shows that already: each change is a message."""
    if getattr(handle, name) != value:
        setattr(handle, name, value)
