"""All results files of a folder as one page with a table that sorts."""

from dataclasses import dataclass
from pathlib import Path

from linksim.benchmark.protocols import NAME, protocols, references
from linksim.benchmark.result import QUALITIES, Over, Result, Score, in_words, read_result
from linksim.errors import InputError
from linksim.files import write_atomically
from linksim.report.page import render

PAGE = "index.html"

_DECIMALS = {"psnr": 2, "ms_ssim": 4, "lpips": 3}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the table: its text, and the number that it is sorted by."""

    text: str
    number: float | None = None


def read_results(folder: Path) -> list[Result]:
    """The results files of a folder; raises InputError where there is none."""
    found = [read_result(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise InputError(f"{folder}: no results of {NAME} here; 'linksim benchmark' writes them")
    return found


def headings() -> list[str]:
    """Of the table."""
    told = [in_words(name) for name in QUALITIES]
    gaps = [f"{in_words(n)} less {one.label}" for one in references() for n in QUALITIES]
    return ["Codec", "Protocol", *told, *gaps, "Failed", "Parameters (M)", "By", "Repeat"]


def table(results: list[Result]) -> list[list[Cell]]:
    """A line a codec and protocol."""
    return [
        _line(result, name, over) for result in results for name, over in result.protocols.items()
    ]


def write_page(folder: Path) -> Path:
    """``index.html`` from the results files of a folder; gives its path. Raises InputError."""
    results = read_results(folder)
    page = render(
        "benchmark.html.j2",
        name=NAME,
        headings=headings(),
        lines=table(results),
        protocols=protocols(),
    )
    path = folder / PAGE
    write_atomically(path, lambda place: place.write_text(page, encoding="utf-8"))
    return path


def _line(result: Result, protocol: str, over: Over) -> list[Cell]:
    cells = [Cell(text=result.label), Cell(text=protocol)]
    cells += [_cell(over.scores[name], name) for name in QUALITIES]
    for one in references():
        gaps = over.gaps.get(one.label)
        cells += [_cell(gaps[name], name, "+") if gaps else Cell(text="-") for name in QUALITIES]
    failed = over.rows.get("failed") or []
    rate = sum(map(bool, failed)) / len(failed) if failed else 0.0
    cells.append(Cell(text=f"{rate:.3f}", number=rate))
    if result.parameters is None:
        cells.append(Cell(text="-"))
    else:
        millions = result.parameters / 1e6
        cells.append(Cell(text=f"{millions:.2f}", number=millions))
    return [*cells, Cell(text=result.entrant.by), Cell(text=result.entrant.repeat)]


def _cell(score: Score, name: str, sign: str = "") -> Cell:
    """A mean with its interval."""
    if score.mean is None:
        return Cell(text="-")
    form = f"{{:{sign}.{_DECIMALS[name]}f}}"
    text = form.format(score.mean)
    if score.low is not None and score.high is not None:
        text += f" [{form.format(score.low)}, {form.format(score.high)}]"
    return Cell(text=text, number=score.mean)


def in_lines(result: Result) -> list[str]:
    """A result as lines of text: its scores over each protocol, and its gaps to the references."""
    lines = []
    for name, over in result.protocols.items():
        lines.append(f"{name}: {_in_words(over.scores)}")
        lines += [f"  less {other}: {_in_words(gaps, '+')}" for other, gaps in over.gaps.items()]
    return lines


def _in_words(of: dict[str, Score], sign: str = "") -> str:
    return ", ".join(_cell(of[name], name, sign).text for name in QUALITIES)
