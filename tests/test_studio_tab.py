"""`voxtral-studio` as a person uses it: started in a terminal, its page in a real Chromium. Speech, training, a reload
and a second tab during training, Ctrl-C with both of its answers."""
import urllib.error, urllib.request

import numpy as np
import pytest
import soundfile as sf
from browser import browser, wait_for
from recorder_page import no_errors, speech_wav
from studio_page import Tab, TabRecorder
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.data.audio import resample
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.studio.project import MACHINES, Project
from voxtral_nb.testing.fake_hub import FakeHub

LONG = MACHINES["tiny"].settings | dict(device="cpu", max_steps=20_000, batch_size=1, gradient_accumulation_steps=1,
                                       max_eval_clips=1, max_new_tokens=12, eval_every=20_000, cache="none")


@pytest.fixture(scope="module")
def hub():
    with FakeHub() as h: yield h


@pytest.fixture(scope="module")
def tab(tmp_path_factory, hub):
    "One server for the tests of this module, without a token for the Hub."
    home = tmp_path_factory.mktemp("tab")
    with Tab(home/"projects", "voice", "other", env=hub.env(VOXTRAL_NB_HISTORY=str(home/"history.jsonl"))) as o: yield o


def test_it_asks_for_its_token_and_answers_to_its_name_only(tab):
    def get(url, **headers):
        try: return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60).read().decode()
        except urllib.error.HTTPError as e: return e.code
    assert "login" in get(tab.url.partition("?")[0]) and "voice" not in get(tab.url.partition("?")[0])
    assert get(tab.url, Host="evil.example") == 403
    assert "voice" in get(tab.url) and "other" in get(tab.url)


def test_a_long_recording_is_drafted_and_corrected(tab, tmp_path):
    "It comes from the browser in parts, a model drafts it in a process, and the corrections are the speech."
    speech = SpeechDataset.open(sample_speech("accent_eval"))
    x = np.concatenate([np.r_[np.zeros(14_000, np.float32), speech.audio(i)] for i in range(6)])
    sf.write(tmp_path/"my talk.wav", resample(x, 16_000, 48_000), 48_000, subtype="PCM_24")
    Project(tab.folder/"other").set(settings=LONG, language="en")
    with browser(height=1400) as context:
        s = tab.open(context, 1)
        s.root.locator("#vs-recordings > summary").click()
        s.root.locator("#vs-recording").set_input_files(tmp_path/"my talk.wav")
        s.says("my_talk.wav")
        got, = (tab.folder/"other"/"speech"/"recordings").iterdir()
        assert got.read_bytes() == (tmp_path/"my talk.wav").read_bytes() and got.stat().st_size > 1 << 20
        s.press("Draft the transcripts")
        s.wait("Speech", "drafts to correct", 120)
        s.press("Correct the drafts")
        review = TabRecorder(s.page)
        review.part("draft").wait_for() # the recorder was there before
        review.key("p")
        wait_for(lambda: review.seen("played"), 20, "the clip to be played")
        review.part("transcript").fill("seven seven")
        s.page.keyboard.press("Control+Enter")
        review.wait_said("Saved as ")
        s.wait("Speech", "1 clip")
        s.look("drafts")
        no_errors(context)
    assert [r["text"] for r in Project(tab.folder/"other").speech] == ["seven seven"]


def test_from_speech_to_training_in_two_tabs(tab, tmp_path):
    "The last test of the module: it ends the server."
    p = Project(tab.folder/"voice")
    p.set(settings=LONG)
    with browser(speech_wav(tmp_path/"mic.wav"), height=1400) as context:
        listed = context.new_page()
        listed.goto(tab.url)
        listed.get_by_role("link", name="voice").click()
        listed.locator(".vs[data-ready=true]").wait_for(timeout=60_000)
        assert "token" not in listed.url and "project=0" in listed.url
        s = tab.open(context)
        s.root.locator("#vs-language").select_option("en")
        rec = s.recorder().agree()
        for _ in range(2):
            rec.record(1.5)
            rec.keep()
        s.wait("Speech", "2 clips")
        s.go("Train").press("Start")
        s.wait("Train", "step ")
        s.reload()
        assert s.state("Train").startswith("running") and s.tab("Train").get_attribute("aria-current") == "step"
        second = tab.open(context)
        second.wait("Train", "step ")
        second.press("Stop en-lora")
        s.wait("Train", "en-lora stopped")
        second.wait("Train", "en-lora stopped")
        s.press("Resume en-lora")
        for o in (s, second): o.wait("Train", "step ")
        assert len(tab.kernels()) == 3
        for o in context.pages: o.close(run_before_unload=True)
        wait_for(lambda: not tab.kernels(), 20, "the kernels of tabs that are closed to end")
        no_errors(context)
    assert "train en-lora: goes on; voxtral-studio finds it again" in tab.ctrl_c("l")
    assert p.run("en-lora").state == "running"
    with Tab(tab.folder, "voice", env=tab.env) as again:
        assert "asked to stop" in again.ctrl_c("s")
        wait_for(lambda: p.run("en-lora").state != "running", 60, "the run to stop")
        assert p.run("en-lora").resumable
