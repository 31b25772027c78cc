"""Data that does not fit in memory is not loaded: a hundred times the rows cost a few MB."""
import json, os, subprocess, sys

import numpy as np, pytest

from voxtral_nb.testing import write_test_audio

CODE = """import resource, sys
from voxtral_nb.config import RunConfig
from voxtral_nb.sources import load_run_data
from voxtral_nb.audio import read_audio
train, held = load_run_data(RunConfig(train_data=sys.argv[1], split_by="speaker"), verbose=False)
for d in (train, held):
    for r in d.dataset.select(range(0, len(d), max(1, len(d)//200))): read_audio(r["audio"])
print(len(train) + len(held), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)"""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    "Manifests of 100 and 10,000 clips of 10 s: twenty files under ten thousand names, which would be 6 GB as float32."
    d, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    files = [write_test_audio(d/f"clip{i}.wav", .1*rng.standard_normal(160_000)) for i in range(20)]
    for i in range(10_000): os.link(files[i % 20], d/f"{i:05d}.wav")
    for n in (100, 10_000):
        (d/f"{n}.jsonl").write_text("".join(json.dumps(dict(audio=f"{i:05d}.wav", text="three seven one two nine", speaker=f"s{i % 40}")) + "\n" for i in range(n)))
    return d


def peak(path):
    "Rows loaded, and the most memory that the process held, MB."
    r = subprocess.run([sys.executable, "-c", CODE, path], capture_output=True, text=True, check=True)
    return map(int, r.stdout.split())


def test_ten_thousand_rows(manifests):
    (n, small), (m, large) = peak(manifests/"100.jsonl"), peak(manifests/"10000.jsonl")
    assert (n, m) == (100, 10_000)
    assert large - small < 60, f"{large} MB with 10,000 rows, {small} MB with 100"
