"""The page of benchmarks: ratios, what is skipped and why, what survives a benchmark that fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
import measuring
import page
import page_text
import peers
import scaling
import tiling
from measuring import Ratio

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
GOOD = """
import sys
from pathlib import Path
from measuring import Ratio, write_ratios
rows = [Ratio("fit: time", "other", "s", 1.0, 4.0, note="small"), Ratio("fit: error", "other", "",
        0.3, 0.2), Ratio("net: time", "arithmetic", "s", 1.2, 1.0, "floor")]
write_ratios(Path(sys.argv[sys.argv.index("--json") + 1]), rows, {"words": sys.argv[1:]})
"""
BAD = "import sys\nprint('before')\nsys.exit('it broke')\n"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two scripts in place of the benchmarks, and a folder to write to."""
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    monkeypatch.setattr(page, "HERE", tmp_path)
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    table = {
        "good": page.Benchmark("Good", "good.py", page.sized("--small", "--large")),
        "bad": page.Benchmark("Bad", "bad.py", page.sized("", threads=False), clock=False),
        "real": page.Benchmark("Real", "good.py", page.sized(""), data=True),
        "alone": page.Benchmark("Alone", "good.py", page.sized(""), needs=("no_such_peer",)),
    }
    monkeypatch.setattr(page, "BENCHMARKS", table)
    return tmp_path / "out"


def run_page(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["page.py", *words])
    with pytest.raises(SystemExit) as stop:
        page.main()
    return stop.value.code


def test_ratio_is_ours_over_theirs_and_refuses_what_is_no_figure() -> None:
    assert Ratio("a", "b", "s", 1.0, 4.0).ratio == 0.25
    assert Ratio("a", "b", "", 0.0, 1e-3).ratio == pytest.approx(1e-6)
    for wrong in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="not a figure"):
            Ratio("a", "b", "s", wrong, 1.0)
    with pytest.raises(ValueError, match="kind"):
        Ratio("a", "b", "s", 1.0, 1.0, "guess")


def test_times_are_medians_of_rounds_in_turn() -> None:
    ticks = iter([0, 9, 10, 13, 13, 14, 14, 19, 19, 20, 20, 24, 24, 25])
    order = []
    ways = {name: (lambda n=name: order.append(n)) for name in ("a", "b")}
    found = measuring.interleaved(ways, 3, lambda: next(ticks))
    assert order == ["a", "b"] * 4
    assert found == {"a": 4, "b": 1}  # of 3, 5, 4: the first round does not count


def test_page_of_a_run(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_page(monkeypatch, str(made), "--quick", "--only", "good,real,alone") == 0
    state = json.loads((made / "benchmarks.json").read_text())
    good = state["benchmarks"]["good"]
    assert [row["ratio"] for row in good["ratios"]] == [0.25, pytest.approx(1.5), 1.2]
    assert "--small --threads 1 --json OUT/good.json --cpu-time" in good["command"]
    assert "needs real volumes" in state["benchmarks"]["real"]["skipped"]
    assert "no_such_peer is missing: python" in state["benchmarks"]["alone"]["skipped"]
    text = (made / "benchmarks.md").read_text()
    assert "| fit: time | other | 1 s | 4 s | 0.25 | small |" in text
    assert "- fit: error: 1.5 times other (0.3, 0.2)" in text
    assert "1 of 2 ratios are above 1.05" in text
    assert "| net: time | arithmetic | 1.2 s | 1 s | 1.2 |" in text.split("cannot be avoided")[1]
    assert str(made) not in text
    assert (made / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_a_failure_is_told_and_the_rest_is_kept(made: Path, monkeypatch) -> None:
    assert run_page(monkeypatch, str(made), "--only", "good") == 0
    assert run_page(monkeypatch, str(made), "--only", "bad") == 1
    state = json.loads((made / "benchmarks.json").read_text())["benchmarks"]
    assert state["bad"]["failed"] == "it broke"
    assert len(state["good"]["ratios"]) == 3 and "--large" in state["good"]["command"]
    text = (made / "benchmarks.md").read_text()
    assert "- bad: failed, it broke" in text and "### Good" in text


def test_unknown_names_are_refused(made: Path, monkeypatch, capsys) -> None:
    assert run_page(monkeypatch, str(made), "--only", "god") == 2
    assert "there is no god; there are good, bad" in capsys.readouterr().err
    assert not made.exists()


def test_tables_go_between_the_marks_of_a_page(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    target.write_text(f"# Title\n\n{page_text.BEGIN}\nold\n{page_text.END}\n\nwords\n")
    page_text.into_page(target, "| new |\n")
    text = target.read_text()
    assert text.startswith("# Title") and text.endswith("words\n")
    assert "| new |" in text and "old" not in text
    target.write_text("# Title\n")
    with pytest.raises(ValueError, match="has no"):
        page_text.into_page(target, "| new |\n")


def test_every_benchmark_has_its_script_and_takes_its_words(tmp_path: Path) -> None:
    for quick in (True, False):
        run = page.Run(tmp_path, tmp_path, quick, tmp_path, 1, False, 1.0)
        for name, benchmark in page.BENCHMARKS.items():
            source = (BENCHMARKS / benchmark.script).read_text()
            assert '"--json"' in source, name
            flags = [word for word in benchmark.words(run) if word.startswith("--")]
            for flag in flags:
                assert f'"{flag}"' in source, f"{name}: {flag}"
            clock = '"--cpu-time"' in source or "add_clock(" in source
            assert clock == benchmark.clock, name


def test_peers_are_found_in_their_folder(tmp_path: Path) -> None:
    assert peers.import_paths(None) == [] and peers.import_paths(tmp_path) == []
    (tmp_path / "monai").mkdir()
    assert peers.import_paths(tmp_path) == [str(tmp_path / "monai")]
    run = page.Run(None, tmp_path, True, tmp_path, 1, False, 1.0)
    assert run.has("monai") and not run.has("eclare")
    place = tmp_path / "eclare" / "bin"
    place.mkdir(parents=True)
    (place / "run-eclare").write_text("#!/bin/sh\n")
    (place / "run-eclare").chmod(0o755)
    if sys.platform != "win32":
        assert peers.program("run-eclare", tmp_path) == str(place / "run-eclare")
    assert "apt-get install bart" in peers.how_to_install("bart")


def test_growth_is_beside_that_of_the_work() -> None:
    rows = list(scaling.growth("job, edge", "s", [32, 64], [1.0, 8.0], [0.5, 2.0]))
    assert [(row.what, row.ours, row.theirs) for row in rows] == [
        ("job, edge from 32 to 64", 4.0, 8.0)
    ]
    assert rows[0].ratio == 0.5 and rows[0].note == "0.5 s, then 2 s"


def test_tiling_of_ours_agrees_with_one_pass() -> None:
    torch = pytest.importorskip("torch")
    net, _ = tiling.load_model(tiling.MODEL)
    image = tiling.picture((12, 40, 40))
    assert set(tiling.ours(net, 64, "cpu")) == {tiling.DEFAULT, tiling.BLENDED}
    assert tiling.EXACT in tiling.ours(net, 96, "cpu")
    with torch.inference_mode():
        whole, ours = (
            tiling.make_way(name, net, image, 24, "cpu")() for name in (tiling.WHOLE, "default")
        )
    assert float((ours - whole).norm() / whole.norm()) < 1e-5
    figures = {"seconds": 1.0, "mib": 10.0, "difference": 1e-7}
    theirs = {"seconds": 2.0, "mib": 40.0, "difference": 1e-3}
    rows = tiling.ratios({"default": figures, "MONAI, constant": theirs})
    assert [row.ratio for row in rows] == [0.5, 0.25, pytest.approx(1e-4)]
    assert rows[0].peer == "MONAI, windows share 1/4, constant weights"


def test_without_a_graphics_card_it_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    target = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--json", str(target)])
    gpu.main()
    assert capsys.readouterr().out.strip() == "no GPU here"
    assert json.loads(target.read_text())["setting"]["skipped"] == "no GPU here"
