"""`estimate_memory` against whole runs of `train`: within 20 % of the most that PyTorch's allocator on the CPU ever
held (the profiler hears each of its calls)."""
import json

import pytest

from conftest import last_json, warm

# One process makes the runs of a model one after the other: what counts begins when a run begins, so they do not
# disturb each other.
CODE = """import contextlib, io, json, sys, tempfile
from pathlib import Path
import numpy as np, soundfile as sf
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback
from voxtral_nb.model.collator import VoxtralDataCollator
from voxtral_nb.core.config import RunConfig
from voxtral_nb.training.estimate import BatchShape, estimate_memory
from voxtral_nb.model.tiny import make_processor, make_tiny_model, write_tekken
from voxtral_nb.training import trainer

class Done(Exception): "What comes after the last step and its evaluation is not measured."

class Peak(TrainerCallback):
    "Follows the allocator from the first step to the last."
    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.weights = sum(o.numel()*o.element_size() for o in [*model.parameters(), *model.buffers()])
        self.profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self.profile.__enter__()
    def on_step_end(self, args, state, control, **kwargs): control.should_save = False
    def on_train_end(self, *args, **kwargs):
        self.profile.__exit__(None, None, None)
        events = self.profile.profiler.kineto_results.events()
        calls = sorted((o.start_ns(), o.nbytes()) for o in events if o.name() == "[memory]")
        self.gb = (self.weights + int(np.cumsum([n for _,n in calls]).max()))/1e9
        raise Done

shapes, parts_of = [], VoxtralDataCollator.micro_batches
def recorded(self, rows, **how): # of a training step
    parts = parts_of(self, rows, **how)
    shapes.extend(map(BatchShape.of, parts))
    return parts
VoxtralDataCollator.micro_batches = recorded
trainer.with_verified_silence = lambda cfg, *more: cfg # it comes before what is measured

def clips(folder, seconds):
    rng, folder = np.random.default_rng(0), Path(folder)
    with open(folder/"data.jsonl", "w") as f:
        for i in range(24):
            sf.write(folder/f"{i}.wav", .1*rng.standard_normal(int(rng.uniform(.6, 1)*seconds*16000)), 16000)
            text = " ".join(["seven"]*rng.integers(1, 5))
            f.write(json.dumps(dict(audio_path=f"{i}.wav", text=text, language="en")) + "\\n")
    return folder/"data.jsonl"

def one(folder, data, i, o):
    cfg = dict(model_id=folder, device="cpu", train_data=data, eval_fraction=0., max_steps=2, max_new_tokens=20,
               eval_before=False, cache="none", batch_tokens=0, tracking="none", cache_dir=folder/"cache")
    cfg = RunConfig(**(cfg | o | dict(output_dir=folder/f"run{i}")))
    shapes.clear()
    peak = Peak()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Done):
        trainer.train(cfg, verbose=False, callbacks=[peak])
    shape = max(shapes, key=lambda o: o.rows*o.length)
    return peak.gb, estimate_memory(cfg, shape).total

model, seconds, runs = map(json.loads, sys.argv[1:])
with tempfile.TemporaryDirectory() as d:
    d = Path(d)
    make_tiny_model(**model).save_pretrained(d)
    write_tekken(d/"tekken", model["window_seconds"])
    make_processor(d/"tekken").save_pretrained(d)
    data = clips(d, seconds)
    print(json.dumps([one(d, data, i, o) for i,o in enumerate(runs)]))
"""
WIDE = dict(hidden_size=256, encoder_layers=2, decoder_layers=2)
FULL, CHECK = dict(method="full"), dict(gradient_checkpointing=True)
NONE, SPLIT = (dict(packing=o) for o in ("none", "split"))
MODELS = { # each setting once, and what takes the most: logits, weights, activations, an evaluation
    "32k words, 8 s windows": (dict(vocab_size=32_000, window_seconds=8), 3, [
        NONE | dict(batch_size=8), NONE | dict(batch_size=4, train_audio_tower=True),
        NONE | dict(batch_size=4, attention="eager"), SPLIT | FULL | CHECK | dict(batch_size=8),
        SPLIT | dict(batch_size=8, batch_tokens=350, train_projector=True, cache="encoder"),
        SPLIT | FULL | dict(batch_size=2, optimizer="adafactor"), SPLIT | FULL | dict(batch_size=2, optimizer="sgd")]),
    "131k words, 8 s windows": (dict(vocab_size=131_072, window_seconds=8, hidden_size=128), 3,
                                [SPLIT | CHECK | dict(batch_size=8)]),
    "bytes, 30 s windows": (dict(vocab_size=320, window_seconds=30), 6, [
        SPLIT | dict(batch_size=6), SPLIT | CHECK | dict(batch_size=6),
        SPLIT | dict(batch_size=2, eval_fraction=.2, eval_batch_size=4, cache="encoder")]), # most while measuring
}


@pytest.mark.parametrize("name", MODELS)
def test_within_20_percent(name):
    model, seconds, runs = MODELS[name]
    found = last_json(warm(CODE, *map(json.dumps, (WIDE | model, seconds, runs)), check=True).stdout)
    table = "\n".join(f"{real:7.3f} GB {guess:7.3f} estimated {guess/real - 1:+6.1%}  {o}"
                      for o,(real,guess) in zip(runs, found))
    print(f"{name}\n{table}")
    assert all(abs(guess/real - 1) < .2 for real,guess in found), table
