"""The paper's star plot (figure 3): one corner per axis, one outline with the preference and one without it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .benchmark import AXIS_PREFERENCES

OUTLINES = (("with_preference", "with preference", "#0072b2"), ("without_preference", "without", "#d55e00"))


def star_plot(results: Mapping[str, Mapping[str, Any]], k: int, title: str, path: str | Path) -> None:
    """Draws the main metric of every axis on one common scale; each corner also says both values.

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
    largest = max(np.nanmax(list(values.values())), 1e-3)
    figure = Figure(figsize=(7.6, 6.2), layout="constrained")
    plot = figure.add_subplot(projection="polar", theta_offset=np.pi / 2, theta_direction=-1)
    closed = np.append(np.arange(len(angles)), 0)
    for side, label, colour in OUTLINES:
        radii = np.nan_to_num(values[side])
        plot.plot(angles[closed], radii[closed], color=colour, label=label, marker="o", markersize=4, zorder=3)
        plot.fill(angles, radii, color=colour, alpha=0.12)
    plot.set_xticks(angles, [])
    plot.set_ylim(0, 1.05 * largest)
    plot.set_rlabel_position(180 / len(angles))  # between two corners
    plot.tick_params(axis="y", labelsize=8, labelcolor="0.4")
    plot.grid(alpha=0.4)
    plot.spines["polar"].set_visible(False)
    for i, (angle, axis) in enumerate(zip(angles, results, strict=True)):
        numbers = " | ".join(_shown(values[side][i]) for side, _, _ in OUTLINES)
        side = np.sin(angle)  # corners on the right are written from their left edge, and the other way round
        alignment = "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        text = f"{axis}\n{AXIS_PREFERENCES[axis][1]}@{k}  {numbers}"
        plot.text(angle, 1.14 * largest, text, ha=alignment, va="center", linespacing=1.4)
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
