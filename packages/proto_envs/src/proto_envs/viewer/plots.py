"""Curves of what was measured of late, in a panel of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from proto_envs.viewer.history import History

__all__ = ["Plots"]

_COLORS = ("#1f2937", "#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#78716c")
_NOTHING = "(none)"


class Plots:
    """Two charts: the reward with its terms, and one metric of choice."""

    def __init__(self, gui: Any, history: History) -> None:  # noqa: ANN401 - viser is an extra
        """Make room for the charts; they come with what there is to show."""
        self._gui, self._history = gui, history
        self._panel = gui.add_panel()
        self._tab = self._panel.add_tab("plots")
        self._panel.dock_left()
        self._panel.set_width(320)
        self._terms: Any = None
        self._metric: Any = None
        with self._tab:
            self._rewards = gui.add_folder("reward and its weighted terms")
            self._chosen = gui.add_dropdown("metric", (_NOTHING,), initial_value=_NOTHING)
            self._metrics = gui.add_folder("metric")
        self._shown: tuple[str, ...] = ()

    def show(self) -> None:
        """Draw the curves anew."""
        history = self._history
        if len(history) < 2:
            return
        if history.metrics and self._chosen.options != history.metrics:
            self._chosen.options = history.metrics
        if history.terms != self._shown:
            self._shown = history.terms
            self._terms = self._chart(
                self._rewards, self._terms, [name.removeprefix("reward/") for name in self._shown]
            )
        self._terms.data = history.series(self._shown)
        name = self._chosen.value
        if name in history.metrics:
            if self._metric is None:
                self._metric = self._chart(self._metrics, None, ["value"])
            self._metric.data = history.series((name,))

    def _chart(self, folder: Any, before: Any, names: list[str]) -> Any:  # noqa: ANN401
        if before is not None:
            before.remove()
        curves = [
            {"label": name, "stroke": _COLORS[k % len(_COLORS)], "width": 2 if k == 0 else 1.2}
            for k, name in enumerate(names)
        ]
        with folder:
            return self._gui.add_uplot(
                data=tuple(np.zeros(2) for _ in range(len(names) + 1)),
                series=({"label": "s"}, *curves),
                scales={"x": {"time": False}},
                legend={"show": True, "live": False},
                height=180,
            )
