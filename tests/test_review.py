"""The review of drafts in a real browser: hear a clip, correct the words that the model was not sure of, accept, undo;
its look in both colours, wide and narrow."""
import time

import numpy as np
import pytest
from browser import Server, browser, new_notebook, screenshot, set_theme, wait_for
from recorder_page import axe, no_audio_in, no_errors, open_recorder, rows
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.data.audio import write_wav
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.record.drafts import Drafts, draft_row

SAID = [("nine eight", [.99, .97]), ("nine won nine zero sevn", [.98, .41, .97, .96, .7]),
        ("seven <i>eight</i>", [.9, .81]), ("three two", [.9, .5]), ("", [])]


def make_drafts(folder):
    "A recording of some clips of the sample speech, with drafts."
    folder.mkdir()
    speech = SpeechDataset.open(sample_speech("accent_eval"))
    sounds = [np.r_[np.zeros(8000, np.float32), speech.audio(i)] for i in range(len(SAID))]
    ends = np.cumsum([len(x) for x in sounds])/16_000
    write_wav(folder/"talk.wav", np.concatenate(sounds))
    Drafts(folder).add([draft_row("talk.wav", b - len(x)/16_000, b, text, [*zip(text.split(), sure)], .9, language="en")
                        for x, b, (text, sure) in zip(sounds, ends, SAID)])
    return folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("review")) as o: yield o

@pytest.fixture(scope="module")
def chrome():
    with browser() as context: yield context


def open_review(desk, args=""):
    folder = make_drafts(desk.server.folder/desk.name)
    book = new_notebook(desk.server.folder, f"{desk.name}.ipynb",
                        ["from voxtral_nb.record.review import Review\n"
                         f"review = Review({str(folder)!r}, {args})\nreview"])
    return open_recorder(desk.context, desk.server, book), folder, book


def test_review(desk):
    "Hear, correct, accept, leave for later, reject, undo, go back; every decision is on the disk at once."
    rev, folder, book = open_review(desk, "speaker='ana'")
    said = lambda: rev.part("draft").inner_text()
    transcript = rev.part("transcript")
    assert said() == SAID[3][0] and rev.progress.startswith("5 drafts left") # least sure first
    rev.key("s") # later
    wait_for(lambda: said() == SAID[1][0], "the next draft")
    assert rev.part("doubt").all_inner_texts() == ["won", "sevn"]
    rev.key("p")
    wait_for(lambda: rev.seen("played") == 1, "the clip to be played")
    length = next(o for o in Drafts(folder).refresh().rows.values() if o["text"] == SAID[1][0])["duration"]
    # it is not a number until the browser has read the head of the file
    wait_for(lambda: abs(rev.page.evaluate("() => window.seen.sound.duration") - length) < .05, "its length")
    rev.key("e") # goes to the first doubtful word, and selects it
    assert rev.page.evaluate("() => window.getSelection().toString()") == "won"
    rev.page.keyboard.type("one") # keys are letters here
    assert transcript.input_value() == "nine one nine zero sevn"
    assert "Accept correction" in rev.part("keep").inner_text()
    transcript.fill("nine one nine zero seven")
    rev.page.keyboard.press("Control+Enter")
    rev.wait_said(r"Saved as recording_0000\.wav")
    row, = rows(folder)
    assert [row[k] for k in ("text", "accepted", "draft_text", "speaker", "language")] == [
        "nine one nine zero seven", "corrected", SAID[1][0], "ana", "en"]
    assert said() == SAID[2][0] # what is in it is text, never HTML
    rev.key("a")
    rev.wait_said("without listening")
    assert [r["accepted"] for r in rows(folder)] == ["corrected", "unheard"]
    rev.key("z")
    wait_for(lambda: said() == SAID[2][0] and len(rows(folder)) == 1, "the draft to come back")
    rev.key("d")
    rev.wait_said("Rejected")
    assert said() == "The model heard no words."
    rev.key("a") # there is nothing to accept: a message, and nothing is written
    rev.wait_said("type what was said")
    rev.key("b")
    wait_for(lambda: said() == SAID[2][0], "the way back")
    rev.part("options").locator("summary").click()
    rev.part("accept-sure").click()
    rev.wait_said("1 draft accepted")
    assert [r["accepted"] for r in rows(folder)] == ["corrected", "unseen"]
    rev.reload() # all of it comes from the folder
    assert rev.progress.startswith("2 drafts left · 2 accepted") and "1 rejected" in rev.progress
    no_errors(desk.context)
    no_audio_in(book)


def test_look(desk):
    "In both colours, wide and narrow: nothing overflows, and axe-core finds nothing."
    rev, *_ = open_review(desk)
    rev.key("s")
    rev.part("doubt").first.wait_for()
    for width in (390, 1400): # the next test has the page as it was, wide and light
        rev.page.set_viewport_size(dict(width=width, height=900))
        if width == 390: rev.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        for theme in ("dark", "light"):
            set_theme(rev.page, theme)
            time.sleep(.5)
            screenshot(rev.root, f"review-{width}-{theme}")
            assert rev.root.evaluate("(e) => e.scrollWidth <= e.clientWidth + 1"), (width, theme)
            assert axe(rev.root) == [], (width, theme)
