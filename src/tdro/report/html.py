"""Self-contained HTML out of a template: scripts and style inside, numbers written alike."""

import base64
import hashlib
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

from tdro.errors import require
from tdro.evaluation.comparison import p_value

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def render_template(name: str, content: Mapping[str, Any]) -> str:
    """Returns a page that loads nothing: its security policy allows only the scripts in it.

    Args:
        name: File name of the template in this package.
        content: Variables of the template.

    Raises:
        InputError: plotly or jinja2 is not installed.
    """
    jinja2 = require("jinja2", "run")
    plotly = require("plotly.offline", "run")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.PackageLoader("tdro", "report"),
    )
    environment.filters.update(
        number=number,
        signed=signed,
        percent=percent,
        count=count,
        duration=duration,
        p_value=p_value,
    )
    folder = resources.files("tdro.report")
    style, script = (
        folder.joinpath(file).read_text(encoding="utf-8") for file in ("page.css", "page.js")
    )
    library = plotly.get_plotlyjs()
    page: str = environment.get_template(name).render(
        **content,
        style=style,
        scripts=[library, script],
        hashes=[_source_hash(library), _source_hash(script)],
    )
    return page


def _source_hash(script: str) -> str:
    """Names a script in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def number(value: float | None, digits: int = 3) -> str:
    """Writes a number with that many decimals; a dash for none and for what is not finite."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """Writes a difference with its sign, so that it can be read without colour."""
    if value is None or not math.isfinite(value):
        return DASH
    rounded = round(value, digits)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else "±"
    return f"{sign}{abs(rounded):.{digits}f}"


def percent(value: float | None, digits: int = 2) -> str:
    """Writes a share in percent."""
    text = number(None if value is None else 100 * value, digits)
    return text if text == DASH else f"{text} %"


def count(value: object) -> str:
    """Writes a whole number in groups of three digits; anything else as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return DASH
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return DASH if value is None else str(value)


def duration(seconds: float) -> str:
    """Writes a time span in the two units that matter."""
    if not math.isfinite(seconds):
        return DASH
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
