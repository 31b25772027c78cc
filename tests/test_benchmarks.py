"""The benchmarks still run: the smallest check of each, not their figures."""
import json, sys

from conftest import ROOT, sh


def smoke(name, *args):
    return sh(sys.executable, ROOT/"benchmarks"/f"{name}.py", "--smoke", *args, cwd=ROOT, check=True,
              env=dict(PYTHONWARNINGS="ignore"))


def test_train(tmp_path):
    smoke("train", "--out", tmp_path)
    r = json.loads((tmp_path/"train.json").read_text())
    for o in r["equal"]: # nothing was cheated: one step of ours is one step of the recipe
        assert o["loss_difference"] < 1e-5 and o["largest_difference"] < 1e-6 < o["largest_gradient"]
    assert [(o["method"], o["seconds"]) for o in r["throughput"]] == [("lora", 1)]
    assert [o["clips"] for o in r["scaling"]] == [8] and (tmp_path/"train.png").stat().st_size > 1000


def test_quality(tmp_path):
    smoke("quality", "--out", tmp_path)
    r = json.loads((tmp_path/"quality.json").read_text())
    assert sorted(o["who"] for o in r["runs"]) == ["ours", "recipe"]
    for o in r["runs"]: assert [c["step"] for c in o["curve"]] == [0, 1, 2]
    assert (tmp_path/"quality.png").stat().st_size > 1000
    again = smoke("quality", "--out", tmp_path) # an interrupted benchmark continues; here nothing is left to do
    assert "2 runs are done" in again.stdout and json.loads((tmp_path/"quality.json").read_text())["runs"] == r["runs"]


def test_gpu(tmp_path):
    assert "check of the code" in smoke("gpu", "--out", tmp_path).stdout
    r = json.loads((tmp_path/"gpu-check.json").read_text())
    assert r["smoke"] and not r["failed"] and {o["status"] for o in r["cells"]} == {"ok"}
    assert any(o["build"] for o in r["cells"] if o["engine"] == "ours"), "the feature cache was not used"
    assert {(o["method"], o["seconds"]) for o in r["compared"]} == {(m, s) for m in ("lora", "full") for s in (1, 10)}


def test_gpu_checks(tmp_path):
    "What `gpu.py --check` does on a GPU, the most important of it on the CPU."
    smoke("gpu", "--check", "--few", "--out", tmp_path)
    assert {o["status"] for o in json.loads((tmp_path/"gpu-checks.json").read_text())["checks"]} == {"PASS"}


def test_commit(tmp_path):
    "Results name their commit even where there is no repository."
    import shutil
    (tmp_path/"benchmarks").mkdir()
    shutil.copy(ROOT/"benchmarks"/"measure.py", tmp_path/"benchmarks")
    def commit():
        return sh(sys.executable, "-c", "import measure; print(measure._commit())", cwd=tmp_path/"benchmarks",
                  check=True, env=dict(GIT_CEILING_DIRECTORIES=str(tmp_path.parent))).stdout.strip()
    assert commit() == "unknown"
    (tmp_path/"COMMIT").write_text("0123456789ab\n")
    assert commit() == "0123456789ab"


def test_base30(tmp_path):
    from voxtral_nb.model.collator import AudioWindows
    from voxtral_nb.model.models import load_voxtral
    smoke("base30", "--folder", tmp_path/"base30")
    _, processor = load_voxtral(str(tmp_path/"base30"), device="cpu", verbose=False)
    assert AudioWindows(processor).tokens == 375 and json.loads((tmp_path/"base30"/"made.json").read_text())["curve"]


def test_collator_speed():
    r = sh(sys.executable, ROOT/"benchmarks"/"collator.py", "--repeats", 2, "--clips", 2, "--seconds", 1, cwd=ROOT,
           check=True)
    assert json.loads(r.stdout.strip().splitlines()[-1])["ratio"] > 0
