"""Every notebook's own tests, each in a process of its own: environment variables and loaded models must not leak from
one to the next."""
import pytest

from conftest import BIN, ROOT, sh, tracked

NOTEBOOKS = sorted(p.relative_to(ROOT/"nbs") for p in tracked() if p.suffix == ".ipynb" and p.parent.name != "runs")


@pytest.mark.parametrize("name", NOTEBOOKS, ids=str)
def test_notebook(name):
    r = sh(BIN/"nbdev-test", ROOT/"nbs"/name, "--n-workers", "0", cwd=ROOT, timeout=1200)
    assert r.returncode == 0, r.stderr[-6000:] + r.stdout[-2000:]
    assert "Success." in r.stdout, f"nothing was tested\n{r.stdout}\n{r.stderr}"
