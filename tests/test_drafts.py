"""A round of drafting and correcting, headless; drafting that is killed goes on where it was."""
import json, os, signal, subprocess, time

import numpy as np
from conftest import warm
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.data.audio import write_wav
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.record.drafts import Drafts
from voxtral_nb.run.notebooks import run_notebook

DRAFT = ["-c", "from voxtral_nb.run.commands import voxtral_data as run; run()", "draft"]
FLAGS = ["--model-id", "tiny", "--language", "en", "--vad", "energy"]


def make_talk(folder, n):
    "A recording of some of the sample speech, a second apart."
    speech = SpeechDataset.open(sample_speech("base"))
    parts = [o for i in range(n) for o in (np.zeros(16_000, np.float32), speech.audio(i))]
    write_wav(folder/"talk.wav", np.concatenate(parts) + 1e-4*np.random.default_rng(0).standard_normal(
        sum(map(len, parts))).astype(np.float32))


def test_a_round(tmp_path, warm_kernels):
    r = run_notebook("draft_and_correct", output_dir=str(tmp_path/"run"), correct=16, verbose=False,
                     more=dict(max_steps=6))
    assert (r["trained"], r["drafts"], r["accepted"], r["left"]) == (True, 120, 16, 104)
    assert 0 < r["keystrokes_of_typing_after"] < 1 and (tmp_path/"run"/"final-model").is_dir()
    rows = list(SpeechDataset.open(r["recordings"]))
    assert {o["accepted"] for o in rows} <= {"corrected", "heard"} and len(rows) == 16
    assert not any(str(tmp_path) in json.dumps(o) for o in [*rows, *Drafts(r["recordings"]).refresh().rows.values()])


def test_killed(tmp_path):
    "SIGKILL while drafts are written: none is lost or doubled, and the next run does only what is left."
    make_talk(tmp_path, 40)
    p = subprocess.Popen([*warm.python, *DRAFT, str(tmp_path), *FLAGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    file = tmp_path/"drafts.jsonl"
    end = time.monotonic() + 120
    while not (file.exists() and file.stat().st_size) and p.poll() is None and time.monotonic() < end: time.sleep(.005)
    os.kill(p.pid, signal.SIGKILL)
    p.communicate()
    first = file.read_bytes()
    there = len(Drafts(tmp_path).refresh().rows)
    assert 0 < there <= 40
    said = json.loads(warm.run(*DRAFT, tmp_path, *FLAGS, "--accept-sure", "0.9", check=True).stdout)
    assert said["drafts"] == 40 and said["unseen"] == said["accepted"] > 20
    whole = file.read_bytes()
    assert whole.startswith(first[:first.rfind(b"\n") + 1]) # what was there stays
    ids = [json.loads(o)["id"] for o in whole.splitlines()]
    assert len(ids) == len(set(ids)) == 40
    assert {o["accepted"] for o in SpeechDataset.open(tmp_path)} == {"unseen"}
