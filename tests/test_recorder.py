"""The recorder in a real browser: JupyterLab and Notebook 7, a microphone that plays recorded speech, lost connections, killed kernels, hostile input."""
import json, os, re, shutil, subprocess, time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from browser import Proxy, Server, browser, cell, cell_output_text, new_notebook, open_notebook, reconnect, restart_kernel, run_cell, save, screenshot, wait_for, wait_idle
from recorder_page import HOOKS, RATE, RecorderPage, check_clips, correlation, heard, no_audio_in, open_recorder, rows, speech_wav
from voxtral_nb.audio import read_audio
from voxtral_nb.config import RunConfig
from voxtral_nb.dataset import SpeechDataset
from voxtral_nb.languages import phrases
from voxtral_nb.runs import dry_run

EN = phrases("en")


@pytest.fixture(scope="module")
def mic(tmp_path_factory): return speech_wav(tmp_path_factory.mktemp("mic")/"mic.wav")

@pytest.fixture(scope="module")
def source(mic): return heard(mic)

@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("notebooks"), hosts=["recorder.test"]) as server: yield server

@pytest.fixture(scope="module")
def chrome(mic):
    with browser(mic) as context: yield context


class Desk:
    "A place to record at: each recorder in a notebook and on a dataset folder of its own."
    def __init__(self, server, context, name): self.server, self.context, self.name, self.notebooks = server, context, name, {}

    def notebook(self, args="language='en'", folder=None, more=(), before=""):
        name = f"{self.name}-{len(self.notebooks)}.ipynb"
        self.folder = self.server.folder/(folder or name.removesuffix(".ipynb"))
        code = f"{before}from voxtral_nb.recorder import Recorder\nrec = Recorder({str(self.folder)!r}, {args})\nrec"
        self.notebooks[name] = new_notebook(self.server.folder, name, [code, *more])
        return self.notebooks[name]
    def open(self, args="language='en'", url=None, context=None, agree=True, **kwargs):
        rec = open_recorder(context or self.context, (self.server, url) if url else self.server, self.notebook(args, **kwargs))
        rec.folder, rec.name = self.folder, list(self.notebooks)[-1]
        return rec.agree() if agree else rec
    def close(self):
        for p in self.context.pages: p.close()
        for s in self.server.api("api/sessions"): self.server.api(f"api/sessions/{s['id']}", "DELETE")

@pytest.fixture
def desk(lab, chrome, request):
    d = Desk(lab, chrome, request.node.name.removeprefix("test_").replace("[", "-").replace("]", ""))
    chrome.log.clear()
    yield d
    d.close()


def dialogs(page):
    "Close what JupyterLab asks, as a person would; its text."
    texts = []
    while (d := page.locator(".jp-Dialog")).count():
        texts.append(d.last.inner_text())
        page.keyboard.press("Escape")
        time.sleep(.2)
    return texts

def no_errors(context):
    "Nothing went wrong in the page unseen."
    assert not (bad := [o for o in context.log if o.startswith("uncaught")]), bad


# The whole story

def test_story(desk, source, tmp_path):
    "Open, consent, read three prompts, read one again, skip one, bring two files, reload, restart, go on; then the folder is ready to train on."
    rec = desk.open(agree=False)
    page, folder, long = rec.page, rec.folder, {}
    # nothing is recorded before the speaker has agreed
    assert rec.part("agree").is_visible() and not rec.part("prompt").is_visible()
    rec.key("r"); time.sleep(.5)
    assert rec.root.get_attribute("data-phase") == "idle" and rec.seen("tracks") == []
    rec.shot("consent")
    rec.agree().shot("ready")
    consent = json.loads((folder/"consent.json").read_text())["consents"]
    assert len(consent) == 1 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", consent[0]["accepted_at"]) and consent[0]["version"]

    # three prompts; the second one twice
    assert rec.prompt == EN[0].text and rec.progress.startswith("Prompt 1 of 10")
    seconds = rec.record(3)
    assert rec.root.locator("[data-vx=device] option").count() > 1
    asked = rec.seen("asked")["audio"]
    assert [asked[k] for k in ("echoCancellation", "noiseSuppression", "autoGainControl")] == [False]*3
    rec.shot("review")
    rec.key("p")
    wait_for(lambda: rec.seen("played") == 1, 10, "the take to be played")
    assert abs(rec.page.evaluate("() => window.seen.sound.duration") - seconds) < .05
    rec.key("p")
    long[rec.keep()] = seconds
    rec.shot("kept")
    assert rec.prompt == EN[1].text
    rec.record(2)
    seconds = rec.record(3.3)
    assert rec.part("take").count() == 2 and rec.part("take").nth(1).get_attribute("aria-checked") == "true"
    rec.shot("two-takes")
    long[rec.keep()] = seconds
    rec.start(); time.sleep(1); rec.shot("recording"); time.sleep(1.5); rec.stop()
    seconds = rec.expected()
    rec.part("transcript").fill("What was really said.")
    long[rec.keep()] = seconds
    rec.key("s")
    rec.wait_said("Skipped")
    assert rec.prompt == EN[4].text and rec.progress.startswith("Prompt 5 of 10")

    # two files, one of 25 MB; what is wrong is seen before anything is saved
    rng, speech = np.random.default_rng(0), source[5*RATE:9*RATE]
    sf.write(tmp_path/"short.flac", speech, RATE)
    big = np.tile(np.repeat(source[:10*RATE], 3), 14)[:int(6.51e6)]
    sf.write(tmp_path/"big.wav", np.stack([big, big], 1) + .001*rng.standard_normal((len(big), 2)), 48_000, subtype="PCM_16")
    assert 25e6 < (tmp_path/"big.wav").stat().st_size < 27e6
    (tmp_path/"notes.mp3").write_text("this is no sound")
    rec.upload(tmp_path/"short.flac", tmp_path/"big.wav", tmp_path/"notes.mp3")
    rec.wait_said("Look at the list")
    assert rec.root.locator("tbody tr").count() == 3 and len(rows(folder)) == 3
    rec.shot("upload-problems")
    rec.root.get_by_label("Transcript of short.flac").fill("A short one."); page.keyboard.press("Tab")
    rec.root.get_by_label("Transcript of big.wav").fill("A very long one."); page.keyboard.press("Tab")
    wait_for(lambda: rec.part("save").inner_text() == "Save 2 of 3 files", 10, "two files to be ready")
    rec.click("save")
    rec.wait_said("2 files saved, 1 left to mend")
    assert {r["text"]: r["source"] for r in rows(folder)[3:]} == {"A short one.": "upload", "A very long one.": "upload"}
    rec.click("tab-saved"); rec.shot("saved"); rec.click("tab-record")

    # reload, restart, go on where it was
    save(page)
    rec.reload()
    assert rec.prompt == EN[4].text and rec.part("tab-saved").inner_text() == "Saved 5"
    seconds = rec.record(2.5)
    long[rec.keep()] = seconds
    restart_kernel(page)
    rec.key("s")
    rec.wait_said("run this cell again", 30)
    rec.shot("kernel-restarted")
    rec.show()
    assert not rec.part("agree").count() and rec.prompt == EN[5].text
    seconds = rec.record(2.5)
    long[rec.keep()] = seconds

    # what is on the disk
    assert len(long) == 5
    ds = check_clips(folder, source, long)
    assert [r["text"] for r in ds if r["source"] == "recording"] == [EN[0].text, EN[1].text, "What was really said.", EN[4].text, EN[5].text]
    assert [r["prompt_id"] for r in ds if r["source"] == "recording"] == [EN[i].id for i in (0, 1, 2, 4, 5)]
    assert len({r["speaker"] for r in ds}) == 1
    written = "".join(f.read_text() for f in folder.rglob("*.json*") if f.is_file())
    for word in ("fake", os.environ.get("USER") or "no user"): assert word.lower() not in written.lower()
    save(page)
    no_audio_in(desk.notebooks[rec.name])
    no_errors(desk.context)

    # training on it starts
    d = dry_run(RunConfig(model_id="tiny", train_data=str(folder), eval_fraction=.3, max_seconds=10, on_bad="skip", max_steps=2, batch_size=2, output_dir=str(tmp_path/"run"), tracking="none", device="cpu"))
    assert d.to_dict(), d
