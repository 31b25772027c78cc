"""Training reads a clip when its batch needs it: ten thousand rows cost what a hundred cost."""
import json, os, subprocess, sys

import numpy as np, pytest

from voxtral_nb.testing import write_test_audio

CODE = """import resource, sys
from voxtral_nb.config import RunConfig
from voxtral_nb.trainer import train
data, out, packing, method = sys.argv[1:]
r = train(RunConfig(model_id="tiny", device="cpu", train_data=data, max_eval_clips=2, eval_fraction=.1, split_by="clip", method=method, packing=packing, max_steps=6, batch_size=4,
    eval_every=6, max_new_tokens=4, output_dir=out, tracking="none"), progress=False)
print(r.steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)"""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    "Manifests of 100 and 10,000 clips of 4 s: twenty files under ten thousand names, which would be 2.5 GB as float32."
    d, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    files = [write_test_audio(d/f"clip{i}.wav", .1*rng.standard_normal(64_000)) for i in range(20)]
    for i in range(10_000): os.link(files[i % 20], d/f"{i:05d}.wav")
    for n in (100, 10_000):
        (d/f"{n}.jsonl").write_text("".join(json.dumps(dict(audio=f"{i:05d}.wav", text="three seven one two nine", language="en")) + "\n" for i in range(n)))
    return d


@pytest.mark.parametrize("method, packing", [("lora", "none"), ("full", "window")])
def test_ten_thousand_rows(manifests, tmp_path, method, packing):
    def peak(n):
        r = subprocess.run([sys.executable, "-c", CODE, manifests/f"{n}.jsonl", tmp_path/f"{n}", packing, method], capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        steps, mb = map(int, r.stdout.splitlines()[-1].split())
        assert steps == 6
        return mb
    small, large = peak(100), peak(10_000)
    print(f"{method}, packing {packing}: {small} MB with 100 rows, {large} MB with 10,000")
    assert large - small < 300, f"{large} MB with 10,000 rows, {small} MB with 100"
