"""Every notebook's own tests, each in its own process: environment variables and loaded models must not leak from
one to the next."""
import pytest

from conftest import ROOT, tracked, warm

ALL = sorted(p.relative_to(ROOT/"nbs") for p in tracked() if p.suffix == ".ipynb" and p.parent.name != "runs"
             and str(p.relative_to(ROOT/"nbs")) not in ("tutorials/studio.ipynb", "tutorials/realtime.ipynb"))
TUTORIALS = [p for p in ALL if p.parent.name == "tutorials"]
NOTEBOOKS = [p for p in ALL if p not in TUTORIALS]
TEST = "import sys\nfrom nbdev.test import nbdev_test\nnbdev_test(sys.argv[1], n_workers=0)"


@pytest.mark.parametrize("name", NOTEBOOKS, ids=str)
def test_notebook(name):
    env = warm.again # run: what commands import, and where, is what they test
    if name.parent.name == "run" and name.stem != "05_doctor": env = dict(JUPYTER_PATH=warm.python and warm.kernels)
    r = warm(TEST, ROOT/"nbs"/name, cwd=ROOT, timeout=1200, env=env)
    assert r.returncode == 0, r.stderr[-6000:] + r.stdout[-2000:]
    assert "Success." in r.stdout, f"no test ran\n{r.stdout}\n{r.stderr}"


@pytest.mark.parametrize("name", TUTORIALS, ids=str)
def test_tutorial(name, tmp_path, monkeypatch, warm_kernels):
    """From beginning to end, in its own folder: a person's data lies beside the notebook. test_tutorial_walk comes
    back the next day."""
    import papermill
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = papermill.execute_notebook(ROOT/"nbs"/name, tmp_path/"out.ipynb", cwd=tmp_path, progress_bar=False)
    said = "\n".join(o.get("text") or "" for c in out.cells for o in c.get("outputs", []))
    assert "better: the word error rate falls" in said and "120 clips" in str(out)
    assert (tmp_path/"my_voice"/"data.jsonl").is_file() and (tmp_path/"runs"/"my_voice"/"final-model").is_dir()
