"""A map of a pool: a point for each sample, near where their influence is alike, coloured by what they drive."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from influcoder.attribution.ranking import excerpt
from influcoder.attribution.regions.grouping import Regions
from influcoder.core.errors import SampleError
from influcoder.samples import Sample

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Array = np.ndarray
# Fewer neighbours than samples are needed; a map of a handful of points says nothing.
LEAST = 20
_LONG, _SHORT, _LINE, _NAME = 240, 90, 60, 28
# From here on a page with whole texts grows beyond what a browser opens gladly.
_MANY = 20_000
_COLOURS = [[0, "#b2182b"], [0.25, "#ef8a62"], [0.5, "#d5d8db"], [0.75, "#67a9cf"], [1, "#2166ac"]]
_FONT = "system-ui, sans-serif"


@dataclass(frozen=True)
class Points:
    """What is shown of some samples.

    Args:
        samples: the samples.
        places: on the plane, shape (samples, 2).
        regions: the number of each one's region, shape (samples,).
        influence: on each group of queries, from the pool's mean, shape (groups, samples).
        groups: names of the groups, `all` first.
    """

    samples: Sequence[Sample]
    places: Array
    regions: Array
    influence: Array
    groups: Sequence[str]


def project(vectors: Array, seed: int = 0) -> Array:
    """Places on the plane by UMAP (McInnes, Healy, Melville 2018, arXiv 1802.03426) under the cosine.

    Args:
        vectors: shape (samples, dimensions).
        seed: of the layout; the same seed gives the same map, on one core.
    Raises:
        SampleError: there are fewer than 20 samples, or UMAP is not installed.
    """
    if len(vectors) < LEAST:
        raise SampleError(f"a map needs {LEAST} samples, and there are {len(vectors)}.")
    try:
        from umap import UMAP
    except ImportError as error:
        raise SampleError("a map needs UMAP.", "Run: pip install 'influcoder[maps]', or use --no-map") from error
    # Vectors of nothing have no direction; they lie together, away from the others.
    length = np.linalg.norm(vectors.astype(np.float32), axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros(vectors.shape, np.float32), where=length > 0)
    neighbours = min(15, len(unit) - 1)
    model = UMAP(n_neighbors=neighbours, min_dist=0.05, metric="euclidean", random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(unit), np.float32)


def atlas(points: Points, regions: Regions, title: str, caption: str) -> "Figure":
    """The interactive map: colour by influence on any group of queries or by region, text under the pointer."""
    import plotly.graph_objects as go

    figure = go.Figure()
    size = 7 if len(points.samples) < 5000 else 3
    words = _words(points, regions)
    limits = [_limit(values) for values in points.influence]
    bar = {"title": {"text": "influence,<br>from the mean"}, "thickness": 12, "outlinewidth": 0, "len": 0.6}
    scale = {"colorscale": _COLOURS, "cmin": -limits[0], "cmax": limits[0], "colorbar": bar}
    # One trace for all groups: texts are most of the page, and each trace brings them anew.
    shown = {"color": points.influence[0], "size": size, **scale}
    figure.add_trace(_dots(points.places, shown, words, points.groups[0], visible=True))
    palette = _palette(len(regions.names))
    for number, name in enumerate(regions.names):
        chosen = np.flatnonzero(points.regions == number)
        marker = {"color": palette[number], "size": size}
        trace = _dots(points.places[chosen], marker, [words[row] for row in chosen], name, visible=False)
        figure.add_trace(trace.update(showlegend=True))
    figure.update_layout(**_layout(title, caption, points, limits, palette))
    for number, name in enumerate(regions.names):
        figure.add_annotation(**_label(points.places[points.regions == number], name))
    (left, low), (right, high) = _middle(points.places)
    figure.update_xaxes(visible=False, range=[left, right])
    figure.update_yaxes(visible=False, range=[low, high])
    return figure


def write_atlas(figure: "Figure", path: Path) -> Path:
    """One HTML file that needs nothing else, no network either."""
    config = {"displaylogo": False, "scrollZoom": True, "responsive": True}
    figure.write_html(path, include_plotlyjs=True, config=config, default_height="97vh")
    return path


def _label(places: Array, name: str) -> dict[str, object]:
    """The name of a region above the middle of its samples; nowhere where none of them is on the map."""
    x, y = np.median(places, axis=0) if len(places) else (0, 0)
    short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
    return {
        "x": float(x),
        "y": float(y),
        "text": escape(short),
        "visible": bool(len(places)),
        "showarrow": False,
        "yshift": 12,
        "font": {"size": 11, "color": "#24323f"},
        "bgcolor": "rgba(255,255,255,0.72)",
    }


def _middle(places: Array) -> Array:
    """Corners of the plane's part that opens first: what lies far outside is there when one zooms out."""
    low, high = np.quantile(places, [0.01, 0.99], axis=0)
    edge = 0.08 * (high - low)
    return np.stack([low - edge, high + edge])


def _dots(places: Array, marker: dict[str, object], words: Sequence[str], name: str, visible: bool) -> "Figure":
    import plotly.graph_objects as go

    return go.Scattergl(
        x=places[:, 0],
        y=places[:, 1],
        mode="markers",
        marker=marker | {"opacity": 0.85},
        text=words,
        hovertemplate="%{text}<extra></extra>",
        name=name,
        visible=visible,
        showlegend=False,
    )


def _limit(values: Array) -> float:
    """Where a group's colours end: what drives few queries is pale beside what drives all, so each has its own."""
    return float(np.quantile(np.abs(values), 0.98)) or 1.0


def _layout(
    title: str, caption: str, points: Points, limits: Sequence[float], palette: Sequence[str]
) -> dict[str, object]:
    none, every = [False] * len(palette), [True] * len(palette)
    unscaled = [None] * len(palette)
    buttons = [
        {
            "label": f"influence on {group}" if group != "all" else "influence on all queries",
            "method": "update",
            "args": [
                {
                    "visible": [True, *none],
                    # A value for each trace: the regions keep theirs.
                    "marker.color": [values.astype(float).round(4).tolist(), *palette],
                    "marker.cmin": [-limit, *unscaled],
                    "marker.cmax": [limit, *unscaled],
                }
            ],
        }
        for group, values, limit in zip(points.groups, points.influence, limits, strict=True)
    ]
    buttons.append({"label": "regions", "method": "update", "args": [{"visible": [False, *every]}]})
    menu = {
        "buttons": buttons,
        "x": 0,
        "xanchor": "left",
        "y": 1.0,
        "yanchor": "bottom",
        "bgcolor": "white",
        "pad": {"b": 8},
    }
    # A page of 800 pixels shows this much; the map does not break lines.
    below = "<br>".join(f"<sub>{escape(line)}</sub>" for line in wrap(caption, 110))
    return {
        "title": {
            "text": f"<b>{escape(title)}</b><br>{below}",
            "x": 0.01,
            "xanchor": "left",
            "y": 0.97,
            "yanchor": "top",
        },
        "updatemenus": [menu | {"showactive": True}],
        "template": "plotly_white",
        "font": {"family": _FONT, "color": "#24323f"},
        "margin": {"l": 16, "r": 16, "t": 130, "b": 16},
        "hoverlabel": {"bgcolor": "white", "align": "left", "font": {"family": _FONT, "color": "#24323f"}},
        "legend": {"itemsizing": "constant", "title": {"text": "region"}},
    }


def _words(points: Points, regions: Regions) -> list[str]:
    length = _LONG if len(points.samples) < _MANY else _SHORT
    return [
        f"<b>{escape(regions.names[region])}</b> · {escape(sample.id)}<br>{value:+.3f} from the mean<br>"
        f"{_wrapped(sample.text, length)}"
        for sample, region, value in zip(points.samples, points.regions, points.influence[0], strict=True)
    ]


def _wrapped(text: str, length: int) -> str:
    return "<br>".join(escape(line) for line in wrap(excerpt(text, length), _LINE))


def _palette(count: int) -> list[str]:
    """Colours that are far apart: hues by the golden angle, in turns darker and lighter."""
    return [f"hsl({(number * 137.5) % 360:.0f}, 55%, {(45, 60)[number % 2]}%)" for number in range(count)]
