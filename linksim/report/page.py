"""Templates to pages. What a user wrote is escaped wherever it stands."""

import json
import math
from importlib import resources
from typing import Any


def render(template: str, **what: Any) -> str:
    """A page from a template of ``templates/``, with the style and the script of all pages."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("linksim.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    return environment.get_template(template).render(
        style=_resource("report.css"), script=_resource("report.js"), **what
    )


def script_safe(data: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _resource(name: str) -> str:
    return (resources.files("linksim.report") / "templates" / name).read_text(encoding="utf-8")


def _number(value: Any, decimals: int | None) -> str:
    if isinstance(value, str) or decimals is None:
        return str(value)
    return "-" if math.isnan(value) else f"{float(value):.{decimals}f}"
