"""Words while one speaks: the page of a live transcription in a real browser, with a microphone that plays recorded
speech; a model slower than speech, and no microphone at all."""
import json, re

import numpy as np
import pytest
from browser import Server, browser, microphone_wav, new_notebook, open_notebook, wait_for
from recorder_page import HOOKS, RecorderPage, axe, no_audio_in, no_errors

from voxtral_nb.core.assets import sample_speech
from voxtral_nb.data.audio import read_audio
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
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("live")) as o: yield o


def open_live(context, server, name, before=""):
    book = new_notebook(server.folder, f"{name}.ipynb", [before + SHOW])
    page = context.new_page()
    page.add_init_script(HOOKS)
    open_notebook(page, server, book.name)
    return RecorderPage(page).show(120), book


def errors(said, meant):
    """Share of words that differ. A busy browser plays its microphone a little late, and this small model then hears
    some words otherwise: that no sound is lost is tested with the page's messages, in share/04_live."""
    import jiwer
    return jiwer.wer(meant, said or "-")


def test_words_appear_while_one_speaks(server, clip):
    wav, x = clip
    meant = transcribe(*load_voxtral("tiny-realtime", verbose=False), [x], verbose=False)[0]
    with browser(wav, loop=False) as context:
        live, book = open_live(context, server, "speak")
        live.shot("live-ready")
        live.page.evaluate(SEEN)
        live.start()
        text = lambda: live.part("transcript").inner_text()
        wait_for(lambda: len(text().split()) > 3, 60, "words")
        live.shot("live-speaking")
        heard = lambda: float(re.match(r"[\d.]+", live.part("figures").inner_text())[0])
        wait_for(lambda: heard() > len(x)/16_000, 60, "the end of the clip")
        live.stop()
        wait_for(lambda: "written to its end" in live.part("figures").inner_text(), 60, "the end")
        words = live.page.evaluate("() => window.words")
        first = next(float(f.split()[0]) for t, f in words if re.match("[a-z]{3}", t))
        assert first < len(x)/16_000, words # it was shown while the clip went on
        assert errors(text(), meant) <= .5, (text(), meant)
        live.shot("live-written")
        assert axe(live.root) == []
        live.key("c")
        live.wait_said("Cleared")
        assert "Press Start" in text()
        no_errors(context)
        no_audio_in(book)


def test_a_slow_machine_loses_nothing(server, clip):
    "The page says that the words come late; after Stop the rest is written."
    wav, x = clip
    with browser(wav, loop=False) as context:
        live, _ = open_live(context, server, "slow", SLOW)
        live.start()
        live.wait_said("slower than you speak", 60)
        live.shot("live-slow")
        live.key("r")
        live.phase("writing")
        heard = live.seen("takes")[-1]
        live.key("r") # not now
        live.wait_said("still being written")
        wait_for(lambda: "written to its end" in live.part("figures").inner_text(), 120, "the end")
        said = live.part("transcript").inner_text()
        meant = transcribe(*load_voxtral("tiny-realtime", verbose=False), [x[:heard*16_000//44_100]], verbose=False)[0]
        assert meant and errors(said, meant) <= .6, (said, meant)


def test_no_microphone(server):
    with browser(fake_device=False) as context:
        live, _ = open_live(context, server, "none")
        live.key("r")
        said = live.wait_said("No microphone")
        assert "press Start" in said and "upload" not in said
        live.phase("idle")
