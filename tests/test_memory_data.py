"""Data that does not fit in memory is not loaded: forty times the rows cost a few MB."""
import subprocess, sys

import pytest

from conftest import many_clips

CODE = """import resource, sys
from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.sources import load_run_data
from voxtral_nb.data.audio import read_audio
train, held = load_run_data(RunConfig(train_data=sys.argv[1], split_by="speaker"), verbose=False)
for d in (train, held):
    for r in d.dataset.select(range(0, len(d), max(1, len(d)//50))): read_audio(r["audio"])
print(len(train) + len(held), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)"""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory): return many_clips(tmp_path_factory.mktemp("many"), seconds=8, clips=4_000)


def peak(path):
    "Rows loaded, and the most memory that the process held, MB."
    r = subprocess.run([sys.executable, "-c", CODE, path], capture_output=True, text=True, check=True)
    return map(int, r.stdout.split())


def test_four_thousand_rows(manifests):
    (n, small), (m, large) = peak(manifests/"100.jsonl"), peak(manifests/"many.jsonl")
    assert (n, m) == (100, 4_000)
    assert large - small < 60, f"{large} MB with 4,000 rows, {small} MB with 100"
