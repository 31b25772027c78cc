"""Two processes that train together, as `accelerate launch` and `torchrun` start them, do what one does with batches of twice the size."""
import json, sys
from pathlib import Path

from conftest import BIN, sh

CODE = """
import sys
from voxtral_nb.config import RunConfig
from voxtral_nb.tiny import sample_speech
from voxtral_nb.trainer import train
r = train(RunConfig(model_id="tiny", device="cpu", train_data=sample_speech("accent_train"), eval_data=sample_speech("accent_eval"), max_train_clips=32, max_eval_clips=5,
    learning_rate=2e-3, lora_dropout=0., batch_size=int(sys.argv[2]), max_steps=4, eval_every=2, logging_steps=1, max_new_tokens=24, output_dir=sys.argv[1], tracking="none"))
"""


def losses(run):
    h = json.loads((Path(run)/"trainer_state.json").read_text())["log_history"]
    return [o[k] for o in h for k in ("loss", "eval_loss", "eval_wer") if k in o]


def test_two_processes(tmp_path):
    script, env = tmp_path/"run.py", {"OMP_NUM_THREADS": "1"}
    script.write_text(CODE)
    sh(sys.executable, script, tmp_path/"one", 8, check=True, env=env)
    r = sh(BIN/"torchrun", "--nproc_per_node", 2, "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", script, tmp_path/"two", 4, check=True, env=env)
    assert r.stdout.count("done: 4 steps") == 1  # one of them speaks
    assert len(losses(tmp_path/"one")) == 10
    for a, b in zip(losses(tmp_path/"one"), losses(tmp_path/"two"), strict=True): assert abs(a - b) < 1e-4
    assert sorted(p.name for p in (tmp_path/"two").iterdir()) == sorted(p.name for p in (tmp_path/"one").iterdir())
