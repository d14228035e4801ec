"""The plotly figures of the report, as plain JSON values.

plotly reads a small HTML in every label and formats in every template, so names of tasks enter a
figure only through :func:`label`, and never as part of a template.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tdro.errors import require
from tdro.report.record import MixtureRecord
from tdro.report.series import TaskLosses, WeightLines

COLORS = (
    "#3b82d6",
    "#e07b1a",
    "#2f9e62",
    "#d6455d",
    "#8c6bd1",
    "#a3742f",
    "#d765b5",
    "#7a8699",
    "#9aa41c",
    "#1aa7b8",
)
DASHES = ("solid", "dash")
GREY = "rgba(128,128,128,0.3)"

MOST_LINES = 12
HIGHLIGHTED = 10

_BLUE, _ORANGE = COLORS[0], COLORS[1]
_LONGEST_TICK = 22
_LONGEST_HOVER = 90
_MANY_TASKS = 60
_LINE_HEIGHT = 360


def label(name: str, longest: int) -> str:
    """Makes any name a plotly label: one line, shortened in its middle, with HTML escaped.

    plotly knows only a few entities and would show ``&quot;`` as it stands, so quotes stay.
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(text) > longest:
        head = (longest - 1) * 2 // 3
        text = f"{text[:head]}…{text[head + 1 - longest :]}"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mixture_figure(mixture: MixtureRecord) -> dict[str, Any]:
    """Draws the weight of each task beside its share of the rows, and uniform as a line."""
    go = require("plotly.graph_objects", "run")
    tasks = sorted(mixture.weights, key=lambda task: -np.nan_to_num(mixture.weights[task]))
    figure = go.Figure()
    bars = [("weight", [mixture.weights[task] for task in tasks], _BLUE)]
    if total := sum(mixture.sizes.values()):
        shares = [mixture.sizes.get(task, 0) / total for task in tasks]
        bars.append(("share of rows", shares, _ORANGE))
    for name, values, color in bars:
        figure.add_bar(
            name=name,
            x=values,
            y=list(range(len(tasks))),
            orientation="h",
            marker_color=color,
            customdata=_hovers(tasks),
            hovertemplate=f"%{{customdata}}<br>{name} %{{x:.2%}}<extra></extra>",
        )
    _add_uniform(figure, len(tasks), "x")
    figure.update_layout(_by_task(tasks, row=34), bargap=0.3, bargroupgap=0.05)
    figure.update_xaxes(tickformat=".2~%", rangemode="tozero")
    return _plain(figure)


def trajectory_figure(lines: WeightLines) -> dict[str, Any]:
    """Draws the weight of each task over the steps; of many tasks, the heaviest in colour."""
    go = require("plotly.graph_objects", "run")
    figure = go.Figure()
    shown = highlighted(lines)
    rest = [task for task in lines.weights if task not in shown]
    if rest:
        # One trace with gaps: hundreds of traces would make the page slow.
        figure.add_scatter(
            x=[x for _ in rest for x in (*lines.steps.tolist(), None)],
            y=[y for task in rest for y in (*lines.weights[task].round(6).tolist(), None)],
            mode="lines",
            line={"color": GREY, "width": 1},
            hoverinfo="skip",
        )
    for number, task in enumerate(shown):
        color, dash = line_style(number)
        figure.add_scatter(
            x=lines.steps.tolist(),
            y=lines.weights[task].round(6).tolist(),
            mode="lines" if len(lines.steps) > 1 else "markers",
            line={"color": color, "dash": dash, "width": 2},
            customdata=_hovers([task] * len(lines.steps)),
            hovertemplate="%{customdata}<br>step %{x}: %{y:.2%}<extra></extra>",
        )
    _add_uniform(figure, len(lines.weights), "y")
    figure.update_layout(_layout(_LINE_HEIGHT), showlegend=False)
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(tickformat=".2~%", rangemode="tozero")
    return _plain(figure)


def highlighted(lines: WeightLines) -> list[str]:
    """Returns the tasks drawn in colour, the largest final weight first."""
    tasks = list(lines.weights)
    return tasks if len(tasks) <= MOST_LINES else tasks[:HIGHLIGHTED]


def line_style(number: int) -> tuple[str, str]:
    """Returns colour and dash of a line; no two of the lines drawn in colour look the same."""
    return COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)]


def loss_figure(losses: Sequence[TaskLosses]) -> dict[str, Any]:
    """Draws how the proxy loss of each task moved, and the reference loss it is set against."""
    go = require("plotly.graph_objects", "run")
    tasks = [loss.task for loss in losses]
    rows = list(range(len(tasks)))
    figure = go.Figure()
    figure.add_scatter(
        x=[x for loss in losses for x in (loss.proxy_first, loss.proxy_last, None)],
        y=[y for row in rows for y in (row, row, None)],
        mode="lines",
        line={"color": _BLUE, "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )
    for name, values, marker in (
        ("proxy, first third", [loss.proxy_first for loss in losses], "circle-open"),
        ("proxy, last third", [loss.proxy_last for loss in losses], "circle"),
        ("reference, last third", [loss.reference_last for loss in losses], "diamond"),
    ):
        figure.add_scatter(
            name=name,
            x=values,
            y=rows,
            mode="markers",
            marker={
                "symbol": marker,
                "size": 9,
                "color": _ORANGE if marker == "diamond" else _BLUE,
                "line": {"width": 2 if marker == "circle-open" else 0},
            },
            customdata=_hovers(tasks),
            hovertemplate=f"%{{customdata}}<br>{name}: %{{x:.4g}}<extra></extra>",
        )
    figure.update_layout(_by_task(tasks, row=26))
    figure.update_xaxes(rangemode="tozero")
    return _plain(figure)


def budget_figure(
    lines: Mapping[str, Sequence[tuple[float, float, float]]], baseline: float
) -> dict[str, Any]:
    """Draws the score of each mixture against the rows it was trained on.

    Args:
        lines: By mixture, its points: rows, score and the error of the score.
        baseline: Score of the baseline with all rows, drawn as a dotted line.
    """
    go = require("plotly.graph_objects", "run")
    figure = go.Figure()
    for number, (name, points) in enumerate(lines.items()):
        color, dash = line_style(number)
        rows, scores, errors = zip(*points, strict=True)
        figure.add_scatter(
            x=rows,
            y=scores,
            mode="lines+markers",
            line={"color": color, "dash": dash, "width": 2},
            error_y={"type": "data", "array": errors, "thickness": 1, "width": 3},
            customdata=_hovers([name] * len(points)),
            hovertemplate="%{customdata}<br>%{x:,} rows: %{y:.4f}<extra></extra>",
        )
    figure.add_hline(baseline, line={"color": "#888888", "dash": "dot", "width": 1.5})
    figure.update_layout(_layout(_LINE_HEIGHT), showlegend=False)
    figure.update_xaxes(title_text="rows drawn", rangemode="tozero")
    return _plain(figure)


def lengths_figure(lengths: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Draws how long the texts of each task are.

    Args:
        lengths: By task, its 5th, 25th, 50th, 75th and 95th percentile.
    """
    go = require("plotly.graph_objects", "run")
    tasks = list(lengths)
    # A logarithmic axis has no place for a text without words.
    drawn = [[max(value, 0.5) for value in values] for values in lengths.values()]
    figure = go.Figure()
    for low, high, width in ((0, 4, 2), (1, 3, 7)):
        figure.add_scatter(
            x=[x for values in drawn for x in (values[low], values[high], None)],
            y=[y for place in range(len(tasks)) for y in (place, place, None)],
            mode="lines",
            line={"color": _BLUE, "width": width},
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=[values[2] for values in drawn],
        y=list(range(len(tasks))),
        mode="markers",
        marker={"size": 9, "color": _ORANGE},
        customdata=[
            f"{hover}<br>half of its texts: {values[1]:g} to {values[3]:g} words"
            f"<br>nine in ten: {values[0]:g} to {values[4]:g}"
            for hover, values in zip(_hovers(tasks), lengths.values(), strict=True)
        ],
        hovertemplate="%{customdata}<br>median %{x:g}<extra></extra>",
    )
    figure.update_layout(_by_task(tasks, row=24))
    # Of code and of tweets in one figure only the code would be seen.
    figure.update_xaxes(type="log", title_text="words")
    return _plain(figure)


def overlap_figure(tasks: Sequence[str], shares: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Draws which part of each task, a line, is in each other, a column.

    Args:
        tasks: Names of the tasks.
        shares: For each task its share in each, 0 to 1.
    """
    go = require("plotly.graph_objects", "run")
    hovers = _hovers(tasks)
    figure = go.Figure()
    figure.add_heatmap(
        z=shares,
        zmin=0,
        zmax=1,
        colorscale=[[0, "rgba(59,130,214,0)"], [1, _BLUE]],
        showscale=False,
        xgap=1,
        ygap=1,
        customdata=[[f"{one}<br>in {other}" for other in hovers] for one in hovers],
        hovertemplate="%{customdata}: %{z:.1%}<extra></extra>",
    )
    layout = _by_task(tasks, row=26)
    layout["height"] += 130
    figure.update_layout(layout)
    figure.update_xaxes(
        tickmode="array",
        tickvals=list(range(len(tasks))),
        ticktext=[label(task, _LONGEST_TICK) for task in tasks],
        tickangle=-60,
        showgrid=False,
    )
    return _plain(figure)


def _hovers(tasks: Sequence[str]) -> list[str]:
    return [label(task, _LONGEST_HOVER) for task in tasks]


def _add_uniform(figure: Any, tasks: int, axis: str) -> None:
    """Adds a dotted line at the uniform weight."""
    add = figure.add_vline if axis == "x" else figure.add_hline
    add(1 / max(tasks, 1), line={"color": "#888888", "dash": "dot", "width": 1.5})


def _layout(height: int) -> dict[str, Any]:
    """Returns the layout all figures share; the page's script adds the colours of its theme."""
    axis = {"zeroline": False, "fixedrange": True, "automargin": True}
    return {
        "template": "none",
        "height": height,
        "autosize": True,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        # Without it a finger on a figure draws a zoom box instead of scrolling the page.
        "dragmode": False,
        "hovermode": "closest",
        "xaxis": axis,
        "yaxis": axis,
    }


def _by_task(tasks: Sequence[str], row: int) -> dict[str, Any]:
    """Returns the layout of a figure with one line for each task, first task on top.

    Tasks stand at numbers and only the tick texts name them: as categories, names that are equal
    when shortened would fall together, and names such as ``2020`` would be read as dates.
    """
    height = row if len(tasks) <= _MANY_TASKS else 20
    layout = _layout(60 + height * max(len(tasks), 1))
    layout["xaxis"] = {**layout["xaxis"], "side": "top"}
    layout["yaxis"] = {
        **layout["yaxis"],
        "tickmode": "array",
        "tickvals": list(range(len(tasks))),
        "ticktext": [label(task, _LONGEST_TICK) for task in tasks],
        "range": [len(tasks) - 0.5, -0.5],
        "showgrid": False,
        "ticklen": 4,
    }
    return {**layout, "showlegend": False}


def _plain(figure: Any) -> dict[str, Any]:
    """Returns JSON values only; plotly writes numbers that are not finite as null."""
    value: dict[str, Any] = json.loads(figure.to_json())
    return {"data": value["data"], "layout": value["layout"]}
