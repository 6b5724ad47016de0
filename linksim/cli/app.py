"""The command line: ``python -m linksim`` or ``linksim``."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from linksim.cli.console import PlainConsole
from linksim.errors import InputError, PointsFailedError, one_line, printable
from linksim.runtime import keep_freed_memory


class StoppedError(Exception):
    """Ctrl-C, with what is kept."""


class _Commands(TyperGroup):
    """The commands. Typer itself would swallow what a KeyboardInterrupt says."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise StoppedError(str(stop) or "what was finished is kept") from None


app = typer.Typer(
    name="linksim",
    cls=_Commands,
    help="Wireless image transmission, end to end: neural and classical codecs over one link.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = PlainConsole()

DEBUG = "--debug"
DebugOption = Annotated[
    bool, typer.Option(DEBUG, help="Show the traceback of an error.", expose_value=False)
]

OutOption = Annotated[Path, typer.Option(help="Folder for result folders.")]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="torch.compile neural codecs: minutes, then faster.")
]
BatchOption = Annotated[int, typer.Option(min=1, help="Images that go through together.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes that share the points, by Dask.")
]
SchedulerOption = Annotated[
    str | None, typer.Option(help="Dask scheduler, as tcp://host:8786, in their place.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or cuda:N; auto takes a GPU if any.")]


@app.callback()
def options(debug: DebugOption = False) -> None:
    """Wireless image transmission, end to end: neural and classical codecs over one link."""


@app.command()
def run(
    scenario: Annotated[
        str, typer.Argument(help="A scenario file (YAML), or a name that 'scenarios' lists.")
    ],
    out: OutOption = Path("results"),
    device: DeviceOption = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    batch_size: BatchOption = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Compute finished points again, replace tables.")
    ] = False,
    dry: Annotated[
        bool, typer.Option("--dry", help="Say what would be computed, and how long it takes.")
    ] = False,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    compiled: CompileOption = False,
    draws: Annotated[
        str, typer.Option(help="Where fading and noise are drawn: cpu, or device (other rows).")
    ] = "cpu",
    debug: DebugOption = False,
) -> None:
    """Work off a scenario: every codec at every SNR and bandwidth, into tables.

    Finished points are kept: a run that was cut off goes on, a finished one does nothing.
    """
    from linksim.cli.run import run_scenario
    from linksim.sweep.options import RunOptions

    run_scenario(
        scenario,
        out=out,
        limit=limit,
        options=RunOptions(
            device=device,
            batch_size=batch_size,
            workers=workers,
            scheduler=scheduler,
            compiled=compiled,
            draws=draws,  # type: ignore[arg-type]  # RunOptions looks at it
        ),
        overwrite=overwrite,
        dry=dry,
        console=console,
    )


@app.command()
def scenarios(
    name: Annotated[str | None, typer.Argument(help="Print this one.")] = None,
) -> None:
    """List the scenarios that come with linksim, or print one."""
    from linksim.cli.run import list_scenarios

    list_scenarios(name, console)


@app.command()
def plot(
    results: Annotated[Path, typer.Argument(help="A result folder, or a folder of them.")],
) -> None:
    """Draw the figures of result folders from their tables: PDF, SVG and PNG."""
    from linksim.entrance import plot as drawn

    for path in drawn(results):
        console.print(str(path), soft_wrap=True, highlight=False)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A result folder, or a folder of them.")],
) -> None:
    """Write result folders as HTML pages that can be sent: report.html, and index.html of several.

    A page needs nothing but the folder's tables and pictures, and no network to be read.
    """
    from linksim.report.write import write_reports

    for path in write_reports(results):
        console.print(str(path), soft_wrap=True, highlight=False, markup=False)


@app.command()
def demo(
    picture: Annotated[
        Path | None, typer.Argument(help="A picture file; a Kodak photograph if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("demo.html"),
    scenario: Annotated[
        str, typer.Option(help="The codecs and the channel: a file, or a shipped name.")
    ] = "rayleigh_sweep",
) -> None:
    """Send one picture through every codec of a scenario, at three SNRs, and show it as a page.

    The page is one HTML file, which needs no network to be read.
    """
    from linksim.cli.demo import show_demo

    show_demo(picture, out=out, scenario=scenario, console=console)


@app.command()
def benchmark(
    codec: Annotated[
        Path | None, typer.Option(help="A codec, as a file: keys as in a scenario's list.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="A results file: verify it, and send a sample of it again.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of results files.")] = Path("results/benchmark"),
    device: DeviceOption = "auto",
    batch_size: BatchOption = 1,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Send a codec through the frozen protocols of linksim-bench, beside its references.

    Writes one results file, and a page of all results files in the folder; with neither --codec nor
    --check the page alone. Finished points are kept: a run that was cut off goes on.
    """
    from linksim.cli.benchmark import benchmark as done
    from linksim.sweep.options import RunOptions

    options = RunOptions(device=device, batch_size=batch_size, workers=workers, scheduler=scheduler)
    done(codec=codec, check=check, out=out, options=options, console=console)


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="The folder that holds the photographs.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; DATA's name and .images if left out.")
    ] = None,
    source: Annotated[str, typer.Option(help="As in a recipe's images.source.")] = "folder",
    split: Annotated[str | None, typer.Option(help="As in a recipe's images.split.")] = None,
) -> None:
    """Decode photographs once, into one file that 'train --data' takes in the folder's place.

    The same crops come out of it. It needs 3 bytes a pixel, and is mapped, not read.
    """
    from linksim.cli.prepare import prepare_images

    prepare_images(data, out=out, source=source, split=split, console=console)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A training recipe (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder for training folders.")] = Path("runs"),
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, in the recipe's place.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of photographs or what 'prepare' made, in the recipe's place."),
    ] = None,
    decay_from: Annotated[
        str | None,
        typer.Option(help="Decay the rate of a wsd recipe from this step's checkpoint, or 'last'."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop in time, with a checkpoint.")
    ] = None,
    device: DeviceOption = "auto",
    overwrite: Annotated[bool, typer.Option(help="Start anew.")] = False,
    compiled: CompileOption = False,
    shard_mb: Annotated[
        int | None, typer.Option(min=1, help="Largest size of a checkpoint's files, in MB.")
    ] = None,
) -> None:
    """Train a codec by a recipe, going on where an earlier run of it stopped.

    Ends in a safetensors file, with a card, that a scenario can name under 'weights'.
    """
    from linksim.cli.train import train_recipe

    train_recipe(
        recipe,
        out=out,
        steps=steps,
        data=data,
        decay_from=decay_from,
        minutes=minutes,
        device=device,
        overwrite=overwrite,
        shard_mb=shard_mb,
        compiled=compiled,
        console=console,
    )


@app.command()
def learning(
    weights: Annotated[list[str], typer.Argument(help="zoo:NAME or files, as train made them.")],
    out: Annotated[Path, typer.Option(help="Folder for the table and the figure.")] = Path(
        "results/learning"
    ),
) -> None:
    """Show how weights were learnt: quality on held-out photographs over the pixels seen."""
    from linksim.cli.train import show_learning

    show_learning(weights, out, console)


@app.command(name="import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="What the authors publish, as it is.")],
    codec: Annotated[
        str, typer.Option(help="swinjscc (WITT too), mambajscc, deepjscc, adjscc, mvsc or mvsc4.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The safetensors file to write; beside the first if not.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value: a constructor option. Repeatable.")
    ] = None,
) -> None:
    """Make a published checkpoint weights that a scenario can name, running none of its code."""
    from linksim.cli.importing import import_files

    import_files(files, codec=codec, out=out, settings=settings or [], console=console)


@app.command()
def trace(
    site: Annotated[Path, typer.Argument(help="What to trace: a SITE.yaml.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; NAME.npz if left out.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Trace rays through a city's scene, for channels of type site (needs linksim[trace])."""
    from linksim.cli.trace import trace_site

    trace_site(site, out=out, console=console)


@app.command()
def complexity(
    codec: Annotated[str | None, typer.Argument(help="A codec, as 'codecs' lists them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every neural codec.")] = False,
    preset: Annotated[str | None, typer.Option(help="A preset; with --all: paper.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value: a constructor option. Repeatable.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Side of the image in pixels.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Count parameters and multiply-accumulates, and time encode and decode."""
    from linksim.cli.measure import show_complexity

    show_complexity(
        codec,
        everything=everything,
        preset=preset,
        settings=settings or [],
        size=size,
        as_json=as_json,
        console=console,
    )


bench_app = typer.Typer(
    help="Time the scan kernel, the codecs or the link, side by side in one process.",
    no_args_is_help=True,
)
app.add_typer(bench_app, name="bench")
CsvOption = Annotated[Path, typer.Option(help="Where to write the table as CSV.")]


@bench_app.command("scan")
def bench_scan(
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Also torch.compile of our reference: minutes.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, or cuda: Triton beside mamba-ssm.")] = "cpu",
    csv: CsvOption = Path("bench_scan.csv"),
) -> None:
    """The selective scan: native kernel, pure torch, and mamba-ssm's reference if installed."""
    from linksim.bench.gpu_scan import bench_gpu_scan
    from linksim.bench.scan import ScanSize
    from linksim.bench.scan import bench_scan as measured
    from linksim.cli.measure import write_bench
    from linksim.runtime.devices import pick_device

    place = pick_device(device)
    if place.type == "cuda":
        sizes = [ScanSize(length=4096), ScanSize(length=16384)]
        write_bench(bench_gpu_scan(sizes, device=place, compiled=compiled), csv, console)
        return
    write_bench(measured(compiled=compiled), csv, console)


@bench_app.command("codec")
def bench_codec(
    codecs: Annotated[
        list[str] | None, typer.Argument(help="name:preset pairs, such as mambajscc:paper.")
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(min=1, help="Side of the image in pixels; may be repeated.")
    ] = None,
    compiled: CompileOption = False,
    device: DeviceOption = "cpu",
    csv: CsvOption = Path("bench_codec.csv"),
) -> None:
    """Encode and decode one image, each codec in fp32 and in bf16."""
    from linksim.bench.codecs import bench_codecs, in_both_precisions
    from linksim.cli.measure import parse_pairs, write_bench

    pairs = parse_pairs(codecs or ["mambajscc:paper", "swinjscc:paper", "mambajscc:small"])
    contestants = in_both_precisions(pairs)
    table = bench_codecs(contestants, sizes=size or [256], compiled=compiled, device=device)
    write_bench(table, csv, console)


@bench_app.command("train")
def bench_train(
    codec: Annotated[str, typer.Argument(help="name:preset, such as mambajscc:small.")],
    crop: Annotated[int, typer.Option(min=16, help="Side of the crops in pixels.")] = 128,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops a step.")] = 8,
    bf16: Annotated[bool, typer.Option("--bf16", help="In bfloat16 instead of float32.")] = False,
    muon: Annotated[bool, typer.Option("--muon", help="By Muon instead of AdamW alone.")] = False,
    count: Annotated[
        bool, typer.Option("--count", help="Count a GPU's memory instead, without one.")
    ] = False,
    device: DeviceOption = "auto",
    csv: CsvOption = Path("bench_train.csv"),
) -> None:
    """A training step, part by part, against the machine's largest matrix product."""
    from linksim.bench.train import bench_train as measured
    from linksim.cli.measure import parse_pairs, write_bench
    from linksim.settings import CodecSettings, Precision
    from linksim.training.recipe import OptimizerName

    [(name, preset)] = parse_pairs([codec])
    settings = CodecSettings(codec=name, preset=preset)
    precision: Precision = "bf16" if bf16 else "fp32"
    optimizer: OptimizerName = "muon" if muon else "adamw"
    if count:
        from linksim.bench.memory import count_training_memory

        counted = count_training_memory(
            settings, crop=crop, batch_size=batch_size, precision=precision, optimizer=optimizer
        )
        write_bench(counted, csv, console)
        return
    table = measured(
        settings,
        crop=crop,
        batch_size=batch_size,
        precision=precision,
        optimizer=optimizer,
        device=device,
    )
    write_bench(table, csv, console)


@bench_app.command("link")
def bench_link(
    codecs: Annotated[
        list[str] | None, typer.Argument(help="name:preset pairs, such as mambajscc:paper.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Side of the image in pixels.")] = 256,
    csv: CsvOption = Path("bench_link.csv"),
) -> None:
    """Show how much of a sweep's time is the codec's own, and how much linksim's."""
    from linksim.bench.link import bench_link as measured
    from linksim.cli.measure import parse_pairs, show_own_share, write_bench
    from linksim.settings import CodecSettings

    pairs = parse_pairs(codecs or ["mambajscc:small", "mambajscc:paper"])
    table = measured(
        [CodecSettings(codec=name, preset=preset) for name, preset in pairs], size=size
    )
    write_bench(table, csv, console)
    show_own_share(table, console)


@app.command()
def schema() -> None:
    """Print the JSON schema of scenario files, for editors that complete them."""
    import json

    from linksim.sweep.scenario import Scenario

    schema = Scenario.model_json_schema()
    about = "Another file, relative to this one, whose keys hold where this one has none."
    schema["properties"]["base"] = {"type": "string", "description": about}
    print(json.dumps(schema, indent=2))


@app.command()
def codecs() -> None:
    """List the codecs that a scenario can name."""
    from linksim.cli.info import list_codecs

    list_codecs(console)


@app.command()
def info() -> None:
    """Show versions, devices, scan backends and shipped weights."""
    from linksim.cli.info import show_info

    show_info(console)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit status 2."""
    keep_freed_memory()
    try:
        app()
    except InputError as error:
        _tell(error, status=2)
    except PointsFailedError as error:
        _tell(error, status=1)
    except StoppedError as stop:
        print(f"linksim: stopped; {printable(str(stop))}", file=sys.stderr)
        sys.exit(130)


def _tell(error: Exception, *, status: int) -> None:
    if DEBUG in sys.argv:
        traceback.print_exception(error)
    print(f"linksim: {printable(one_line(error))}", file=sys.stderr)
    sys.exit(status)
