"""The documentation: every key of a scenario is in it, and what it shows is right."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

import linksim
from linksim.link.lookup import Channel
from linksim.link.site_settings import load_trace
from linksim.settings import plain_types
from linksim.training.recipe import load_recipe
from linksim.training.train import train
from tests.helpers.places import ROOT


def loaded_hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = {
    "images": {"source": "kodak", "crop": 64, "limit": 1},
    "channel": "rayleigh",
    "snr_db": [10],
    "cbr": "1/12",
    "metrics": ["psnr"],
}
HOOKS = loaded_hooks()
ABOUT = HOOKS.keys_about()
KEYS = [
    pytest.param(model, field, field.alias or name, id=f"{model.__name__}.{field.alias or name}")
    for _, model in HOOKS.scenario_models()
    for name, field in model.model_fields.items()
]


@pytest.mark.parametrize(("model", "field", "key"), KEYS)
def test_every_scenario_key_is_documented(model: type[BaseModel], field: Any, key: str) -> None:
    entry = HOOKS.about_key(ABOUT, model, key)
    assert entry is not None, f"docs/scenario_keys.yaml says nothing of {model.__name__}.{key}"
    assert set(entry) == {"unit", "example"}
    numeric = set(plain_types(field.annotation)) & {int, float}
    assert entry["unit"] or key == "seed" or not numeric, f"{key} is a number and has no unit"
    TypeAdapter(Annotated[field.annotation, field.description, *field.metadata]).validate_python(
        entry["example"]
    )


def test_nothing_is_documented_that_is_not_there() -> None:
    known = {
        (cls.__name__, field.alias or name)
        for _, model in HOOKS.scenario_models()
        for name, field in model.model_fields.items()
        for cls in model.__mro__
    }
    documented = {(model, key) for model, entries in ABOUT.items() for key in entries}
    assert documented <= known


def test_the_reference_has_a_row_a_key() -> None:
    page = HOOKS.scenario_page()
    for _, model in HOOKS.scenario_models():
        for name, field in model.model_fields.items():
            assert f"| `{field.alias or name}` |" in page
    assert "| `cbr` | list of number | **needed** | complex channel uses" in page


def test_the_cli_page_has_every_command() -> None:
    page = HOOKS.cli_page()
    for command in ("run", "demo", "report", "bench scan", "scenarios"):
        assert f"## linksim {command}\n" in page


def test_links_that_leave_the_site_are_text() -> None:
    text = "[a](../scenarios/quick.yaml) [b](../nothing.yaml) [c](index.md) [d](https://x.org)"
    assert HOOKS.without_links_off_site(text, "import.md", {"index.md"}) == (
        "a (`scenarios/quick.yaml`) [b](../nothing.yaml) [c](index.md) [d](https://x.org)"
    )


def blocks(page: str, language: str) -> list[str]:
    """The code of a page in that language."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_tutorials_channel_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_channel.py").write_text(blocks("tutorials/channel.md", "python")[0])
    channel = yaml.safe_load(blocks("tutorials/channel.md", "yaml")[0])["channel"]
    settings: Any = TypeAdapter(Channel).validate_python(channel)
    power = settings.draw(list(range(4000)), 1).h.abs().square()
    # 1 or 0.01 of the line of sight's power, 30 % the latter, 1 on average.
    assert float(power.mean()) == pytest.approx(1, abs=0.05)
    assert float(power.max() / power.min()) == pytest.approx(100)
    assert float((power < 0.1).float().mean()) == pytest.approx(0.3, abs=0.05)


def test_the_tutorials_codec_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_codec.py").write_text(blocks("tutorials/train.md", "python")[0])
    recipe, codecs = (yaml.safe_load(code) for code in blocks("tutorials/train.md", "yaml"))
    # Kodak stands in for photographs: nothing is measured on these weights.
    Path("photographs").symlink_to(ROOT / "linksim" / "data" / "kodak")
    short = {"steps": 1, "batch_size": 1, "validation": {"every": 1, "snr_db": [7]}}
    Path("my_recipe.yaml").write_text(yaml.safe_dump({**recipe, **short}))
    weights = train(load_recipe(Path("my_recipe.yaml")), Path("runs/my_recipe"))
    assert codecs["codecs"][0]["weights"] == str(weights)
    summary = linksim.run({**SMALL, "codecs": codecs["codecs"]}, out=tmp_path / "results")
    assert list(summary["label"]) == ["Mine"]


def test_the_tutorials_metric_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_metric.py").write_text(blocks("tutorials/metric.md", "python")[0])
    metrics = yaml.safe_load(blocks("tutorials/metric.md", "yaml")[0])
    summary = linksim.run({**SMALL, **metrics, "codecs": ["bpg_capacity"]}, out=tmp_path)
    [line] = summary.to_dict("records")
    assert 0 < line["mean_error"] < 255 * 10 ** (-line["psnr"] / 20)  # below the root mean square


def test_the_tutorials_street_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scenario, site = blocks("tutorials/street.md", "yaml")
    Path("my_site.yaml").write_text(site)
    assert load_trace(Path("my_site.yaml")).receivers.grid is not None
    street = yaml.safe_load(scenario.replace("{{ mambajscc }}", "null"))
    small = {"images": SMALL["images"], "trials": 3, "codecs": ["bpg_capacity"]}
    summary = linksim.run({**street, **small}, out=tmp_path)
    assert summary["count"].tolist() == [3]
    assert summary["psnr_outage"].between(0, 1).all()


@pytest.mark.slow
def test_the_site_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
    import mkdocs.config
    from mkdocs.commands.build import build

    monkeypatch.chdir(ROOT)
    build(mkdocs.config.load_config("mkdocs.yml", site_dir=str(tmp_path), strict=True))
    assert "MambaJSCC" in (tmp_path / "codecs" / "index.html").read_text(encoding="utf-8")
