"""Pages that are made when the site is built: keys of settings, commands, codecs, results."""

import inspect
import json
import posixpath
import re
from html import unescape
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import pandas as pd
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from linksim.settings import Settings

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ROLE = re.compile(r":(?:mod|class|func|meth|attr|data):(?=`|<code>)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
INSIDE_A_WORD = re.compile(r"(?<=\w)<em>([^<]*)</em>(?=\w)")

Keys = dict[str, dict[str, dict[str, Any]]]


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the made pages, the results page with its figures, and the changelog."""
    from mkdocs.structure.files import File

    pages = {
        "reference/scenario.md": scenario_page(),
        "reference/recipe.md": recipe_page(),
        "reference/cli.md": cli_page(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "results/README.md": (ROOT / "results" / "README.md").read_text(encoding="utf-8"),
    }
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    for figure in sorted((ROOT / "results").rglob("*.png")):
        place = f"results/{figure.relative_to(ROOT / 'results').as_posix()}"
        files.append(File.generated(config, place, abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Fill in the tables that a page asks for, and make text of links to files of the repository
    that are not on the site."""
    for name, made in MADE.items():
        if f"{{{{ {name} }}}}" in markdown:
            markdown = markdown.replace(f"{{{{ {name} }}}}", made())
    if "{{ mambajscc }}" in markdown:
        markdown = markdown.replace("{{ mambajscc }}", flagship_weights("mambajscc"))
    on_site = {file.src_uri for file in files}
    return without_links_off_site(markdown, page.file.src_uri, on_site)


def on_page_content(html: str, **_: Any) -> str:
    """Undo what Markdown makes of docstrings: roles stay, 3*H*W becomes italic. Draw formulas."""
    return FORMULA.sub(formula, INSIDE_A_WORD.sub(r"*\1*", ROLE.sub("", html)))


def formula(match: "re.Match[str]") -> str:
    """LaTeX as MathML, which browsers draw without a script."""
    from latex2mathml.converter import convert

    display = "block" if match[1] == "div" else "inline"
    drawn = convert(unescape(match[2]), display=display)
    return f'<div class="formula">{drawn}</div>' if match[1] == "div" else drawn


def without_links_off_site(text: str, place: str, on_site: set[str]) -> str:
    """Links to what lies in the repository and not on the site, as text. Dead ones stay links, and
    fail the build."""
    at = place if place.startswith("results/") else f"docs/{place}"
    here = {"changelog.md": "", "results/README.md": "results"}.get(place, posixpath.dirname(at))

    def kept(match: "re.Match[str]") -> str:
        words, target = match[1], match[2].partition("#")[0]
        of_site = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        if not target or ":" in target or of_site in on_site:
            return match[0]
        of_repository = posixpath.normpath(posixpath.join(here, target))
        exists = not of_repository.startswith("..") and (ROOT / of_repository).exists()
        if not exists:
            return match[0]
        return f"`{words}`" if words == of_repository else f"{words} (`{of_repository}`)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", kept, text)


def scenario_page() -> str:
    """Every key of a scenario, with type, default, unit and example."""
    from linksim.sweep.scenario import Scenario

    lines = [
        "# Scenario keys",
        "",
        "For `python -m linksim run SCENARIO.yaml`. Unknown keys are refused. A key `base` names "
        "another file, relative to this one, whose keys hold where this one has none; "
        "`python -m linksim schema` prints all of this as a JSON schema, for editors.",
        "",
    ]
    return "\n".join(lines) + tables_of(scenario_models(), keys_about(), Scenario)


def recipe_page() -> str:
    """Every key of a training recipe."""
    from linksim.training.recipe import Recipe

    lines = ["# Recipe keys", "", "For `python -m linksim train RECIPE.yaml`.", ""]
    return "\n".join(lines) + tables_of(models_below(Recipe, "recipe"), {}, Recipe)


def scenario_models() -> list[tuple[str, type[BaseModel]]]:
    """(title, model) of all that a scenario file may hold, the installed channels among them."""
    from linksim.link.lookup import channel_names, find_channel
    from linksim.sweep.scenario import Scenario

    found = models_below(Scenario, "scenario")
    for name in channel_names():
        found += [
            entry
            for entry in models_below(find_channel(name), f"channel, type {name}")
            if entry[1] not in [model for _, model in found]
        ]
    return found


def keys_about() -> Keys:
    """Units and examples, by model and key."""
    return dict(yaml.safe_load((ROOT / "docs" / "scenario_keys.yaml").read_text(encoding="utf-8")))


def about_key(about: Keys, model: type[BaseModel], key: str) -> dict[str, Any] | None:
    """What is said of a key by the nearest class that says something."""
    for cls in model.__mro__:
        if key in about.get(cls.__name__, {}):
            return about[cls.__name__][key]
    return None


def tables_of(models: list[tuple[str, type[BaseModel]]], about: Keys, top: type[BaseModel]) -> str:
    """A section a model: what its docstrings say, and a table of its keys."""
    text = []
    for title, model in models:
        text += [f"## {title}", "", *described(model), ""]
        heads = ["key", "type", "default", *(["unit", "example"] if about else [])]
        text += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for key, field in model.model_fields.items():
            shown = field.alias or key
            default = "the file's name" if (model, key) == (top, "name") else default_of(field)
            cells = [f"`{shown}`", type_in_words(field.annotation), default]
            if about:
                entry = about_key(about, model, shown) or {}
                cells += [entry.get("unit", ""), f"`{example_of(entry)}`"]
            text.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        text.append("")
    return "\n".join(text)


def example_of(entry: dict[str, Any]) -> str:
    """An example as one writes it in a file, on one line."""
    example = entry.get("example")
    if not isinstance(example, dict | list):
        return str(example)
    return yaml.safe_dump(example, default_flow_style=True, sort_keys=False, width=1000).strip()


def models_below(model: type[BaseModel], name: str) -> list[tuple[str, type[BaseModel]]]:
    """(title, model) of a model and of all that its fields hold, each once."""
    found: dict[type[BaseModel], str] = {}

    def visit(one: type[BaseModel], title: str) -> None:
        if one in found:
            return
        found[one] = title
        for key, field in one.model_fields.items():
            inside = inner_models(field.annotation)
            for inner in inside:
                kind = f", {next(iter(inner.model_fields))}" if len(inside) > 1 else ""
                visit(inner, f"{field.alias or key}{kind}")

    visit(model, name)
    return [(title, one) for one, title in found.items()]


def inner_models(annotation: Any) -> list[type[BaseModel]]:
    """Models inside an annotation, those that can be written in a file."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [] if inspect.isabstract(annotation) else [annotation]
    return [model for part in get_args(annotation) for model in inner_models(part)]


def type_in_words(annotation: Any) -> str:
    """An annotation as a reader of YAML knows it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_in_words(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        words = dict.fromkeys(type_in_words(part) for part in parts if part is not type(None))
        return " or ".join(words)
    if origin is tuple:
        return f"list of {type_in_words(parts[0])}"
    if origin is dict:
        return f"mapping of {type_in_words(parts[0])} to {type_in_words(parts[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        channel = inspect.isabstract(annotation)
        return (
            "a channel" if channel else f"keys {', '.join(map(_quoted, annotation.model_fields))}"
        )
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    name = getattr(annotation, "__name__", str(annotation))
    return {**words, "Path": "path", "Any": "anything"}.get(name, name)


def _quoted(key: str) -> str:
    return f"`{key}`"


def default_of(field: FieldInfo) -> str:
    """The default, or that the key is needed."""
    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value in (None, (), {}, ""):
        return "-"
    if isinstance(value, BaseModel):
        return "its own defaults"
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else value}`"


def described(model: type[BaseModel]) -> list[str]:
    """The docstrings of a model and of the models that it builds on, attributes as a list."""
    bases = [cls for cls in model.__mro__ if issubclass(cls, Settings) and cls is not Settings]
    lines: list[str] = []
    for doc in [inspect.cleandoc(cls.__doc__ or "") for cls in bases]:
        lines += ["", *_listed(doc)]
    return lines


def _listed(doc: str) -> list[str]:
    lines, entry = [], False
    for line in ROLE.sub("", doc).replace("``", "`").splitlines():
        found = re.match(r"([a-z_.]+(?:, [a-z_.]+)*): (.*)", line)
        if found is not None:
            lines += [*([] if entry else [""]), f"- `{found[1]}`: {found[2]}"]
            entry = True
        elif not line.strip():
            lines.append("")
            entry = False
        else:
            lines.append(f"  {line.strip()}" if entry else line.strip())
    return lines


def cli_page() -> str:
    """Every command with its help."""
    import typer

    from linksim.cli.app import app

    lines = ["# Command line", "", "`python -m linksim COMMAND`, or `linksim COMMAND`.", ""]
    return "\n".join([*lines, *commands(typer.main.get_command(app), "linksim")])


def commands(command: Any, path: str) -> list[str]:
    """The help of a command and of those below it."""
    context = command.make_context(
        path, [], resilient_parsing=True, terminal_width=90, max_content_width=90
    )
    lines = [f"## {path}", "", "```text", command.get_help(context).strip(), "```", ""]
    for name, inner in getattr(command, "commands", {}).items():
        lines += commands(inner, f"{path} {name}")
    return lines


def codecs_table() -> str:
    """A line a codec: what it is, what it adapts to, its presets with parameters."""
    from linksim.codec_lookup import build_codec, codec_names, find_codec
    from linksim.sweep.complexity import count_parameters

    lines = [
        "| codec | what it is | paper | adapts to the SNR | rate | presets (parameters) |",
        "|---|---|---|---|---|---|",
    ]
    for name in codec_names():
        cls = find_codec(name)
        presets = [
            f"{preset} ({count_parameters(build_codec(name, preset=preset)) / 1e6:.2f} M)"
            for preset in cls.presets
        ]
        cells = [f"`{name}`", cls.summary, cls.paper, cls.adapts_to_snr, cls.rates]
        lines.append("| " + " | ".join([*cells, ", ".join(presets) or "-"]) + " |")
    return "\n".join(lines)


def weights_table() -> str:
    """A line a shipped file of weights, from its card; and what the codecs cost, as measured."""
    lines = [
        "| weights | trained over | steps | images seen | minutes | held-out PSNR |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted((ROOT / "linksim" / "zoo").glob("*.safetensors")):
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        psnr = card["validation"].get("val_psnr")
        cells = [
            f"`zoo:{path.stem}`",
            card["recipe"]["channel"]["type"],
            f"{card['steps']:,}",
            f"{card['images_seen']:,}",
            f"{card['training_seconds'] / 60:.0f}",
            "-" if psnr is None else f"{psnr:.2f} dB",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *cost_lines()])


def cost_lines() -> list[str]:
    """What encoder and decoder cost, from the committed table."""
    costs = pd.read_csv(ROOT / "results" / "complexity" / "complexity.csv").dropna(subset="macs")
    lines = [
        f"Encoder and decoder together, {costs['side'].iloc[0]} pixels a side:",
        "",
        "| codec | parameters | multiply-accumulates |",
        "|---|---|---|",
    ]
    lines += [
        f"| {line.label} | {line.parameters / 1e6:.2f} M "
        f"| {(line.macs + line.scan_macs) / 1e9:.2f} G |"
        for line in costs.itertuples()
    ]
    return lines


def flagship_weights(codec: str) -> str:
    """The weights that the flagship scenario names for a codec."""
    from linksim.sweep.scenario import load_scenario

    scenario = load_scenario(ROOT / "scenarios" / "rayleigh_sweep.yaml")
    return (
        next(entry.repetitions()[0].weights for entry in scenario.codecs if entry.codec == codec)
        or ""
    )


def protocols_table() -> str:
    """A line a protocol of the benchmark."""
    from linksim.benchmark.protocols import protocols

    lines = ["| protocol | what it is | digest |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.about} | `{one.digest[:16]}` |" for one in protocols()]
    return "\n".join(lines)


def benchmark_table() -> str:
    """The committed results of the benchmark, PSNR and its gaps."""
    from linksim.benchmark.page import Cell, headings, read_results, table

    folder = ROOT / "results" / "benchmark"
    if not any(folder.glob("*.json")):
        return "No results are committed yet."
    heads = headings()
    shown = [place for place, head in enumerate(heads) if place < 2 or "PSNR" in head]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells[place] for place in shown) + " |"

    lines: list[list[Cell]] = table(read_results(folder))
    texts = [[cell.text.replace("|", "\\|") for cell in cells] for cells in lines]
    return "\n".join([line(heads), "|" + "---|" * len(shown), *map(line, texts)])


MADE = {
    "benchmark": benchmark_table,
    "codecs": codecs_table,
    "protocols": protocols_table,
    "weights": weights_table,
}
"""What a page can ask for, in double braces."""
