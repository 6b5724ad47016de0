"""``linksim trace``."""

from pathlib import Path

from rich.console import Console

from linksim.link.site_file import write_site
from linksim.link.site_settings import load_trace
from linksim.link.tracing import trace


def trace_site(path: Path, *, out: Path | None, console: Console) -> None:
    """Trace a site, write it and say what was found; raises InputError."""
    settings = load_trace(path)
    target = out or Path(f"{settings.name}.npz")
    site = trace(settings)
    write_site(target, site)
    count, dark = len(site.counts), int((site.counts == 0).sum())
    lines = [
        f"{target}: {count} positions, {len(site.gains)} paths, {target.stat().st_size:,} bytes; "
        f"{int(site.line_of_sight.sum())} in line of sight",
    ]
    if dark:
        lines.append(f"{dark} of {count} positions have no path: they are kept, as outage")
    lines.append("In a scenario:")
    lines.append(f"  channel: {{type: site, site: {target}, link_budget: {{tx_power_dbm: 30}}}}")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
