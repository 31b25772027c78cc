"""Words while one speaks: the page of a live transcription in a notebook, in a demo and in the recorder, in a real
browser with a microphone that plays recorded speech; a model slower than speech, and no microphone at all."""
import json, re, shutil

import numpy as np
import pytest
import soundfile as sf
from browser import (MIC_RATE, Server, browser, find, free_port, microphone_wav, new_notebook, screenshot, wait_for)
from conftest import BIN, warm
from recorder_page import HOOKS, RecorderPage, axe, no_audio_in, no_errors, open_recorder

from test_demo import choose, chosen, serving, transcribed
from voxtral_nb.core.assets import sample_speech, tiny_path
from voxtral_nb.data.audio import read_audio, resample, write_wav
from voxtral_nb.measure.evaluation import transcribe
from voxtral_nb.model.models import load_voxtral

SHOW = "from voxtral_nb import Live\nlive = Live('tiny-realtime', longest=60)\nlive"
SLOW = """import time
from voxtral_nb.model.live import LiveStream
step = LiveStream._step
def slow(self, mel):
    time.sleep(.25) # for 80 ms of sound
    step(self, mel)
LiveStream._step = slow
"""
SEEN = """() => { const box = document.querySelector('[data-vx=transcript]'), seen = window.words = [];
    new MutationObserver(() => seen.push([box.innerText, document.querySelector('[data-vx=figures]').innerText]))
        .observe(box, { childList: true, subtree: true }) }"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    "Spoken digits for the microphone, and what they are."
    rows = [json.loads(o) for o in sample_speech("base").read_text().splitlines()[1:6]]
    pause = np.zeros(8_000, np.float32)
    x = np.concatenate([pause, pause, pause, *(o for r in rows for o in (
        read_audio(sample_speech("base").parent/r["audio_path"]), pause)), pause])
    return microphone_wav(tmp_path_factory.mktemp("mic")/"mic.wav", x, 16_000), x


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("live")) as o: yield o

@pytest.fixture(scope="module")
def chrome(clip):
    with browser(clip[0], loop=False) as context: yield context


def open_live(desk, before="", context=None):
    book = new_notebook(desk.server.folder, f"{desk.name}.ipynb", [before + SHOW])
    return open_recorder(context or desk.context, desk.server, book), book


def errors(said, page, **how):
    """Share of words that differ from what the model makes of the whole sound that the page was given: a busy browser
    plays its microphone late and with gaps. Some differ at the borders of parts: that no sound is lost is tested with
    the page's messages, in share/04_live."""
    import jiwer
    x = resample(page.pcm().astype(np.float32)/32768, MIC_RATE, 16_000)
    meant = transcribe(*load_voxtral("tiny-realtime", verbose=False), [x], verbose=False, **how)[0]
    print(f"{said!r} of {meant!r}")
    return jiwer.wer(meant, said or "-")


def test_words_appear_while_one_speaks(desk, clip):
    x = clip[1]
    live, book = open_live(desk)
    live.shot("live-ready")
    live.page.evaluate(SEEN)
    live.start()
    text = lambda: live.part("transcript").inner_text()
    wait_for(lambda: len(text().split()) > 3, "words")
    live.shot("live-speaking")
    heard = lambda: float(re.match(r"[\d.]+", live.part("figures").inner_text())[0])
    wait_for(lambda: heard() > len(x)/16_000, "the end of the clip")
    stopped = heard()
    live.stop()
    wait_for(lambda: "written to its end" in live.part("figures").inner_text(), "the end")
    words = live.page.evaluate("() => window.words")
    first = next(float(f.split()[0]) for t, f in words if re.match("[a-z]{3}", t))
    assert first < stopped, words # it was shown while one spoke
    assert errors(text(), live) <= .5, text()
    live.shot("live-written")
    assert axe(live.root) == []
    live.key("c")
    live.wait_said("Cleared")
    assert "Press Start" in text()
    no_errors(desk.context)
    no_audio_in(book)


def test_a_slow_machine_loses_nothing(desk):
    "The page says that the words come late; after Stop the rest is written."
    live, _ = open_live(desk, SLOW)
    live.start()
    live.wait_said("slower than you speak")
    live.shot("live-slow")
    live.key("r")
    live.phase("writing")
    live.key("r") # not now
    live.wait_said("still being written")
    wait_for(lambda: "written to its end" in live.part("figures").inner_text(), "the end")
    assert errors(live.part("transcript").inner_text(), live) <= .5


def test_no_microphone(desk):
    with browser(fake_device=False) as context:
        live, _ = open_live(desk, context=context)
        live.key("r")
        said = live.wait_said("No microphone")
        assert "press Start" in said and "upload" not in said
        live.phase("idle")


def test_the_recorder_shows_what_a_model_hears(desk):
    "Beside the prompt, while one reads; the clip that is kept is what it heard."
    cell = ("from voxtral_nb import Live\nfrom voxtral_nb.record.recorder import Recorder\n"
            "rec = Recorder('voice_live', ['six three one seven zero'], live=Live('tiny-realtime'))\nrec")
    folder = desk.server.folder
    rec = open_recorder(desk.context, desk.server, new_notebook(folder, f"{desk.name}.ipynb", [cell])).agree()
    rec.start()
    written = lambda: rec.part("written").inner_text()
    wait_for(lambda: len(written().split()) > 3, "words")
    rec.phase("recording") # they came while the speaker was reading
    rec.shot("recorder-live")
    rec.stop()
    wait_for(lambda: rec.part("takes").count() and "Take of" in rec.status, "the take")
    wait_for(lambda: errors(written(), rec) <= .5, "the last words", 1)
    rec.keep()
    row = json.loads((folder/"voice_live"/"data.jsonl").read_text())
    kept, _ = sf.read(folder/"voice_live"/row["audio_path"], dtype="int16")
    assert (kept == rec.pcm()).all()
    assert axe(rec.root) == []
    no_errors(desk.context)


LONG = """import json, resource, sys
from voxtral_nb.model.live import stream_recording
from voxtral_nb.model.models import load_voxtral
at = {}
for o in stream_recording(*load_voxtral("tiny-realtime", device="cpu", verbose=False), sys.argv[1]):
    at[int(o["written"])//30] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024 # MB
print(json.dumps([*at.values()]))"""


def test_a_long_recording_takes_the_memory_of_a_short_one(tmp_path, clip):
    "Two minutes, which as activations of the whole would be hundreds of MB: most in the first half minute, and after."
    wav = write_wav(tmp_path/"long.wav", np.tile(clip[1], 120*16_000//len(clip[1]) + 1))
    peaks = json.loads(warm(LONG, wav, check=True).stdout.splitlines()[-1])
    print(f"at most {peaks} MB, by half minutes")
    assert len(peaks) >= 4 and peaks[-1] - peaks[0] < 30, peaks


# In a demo

class DemoPage(RecorderPage):
    @property
    def root(self): return find(self.page, ".vx")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    "What `voxtral-demo FOLDER` serves of a folder with a Voxtral Realtime."
    tmp, port = tmp_path_factory.mktemp("live_demo"), free_port()
    folder = shutil.copytree(tiny_path("tiny-realtime"), tmp/"streaming")
    args = [*warm.python, BIN/"voxtral-demo", folder, "--port", port, "--limit-seconds", 40]
    with serving(*args, cwd=tmp, port=port) as url: yield url


def test_words_appear_in_a_demo_while_one_speaks(demo, clip):
    "In the page that everybody can use: with the delay that was chosen, the lag that is measured, and its limits."
    wav, x = clip
    asked = []
    with browser(wav, loop=False) as context:
        context.on("request", lambda o: asked.append(o.url))
        page = context.new_page()
        page.add_init_script(HOOKS)
        page.goto(demo)
        live = DemoPage(page)
        live.root.wait_for()
        live.part("delay").select_option("960")
        screenshot(page, "demo-live-ready")
        page.evaluate(SEEN)
        live.part("record").click()
        live.phase("recording")
        text, figures = (lambda: live.part("transcript").inner_text()), (lambda: live.part("figures").inner_text())
        wait_for(lambda: len(text().split()) > 3, "words")
        screenshot(page, "demo-live-speaking")
        heard = lambda: float(re.match(r"[\d.]+", figures())[0])
        wait_for(lambda: heard() > len(x)/16_000, "the end of the clip")
        stopped = heard()
        live.part("record").click()
        wait_for(lambda: "written to its end" in figures(), "the end")
        words = page.evaluate("() => window.words")
        t, first = next((t, f) for t, f in words if re.match("[a-z]{3}", t))
        assert float(first.split()[0]) < stopped and "(delay 960 ms, " in first, words
        assert errors(text(), live, delay_ms=960) <= .5
        screenshot(page, "demo-live-written", full_page=True)
        row = json.loads(sample_speech("base").read_text().splitlines()[1]) # a file, as before
        choose(page, sample_speech("base").parent/row["audio_path"])
        chosen(page)
        assert transcribed(page)
        assert axe(live.root) == []
        bad = [o for o in context.log if o.startswith(("error", "uncaught"))]
    assert not bad, bad
    assert not [o for o in asked if not o.startswith((demo, "data:", "blob:"))], "the page asks somebody else"
