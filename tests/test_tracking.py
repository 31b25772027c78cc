"""Tracking writes to the local disk and talks to nobody, and a run goes on without it; where it was not asked for,
trackio is not even imported."""
import json, sqlite3

import pytest

from conftest import warm

# every connection that is not to this machine is written down and refused
CODE = """
import socket, sys
asked = []
def refuse(self, address, *args):
    asked.append(str(address))
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = refuse
was = socket.getaddrinfo
def look_up(host, *args, **kwargs):
    asked.append(str(host))
    raise OSError("no network here")
socket.getaddrinfo = look_up

from voxtral_nb.core.config import RunConfig
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.training.trainer import train
cfg = RunConfig(model_id="tiny", device="cpu", train_data=sample_speech("accent_train"),
                eval_data=sample_speech("accent_eval"), max_train_clips=4, max_eval_clips=1, max_steps=2, batch_size=1,
                logging_steps=1, max_new_tokens=2, output_dir=sys.argv[1], tracking=sys.argv[2], project="curves")
r = train(cfg)
print([asked, "trackio" in sys.modules])
"""


@pytest.mark.parametrize("tracking", ["none", "trackio"])
def test_no_network(tmp_path, tracking):
    r = warm(CODE, tmp_path/"run", tracking, check=True,
             env=dict(TRACKIO_DIR=tmp_path/"trackio", HF_HUB_OFFLINE="0"))
    assert r.stdout.splitlines()[-1] == str([[], tracking == "trackio"])
    assert "* " not in r.stdout  # trackio's page of hints
    if tracking == "none": return
    with sqlite3.connect(next((tmp_path/"trackio").glob("curves*.db"))) as db:
        rows = [(step, json.loads(m)) for step, m in db.execute("select step, metrics from metrics order by step, id")]
    assert {s for s,_ in rows} == {0, 1, 2}
    assert {k for _,m in rows for k in m} >= {"train/loss", "train/learning_rate", "eval/wer", "eval/loss"}


BROKEN = """
import sys, time
from pathlib import Path
from transformers import TrainerCallback
from voxtral_nb.core.config import RunConfig
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.training.trainer import train

class Break(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step > 1: return
        while not (found := [*Path(sys.argv[2]).glob("*.db")]): time.sleep(.05)
        found[0].unlink() # trackio writes in a thread, maybe now, and would mend a file that is only overwritten
        found[0].mkdir()

cfg = RunConfig(model_id="tiny", device="cpu", train_data=sample_speech("accent_train"), max_train_clips=4,
                eval_fraction=0., max_steps=3, batch_size=1, logging_steps=1, output_dir=sys.argv[1])
print(train(cfg, callbacks=[Break()]).final_model)
"""

def test_a_run_outlives_its_tracker(tmp_path):
    r = warm(BROKEN, tmp_path/"run", tmp_path/"trackio", check=True, env=dict(TRACKIO_DIR=tmp_path/"trackio"))
    assert "could not be persisted" in r.stderr
    assert (tmp_path/"run"/"final-model"/"adapter_model.safetensors").is_file()
