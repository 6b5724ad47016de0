"""What a result folder holds after a run."""

from pathlib import Path

from linksim.sweep.scenario import Scenario
from tests.helpers.sweeping import rows_of


def test_leftovers_of_a_kill_are_swept_away_at_the_next_start(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(
        {
            "name": "small",
            "images": {"crop": 16, "limit": 1},
            "channel": {"type": "awgn"},
            "snr_db": [5],
            "cbr": 1,
            "metrics": ["psnr"],
            "codecs": ["bpg_capacity"],
        }
    )
    first = rows_of(scenario, tmp_path)
    (tmp_path / "pictures").mkdir()
    left = [f".summary.csv.{'a' * 32}.tmp", f"pictures/.p.png.{'0' * 32}.tmp"]
    for name in left:
        (tmp_path / name).write_bytes(b"half")
    assert rows_of(scenario, tmp_path).equals(first)
    assert not any((tmp_path / name).exists() for name in left)
