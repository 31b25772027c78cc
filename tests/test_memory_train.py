"""Training reads a clip when its batch needs it: three thousand rows cost what a hundred cost."""
import pytest

from conftest import many_clips, warm

CODE = """import resource, sys
from voxtral_nb.core.config import RunConfig
from voxtral_nb.training.trainer import train
data, out, model, packing, method, cache = sys.argv[1:]
r = train(RunConfig(model_id=model, device="cpu", train_data=data, max_eval_clips=2, eval_fraction=.1,
                    split_by="clip", method=method, packing=packing, cache=cache, max_steps=2, batch_size=4,
                    eval_every=2, max_new_tokens=4, output_dir=out, tracking="none"), verbose=False)
print(r.steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)"""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory): return many_clips(tmp_path_factory.mktemp("many"), 4, 3_000, 600)


@pytest.mark.parametrize("model, method, packing, cache", [
    ("tiny", "lora", "none", "none"), ("tiny", "full", "none", "mel"), ("tiny", "lora", "split", "encoder"),
    ("tiny-realtime", "lora", "split", "none")])  # a Realtime has no packing; "split" is the default
def test_three_thousand_rows(manifests, tmp_path, model, method, packing, cache):
    def peak(name):
        r = warm(CODE, manifests/f"{name}.jsonl", tmp_path/name, model, packing, method, cache, check=True,
                 env=dict(VOXTRAL_NB_CACHE=tmp_path/"cache"))
        steps, mb = map(int, r.stdout.splitlines()[-1].split())
        assert steps == 2
        return mb
    small, large = peak("100"), peak("many")
    print(f"{model}, {method}, packing {packing}, cache {cache}: {small} MB with 100 rows, {large} MB with 3,000")
    assert large - small < 60, f"{large} MB with 3,000 rows, {small} MB with 100"
