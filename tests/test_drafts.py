"""A round of drafting and correcting, headless; drafting that is killed goes on where it was."""
import json, os, signal, subprocess

import numpy as np
from browser import wait_for
from conftest import command, warm
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.data.audio import write_wav
from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.data.sources import load_speech
from voxtral_nb.model.cache import cache_rows, cached_features
from voxtral_nb.model.models import load_voxtral
from voxtral_nb.model.prepare import prepare_model
from voxtral_nb.model.word_times import align_methods, alignment_folder, find_word_times
from voxtral_nb.record.drafts import Drafts, draft_row
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
                     more=dict(max_steps=2, max_eval_clips=2))
    assert (r["trained"], r["drafts"], r["accepted"], r["left"]) == (True, 120, 16, 104)
    assert 0 < r["keystrokes_of_typing_after"] < 1 and (tmp_path/"run"/"final-model").is_dir()
    rows = list(SpeechDataset.open(r["recordings"]))
    assert {o["accepted"] for o in rows} <= {"corrected", "heard"} and len(rows) == 16
    assert not any(str(tmp_path) in json.dumps(o) for o in [*rows, *Drafts(r["recordings"]).refresh().rows.values()])


def test_killed(tmp_path):
    "SIGKILL while drafts are written: none is lost or doubled, and the next run does only what is left."
    make_talk(tmp_path, 24)
    p = subprocess.Popen([*warm.python, *DRAFT, str(tmp_path), *FLAGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    file = tmp_path/"drafts.jsonl"
    wait_for(lambda: file.exists() and file.stat().st_size or p.poll() is not None, "a draft", .005)
    os.kill(p.pid, signal.SIGKILL)
    p.communicate()
    first = file.read_bytes()
    there = len(Drafts(tmp_path).refresh().rows)
    assert 0 < there <= 24
    said = json.loads(warm.run(*DRAFT, tmp_path, *FLAGS, "--accept-sure", "0.9", check=True).stdout)
    assert said["drafts"] == 24 and said["unseen"] == said["accepted"] > 12
    whole = file.read_bytes()
    assert whole.startswith(first[:first.rfind(b"\n") + 1]) # what was there stays
    ids = [json.loads(o)["id"] for o in whole.splitlines()]
    assert len(ids) == len(set(ids)) == 24
    assert {o["accepted"] for o in SpeechDataset.open(tmp_path)} == {"unseen"}


def test_a_withdrawn_consent_reaches_audio_drafts_and_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("VOXTRAL_NB_CACHE", str(tmp_path/"cache"))
    make_talk(folder := tmp_path/"mine", 4)
    drafts = Drafts(folder)
    drafts.add([draft_row("talk.wav", i, i + 1, f"said {i}", [("said", .9)], language="en") for i in range(4)])
    for id, (who, given) in zip([*drafts.refresh().rows], [("ana", "v1")]*2 + [("ben", "v2")]):
        drafts.accept(id, speaker=who, consent=given)
    clips = load_speech(folder).dataset
    cfg = RunConfig(model_id="tiny", device="cpu", cache="mel", packing="none", train_data=folder)
    model, processor = load_voxtral("tiny", device="cpu", verbose=False)
    cache_rows(clips, prepare_model(model, cfg, verbose=False), processor, cfg, verbose=False)
    find_word_times(clips, align_methods("energy", device="cpu"))
    def there(): # clips in the caches
        lines = [o for f in alignment_folder().glob("*.jsonl") for o in f.read_text().splitlines()]
        return sum(o.clips for o in cached_features()), len(lines)
    assert there() == (3, 3)
    r = command("voxtral-data", "withdraw", folder, tmp_path/"new", "--consent", "v1", "--erase", check=True)
    assert "talk.wav still holds what was drafted and accepted" in r.stderr, r.stderr
    assert [o["consent"] for o in SpeechDataset.open(folder)] == ["v2"]
    assert [json.loads(o)["text"] for o in (folder/"drafts.jsonl").read_text().splitlines()] == ["said 2", "said 3"]
    assert [o["text"] for o in Drafts(folder).queue()] == ["said 3"] # nobody is asked to accept them again
    assert len([*(folder/"wavs").iterdir()]) == 1 and there() == (0, 1) # features lie in one file: it goes
    assert "said 0" not in "".join(o.read_text() for o in tmp_path.rglob("*.json*"))
