"""Several processes. Two that train together, as `accelerate launch` and `torchrun` start them, do what one does with
batches of twice the size."""
import json
from pathlib import Path

import pytest

from conftest import command, warm
from voxtral_nb.core.memory import usable_cores

CODE = """
import sys
from voxtral_nb.core.config import RunConfig
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.training.trainer import train
more = dict(delays="random", learn_tail=True, eval_delays="80") if sys.argv[3] == "tiny-realtime" else {}
r = train(RunConfig(model_id=sys.argv[3], device="cpu", train_data=sample_speech("accent_train"), **more,
                    eval_data=sample_speech("accent_eval"), max_train_clips=16, max_eval_clips=3, learning_rate=2e-3,
                    lora_dropout=0., cache="encoder", batch_size=int(sys.argv[2]), max_steps=2, eval_every=1,
                    logging_steps=1, max_new_tokens=8, output_dir=sys.argv[1], tracking="none"))
"""


def losses(run):
    h = json.loads((Path(run)/"trainer_state.json").read_text())["log_history"]
    return [o[k] for o in h for k in ("loss", "eval_loss", "eval_wer") if k in o]


@pytest.mark.parametrize("model", ["tiny", "tiny-realtime"])
def test_two_processes(tmp_path, model):
    (script := tmp_path/"run.py").write_text(CODE)
    warm(CODE, tmp_path/"one", 4, model, check=True)
    r = command("torchrun", "--nproc_per_node", 2, "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0",
                "--no-python", *warm.python, script, tmp_path/"two", 2, model, check=True)
    assert r.stdout.count("done: 2 steps") == 1  # one of them speaks
    assert len(losses(tmp_path/"one")) == 8
    for a, b in zip(losses(tmp_path/"one"), losses(tmp_path/"two"), strict=True): assert abs(a - b) < 1e-4
    assert sorted(p.name for p in (tmp_path/"two").iterdir()) == sorted(p.name for p in (tmp_path/"one").iterdir())


WORKERS = """
import multiprocessing as mp, sys, time
from transformers import TrainerCallback
from voxtral_nb.core.config import RunConfig
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.training.trainer import train
class Workers(TrainerCallback):
    "Which processes have worked for the run, and how often it was evaluated."
    def __init__(self): self.pids, self.evaluations = set(), 0
    def look(self, *args, **kwargs): self.pids |= {p.pid for p in mp.active_children()}
    on_step_begin = on_step_end = on_prediction_step = look
    def on_evaluate(self, *args, **kwargs): self.evaluations += 1
if __name__ == "__main__":
    mp.set_start_method(sys.argv[2])
    workers = Workers()
    train(RunConfig(model_id="tiny", device="cpu", train_data=sample_speech("accent_train"),
                    eval_data=sample_speech("accent_eval"), max_train_clips=8, max_eval_clips=2, batch_size=2,
                    max_steps=2, eval_every=1, max_new_tokens=2, cache="none", num_workers=int(sys.argv[3]),
                    logging_steps=1, output_dir=sys.argv[1], tracking="none"), verbose=False, callbacks=[workers])
    assert not mp.active_children()
    assert (len(workers.pids), workers.evaluations) == (int(sys.argv[3]), 3), (workers.pids, workers.evaluations)
"""


def test_workers(tmp_path):
    """Batches made in other processes, forked or spawned, are the same batches; evaluations start no new workers; and
    none is left when the run is done."""
    script, runs, most = tmp_path/"run.py", [], min(2, usable_cores()) # a run has no more than cores
    script.write_text(WORKERS)
    for how, n in (("fork", 0), ("fork", most), ("spawn", most)):
        runs.append(tmp_path/f"{how}{n}")
        warm.run(script, runs[-1], how, n, check=True, env=warm.again) # a spawned worker imports the script
    assert losses(runs[0]) == losses(runs[1]) == losses(runs[2]) and len(losses(runs[0])) == 2 + 2*3
