"""Runs that are killed, interrupted or out of disk, as processes: what the signals of an operating system do cannot be
shown in a notebook cell."""
import json, shutil, signal
from pathlib import Path

import pytest

from conftest import sh, small_disk, warm
from voxtral_nb.training.checkpoints import checkpoint_problem, checkpoints

# argv: output folder, resume, what to do, at which step, steps of the run, steps between evaluations
RUN = """
import os, signal, sys, time
from transformers import TrainerCallback
from voxtral_nb.core.config import RunConfig
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.training.trainer import VoxtralTrainer, train

out, resume, what = sys.argv[1:4]
at, steps, every = map(int, sys.argv[4:])
def kill(): os.kill(os.getpid(), signal.SIGKILL)

class Do(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step != at: return
        if what == "kill": kill()
    def on_step_begin(self, args, state, control, **kwargs):
        if what == "interrupt" and state.global_step == at - 1: os.kill(os.getpid(), signal.SIGINT)
    def on_prediction_step(self, args, state, control, **kwargs):
        if what == "interrupt_eval" and state.global_step == at: os.kill(os.getpid(), signal.SIGINT)

if what == "kill_saving":
    was = VoxtralTrainer._save_optimizer_and_scheduler
    def save(self, folder):
        if self.state.global_step == at:
            (folder/"optimizer.pt").write_bytes(b"half")
            kill()
        was(self, folder)
    VoxtralTrainer._save_optimizer_and_scheduler = save

if what == "kill_linking":
    import voxtral_nb.training.trainer as t
    was_linked = t.link_model
    def link(ckpt, target, dtype):
        if target.name == "best-model" and ckpt.name == f"checkpoint-{at}": kill()
        was_linked(ckpt, target, dtype)
    t.link_model = link

cfg = RunConfig(model_id="tiny", device="cpu", train_data=sample_speech("accent_train"),
                eval_data=sample_speech("accent_eval"), max_train_clips=20, max_eval_clips=4, learning_rate=2e-3,
                max_steps=steps, eval_every=every, batch_size=4, logging_steps=3, max_new_tokens=24, output_dir=out,
                resume=resume, tracking="none")
r = train(cfg, callbacks=[Do()])
print("interrupted" if r.interrupted else "done", r.steps)
"""


def run(out, resume="never", what="nothing", at=0, check=True, steps=6, every=2):
    return warm(RUN, out, resume, what, at, steps, every, check=check)


def curve(out):
    "Everything that was logged, without times."
    h = json.loads((Path(out)/"trainer_state.json").read_text())["log_history"]
    return [{k: v for k,v in o.items() if not k.endswith(("runtime", "rtfx", "second"))}
            for o in h if "loss" in o or "eval_loss" in o]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "An uninterrupted run."
    out = tmp_path_factory.mktemp("whole")/"run"
    assert run(out).stdout.splitlines()[-1] == "done 6"
    return out


def same_models(a, b):
    return all((a/o/"adapter_model.safetensors").read_bytes() == (b/o/"adapter_model.safetensors").read_bytes()
               for o in ("best-model", "final-model"))


@pytest.mark.parametrize("what, at, newest", [("kill", 3, 2), ("kill_saving", 4, 2)])
def test_sigkill(whole, tmp_path, what, at, newest):
    "Killed between two checkpoints, or while one is being written; a truncated copy of a checkpoint lies beside them."
    out = tmp_path/"run"
    assert run(out, what=what, at=at, check=False).returncode == -signal.SIGKILL
    assert [p.name for p in checkpoints(out)] == [f"checkpoint-{newest}"]
    assert not checkpoint_problem(checkpoints(out)[-1])
    half = out/"checkpoint-5"
    shutil.copytree(out/f"checkpoint-{newest}", half)
    weights = half/"adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    r = run(out, resume="auto")
    assert "checkpoint-5 is not complete" in r.stdout
    assert f"resuming from checkpoint-{newest}" in r.stdout
    assert r.stdout.splitlines()[-1] == "done 6"
    assert curve(out) == curve(whole) and same_models(out, whole)
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]


def test_sigkill_before_the_best_model_is_linked(tmp_path):
    """Killed when the last checkpoint is saved and best-model is still that of an earlier step: resuming brings it up
    to date."""
    out, short = tmp_path/"run", dict(steps=6, every=3)
    assert run(out, what="kill_linking", at=6, check=False, **short).returncode == -signal.SIGKILL
    weights = [out/o/"adapter_model.safetensors" for o in ("checkpoint-3", "checkpoint-6", "best-model")]
    first, last, best = (p.read_bytes() for p in weights)
    assert best == first != last
    assert run(out, resume="auto", **short).stdout.splitlines()[-1] == "done 6"
    assert json.loads((out/"train_results.json").read_text())["best_step"] == 6
    assert weights[-1].read_bytes() == last


@pytest.mark.parametrize("what, at, steps", [("interrupt", 5, 5), ("interrupt_eval", 4, 4), ("interrupt", 6, 6)])
def test_ctrl_c(whole, tmp_path, what, at, steps):
    """SIGINT in a step whose loss is not logged yet, and in an evaluation: exit status 0, a whole checkpoint, results
    on the disk, and the same curve in the end."""
    out = tmp_path/"run"
    r = run(out, what=what, at=at)
    assert r.stdout.splitlines()[-1] == f"interrupted {steps}" and "Traceback" not in r.stderr
    assert checkpoints(out)[-1].name == f"checkpoint-{steps}" and not checkpoint_problem(checkpoints(out)[-1])
    results = json.loads((out/"train_results.json").read_text())
    assert results["interrupted"] and results["steps"] == steps and results["final_model"] is None
    assert json.loads((out/"eval_results.json").read_text())["before"]["n_clips"] == 4
    assert run(out, resume="auto").stdout.splitlines()[-1] == "done 6"
    assert curve(out) == curve(whole) and same_models(out, whole)


def test_full_disk(whole, tmp_path):
    """A file system of 3 MB: the run ends with one clear message, and the checkpoint before is whole; with more room it
    goes on."""
    with small_disk(tmp_path/"disk", "3m") as disk:
        r = run(disk/"run", check=False)
        assert r.returncode == 1
        assert "RunError" in r.stderr
        assert "could not be written" in r.stderr
        assert "resume='auto'" in r.stderr
        left = checkpoints(disk/"run")
        assert left and not any(checkpoint_problem(p) for p in left)
        assert not (disk/"run"/"final-model").exists()
        sh("mount", "-o", "remount,size=30m", disk, check=True)
        assert run(disk/"run", resume="auto").stdout.splitlines()[-1] == "done 6"
        assert curve(disk/"run") == curve(whole)


REALTIME = """
import os, signal, sys
from transformers import TrainerCallback
from voxtral_nb.core.config import RunConfig
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.training.trainer import train
class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if sys.argv[3] == "kill" and state.global_step == 3: os.kill(os.getpid(), signal.SIGKILL)
train(RunConfig(model_id="tiny-realtime", device="cpu", train_data=str(sample_speech("accent_train")), eval_fraction=0.,
                max_train_clips=12, learning_rate=2e-3, learn_tail=True, delays="random", stream_seconds=4.,
                max_steps=4, eval_every=2, batch_size=3, logging_steps=1, output_dir=sys.argv[1], resume=sys.argv[2],
                tracking="none"), verbose=False, callbacks=[Kill()])
"""


def test_streams(tmp_path):
    "Voxtral Realtime, killed, with random delays and joined streams: the losses of an unbroken run."
    whole, cut = tmp_path/"whole", tmp_path/"cut"
    warm(REALTIME, whole, "never", "no", check=True)
    assert warm(REALTIME, cut, "never", "kill").returncode == -signal.SIGKILL
    warm(REALTIME, cut, "auto", "no", check=True)
    losses = [o["loss"] for o in curve(whole)]
    assert len(losses) == 4 and losses == [o["loss"] for o in curve(cut)]
