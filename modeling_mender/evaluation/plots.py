"""The paper's star plot (figure 3): one corner per axis, one outline with the preference and one without it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .benchmark import AXIS_PREFERENCES

OUTLINES = (("with_preference", "with preference", "#0072b2"), ("without_preference", "without", "#d55e00"))


def star_plot(results: Mapping[str, Mapping[str, Any]], k: int, title: str, path: str | Path) -> None:
    """Draws the main metric of every axis.

    Axes differ in scale by orders of magnitude, so each corner is scaled to the better of its two values, and says both.

    Args:
        results (`Mapping`): What [`evaluate_axes`] returned.
        k (`int`): Cut-off.
        title (`str`): Above the plot.
        path (`str` or `Path`): A PNG file; written to a temporary name first.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no global state, no display
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'mender[plots]'.") from None
    angles = np.linspace(0, 2 * np.pi, len(results), endpoint=False)
    values = {side: [_main_value(axis, entry[side], k) for axis, entry in results.items()] for side, _, _ in OUTLINES}
    scale = np.maximum(np.max([np.nan_to_num(column) for column in values.values()], axis=0), 1e-12)
    figure = Figure(figsize=(6.4, 6.0), layout="constrained")
    plot = figure.add_subplot(projection="polar", theta_offset=np.pi / 2, theta_direction=-1)
    for side, label, colour in OUTLINES:
        radii = np.nan_to_num(values[side]) / scale
        closed = np.append(np.arange(len(angles)), 0)
        plot.plot(angles[closed], radii[closed], color=colour, label=label, marker="o", markersize=4)
        plot.fill(angles, radii, color=colour, alpha=0.12)
    corners = [
        f"{axis}\n{AXIS_PREFERENCES[axis][1]}@{k}  " + " | ".join(_shown(values[side][i]) for side, _, _ in OUTLINES)
        for i, axis in enumerate(results)
    ]
    plot.set_xticks(angles, corners)
    plot.tick_params(pad=22)
    plot.set_ylim(0, 1.05)
    plot.set_yticks([0.25, 0.5, 0.75, 1.0], [])
    plot.grid(alpha=0.4)
    figure.suptitle(title)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    figure.savefig(temporary, format="png", dpi=150)
    temporary.replace(path)


def _main_value(axis: str, metrics: Mapping[str, float] | None, k: int) -> float:
    """The axis's main metric, NaN where it is not defined."""
    return float("nan") if metrics is None else metrics[f"{AXIS_PREFERENCES[axis][1]}@{k}"]


def _shown(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"
