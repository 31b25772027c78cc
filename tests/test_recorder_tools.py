"""What the recorder offers round a take: the list of prompts, one's own texts, trimming, the check of room and level,
saved clips in pages, switches that last, a notebook that is opened again. One page does for many checks."""
import csv, json, os, re, time, zipfile

import numpy as np
import pytest
import soundfile as sf
from browser import Server, browser, cell, new_notebook, open_notebook, save, wait_for
from recorder_page import (HOOKS, RATE, TAIL, RecorderPage, axe, check_clips, heard, no_audio_in, no_errors,
                           open_recorder, rows, speech_wav)
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.record.languages import phrases

EN = phrases("en")


@pytest.fixture(scope="module")
def mic(tmp_path_factory): return speech_wav(tmp_path_factory.mktemp("mic")/"mic.wav")

@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("notebooks")) as server: yield server

@pytest.fixture(scope="module")
def chrome(mic):
    with browser(mic) as context: yield context


def texts(locator): return [o.inner_text() for o in locator.all()]


# What is read

RESULT = dict(before=None, after=dict(clips=[dict(reference="She sells sea shells.", errors=3, language="en"),
                                             dict(reference="Fine as it is.", errors=0, language="en")]))

def test_prompts_texts_and_switches(desk):
    "List, search, jump, back; a text of one's own; what a model got wrong; switches and speaker outlast the page."
    rec = desk.open("language='en', n=2")
    page, run = rec.page, desk.server.folder/"a-run"
    run.mkdir()
    (run/"eval_results.json").write_text(json.dumps(RESULT))
    # the list
    rec.click("list")
    rec.part("jump").first.wait_for()
    assert rec.part("jump").count() == 30 and f"of {len(EN)} prompts" in rec.part("prompts-count").inner_text()
    rec.click("prompts-next")
    wait_for(lambda: EN[30].text in rec.part("jump").first.inner_text(), "the second page")
    assert rec.part("prompts-query").evaluate("o => document.activeElement !== o")
    rec.part("prompts-query").fill(EN[40].text.split()[-1])
    wait_for(lambda: EN[40].text in rec.part("prompts-list").inner_text() and rec.part("jump").count() < 30,
             "a search")
    page.keyboard.press("Escape") # closes it, from the field too
    assert not rec.part("prompts").is_visible()
    rec.click("list")
    rec.part("jump").filter(has_text=EN[40].text).click()
    wait_for(lambda: rec.prompt == EN[40].text, "the jump")
    assert not rec.part("prompts").is_visible() and rec.root.evaluate("o => document.activeElement === o")
    rec.key("s")
    wait_for(lambda: rec.prompt == EN[0].text, "the next that is not read")
    rec.key("s")
    wait_for(lambda: rec.prompt == EN[1].text, "the second one")
    rec.key("b") # by the keyboard
    wait_for(lambda: rec.prompt == EN[0].text, "the prompt before")
    rec.key("b")
    assert "There is no prompt" in rec.wait_said("no prompt") # nothing lies before the first

    # all on offer is skipped: what next?
    for last in (False, True):
        prompt = rec.prompt
        rec.key("s")
        wait_for(lambda: rec.part("finished").is_visible() if last else rec.prompt != prompt, "the next prompt")
    said = rec.part("finished").inner_text()
    for what in ("2 more", "The 2 skipped ones", "Your own text", "What a model got wrong"):
        assert what in said, said
    rec.shot("what-next")
    rec.click("own-next")
    assert rec.part("own-text").evaluate("o => document.activeElement === o")
    rec.part("own-text").fill("The harbour is closed.\n\nAsk the pilot, who waits at the quay!")
    rec.click("own-add")
    rec.wait_said("2 phrases added")
    assert rec.prompt == "The harbour is closed." and rec.progress.startswith("Prompt 1 of 4")
    rec.click("list")
    rec.part("own-file").set_input_files([dict(name="bad.txt", mimeType="text/plain",
                                               buffer="caf\xe9".encode("latin-1"))])
    assert "UTF-8" in rec.wait_said("not UTF-8")
    rec.part("own-file").set_input_files([dict(name="poem.txt", mimeType="text/plain", buffer="Grün ist es.".encode())])
    rec.wait_said("1 phrase added")
    assert rec.prompt == "Grün ist es."
    rec.click("list")
    wait_for(lambda: rec.part("wrong-add").is_visible(), "the evaluation beside the dataset")
    rec.part("wrong-result").select_option(label=f"{desk.server.folder.name}/a-run")
    rec.click("wrong-add")
    rec.wait_said("1 phrase from the evaluation")
    assert rec.prompt == "She sells sea shells."
    rec.click("list")
    rec.part("own-remove").first.click()
    rec.wait_said("Removed")
    wait_for(lambda: rec.prompt == "Grün ist es.", "the text before")
    rec.click("list")

    # the switches
    rec.part("options").locator("summary").click()
    rec.click("size-3")
    rec.part("set-transcript").click()
    rec.part("set-auto_stop").click()
    rec.part("set-goal").fill("5")
    page.keyboard.press("Tab")
    wait_for(lambda: "of 5 min · about 15 min left" in rec.progress, "the goal")
    wait_for(lambda: not rec.part("transcript").is_visible(), "the transcript to be hidden")
    assert rec.part("prompt").evaluate("o => getComputedStyle(o).fontSize") == "44px"
    rec.part("new-speaker").fill("Ben Smith")
    page.keyboard.press("Tab")
    assert "not a pseudonym" in rec.wait_said("pseudonym")
    rec.part("new-speaker").fill("ben")
    page.keyboard.press("Tab")
    rec.part("agree").wait_for() # each speaker is asked
    rec.agree()
    assert "· ben" in rec.root.locator(".vx-who").inner_text()
    rec.shot("switched")
    rec.reload()
    assert "of 5 min" in rec.progress and not rec.part("transcript").is_visible()
    assert rec.part("set-auto_stop").is_checked() and not rec.part("set-auto_keep").is_checked()
    assert rec.part("speaker").locator("option").all_text_contents()[-1] == "ben"
    assert axe(rec.root) == []
    no_errors(desk.context)


# Saved clips

def voice(i, seconds=1):
    return .3*np.sin(np.arange(seconds*RATE)*(.05 + .001*i))*(np.arange(seconds*RATE) % 4000 < 3000)

def test_saved(desk, tmp_path):
    "Seventy clips: pages, search, filters, notes, many at once and back again, one's own file names, export."
    nb = desk.notebook()
    ds = SpeechDataset.create(desk.folder)
    doubt = dict(peak=.5, rms_dbfs=-20., clipping=0., silence=.73, snr_db=30., speech_dbfs=-18.)
    for i in range(70):
        ds.append(voice(i), f"Clip number {i}, row{i//10}.", RATE, "en", "ana", recorded=i < 60, take=f"{i:032x}",
                  flagged=True if i % 10 == 0 else None,
                  **(dict(quality=doubt) if i == 33 else {}),
                  **(dict(original_name=f"interview {i}.mp3") if i >= 60 else {}))
    rec = open_recorder(desk.context, desk.server, nb)
    page = rec.page
    rec.click("tab-saved") # also before anybody has agreed to anything
    clips = rec.root.locator("[data-clip]")
    count = lambda text: wait_for(lambda: rec.part("clips-count").inner_text() == text,
                                  f"{text!r}, not {rec.part('clips-count').inner_text()!r}")
    count("1 to 30 of 70 clips")
    assert clips.count() == 30 and "interview 69.mp3" in clips.first.inner_text()
    rec.click("clips-next")
    count("31 to 60 of 70 clips")
    rec.click("clips-next")
    count("61 to 70 of 70 clips")
    assert rec.part("clip-text").last.input_value() == "Clip number 0, row0." # the oldest is in reach
    rec.part("clip-play").last.click()
    wait_for(lambda: rec.seen("played") == 1, "the oldest clip to be played")
    rec.part("clip-text").last.fill("The first one.")
    page.keyboard.press("Tab")
    rec.wait_said("Corrected")
    assert rows(desk.folder)[0]["text"] == "The first one."
    # filters and search
    rec.part("clips-show").select_option("flagged")
    count("7 clips")
    rec.part("clips-show").select_option("doubtful")
    count("1 clip")
    assert "73% of it is silence" in rec.part("clip-doubt").inner_text()
    rec.part("clips-show").select_option("all")
    rec.part("clips-query").fill("INTERVIEW 6")
    count("10 clips")
    rec.part("clips-query").fill("no such clip")
    count("0 clips")
    rec.part("clips-query").fill("row5")
    count("10 clips")
    rec.part("clip-note").first.click()
    page.keyboard.type("a door slams")
    page.keyboard.press("Enter")
    rec.wait_said("Noted")
    rec.part("clips-query").fill("door")
    count("1 clip")
    assert [r["text"] for r in rows(desk.folder) if r.get("note") == "a door slams"] == ["Clip number 59, row5."]
    # many at once, and back
    rec.part("clips-query").fill("row5")
    count("10 clips")
    rec.click("choose-page")
    assert rec.part("chosen").inner_text() == "10 chosen"
    rec.part("choose").last.click()
    assert rec.part("chosen").inner_text() == "9 chosen" and not rec.part("choose-page").is_checked()
    rec.shot("saved-chosen")
    assert axe(rec.root) == []
    rec.click("delete-chosen")
    rec.wait_said("9 clips in the trash")
    assert len(rows(desk.folder)) == 61 and rec.part("tab-saved").inner_text() == "Saved 61"
    count("1 clip")
    rec.click("undo-saved")
    rec.wait_said("Undone")
    count("10 clips")
    rec.part("clips-query").fill("")
    count("1 to 30 of 70 clips")
    rec.click("choose-page")
    rec.click("choose-all")
    assert rec.part("chosen").inner_text() == "70 chosen"
    rec.click("delete-chosen")
    rec.wait_said("70 clips in the trash")
    assert rows(desk.folder) == [] and not any((desk.folder/"wavs").iterdir())
    rec.click("undo-saved")
    rec.wait_said("Undone")
    ds = SpeechDataset.open(desk.folder)
    assert len(ds) == 70 and ds.validate().problems == []
    # out of it
    rec.part("exports").locator("summary").click()
    got = {}
    for kind in ("zip", "csv", "ljspeech"):
        with page.expect_download() as d: rec.click(f"export-{kind}")
        d.value.save_as(got.setdefault(kind, tmp_path/d.value.suggested_filename))
        assert got[kind].read_bytes() == (desk.folder/"exports"/got[kind].name).read_bytes()
    with zipfile.ZipFile(got["zip"]) as z: z.extractall(tmp_path/"there")
    assert sorted(r["text"] for r in SpeechDataset.open(tmp_path/"there")) == sorted(r["text"] for r in ds)
    with open(got["csv"], encoding="utf-8-sig", newline="") as f: table = list(csv.DictReader(f))
    assert len(table) == 70 and {o["original_name"] for o in table} >= {"interview 60.mp3"}
    with zipfile.ZipFile(got["ljspeech"]) as z:
        lines = z.read("metadata.csv").decode().splitlines()
        assert all(f"wavs/{o.split('|')[0]}.wav" in z.namelist() for o in lines) and len(lines) == 70
    no_errors(desk.context)


# Silence, room and level

def one_word(path, every=None):
    """What the microphone gives: 4.5 s of a quiet room, 0.8 s of speech, and the room again: a check that begins up to
    2 s late hears the room first, and the speech in its five seconds. `every`: speech once in this many seconds; a take
    of that length holds all of it, whenever it begins."""
    rng = np.random.default_rng(0)
    x = heard(speech_wav(path.with_suffix(".speech.wav"), 6))
    at = int(np.convolve(np.abs(x[:5*RATE]), np.ones(RATE), "valid").argmax())
    word = x[at:at + int(.8*RATE)]
    room = lambda s: 2e-4*rng.standard_normal(int(s*RATE))
    word = .35*word/np.abs(word).max()
    parts = [room(every - .8), word]*40 if every else [room(4.5), word, room(120)]
    sf.write(path, np.concatenate(parts), RATE, subtype="PCM_16")
    return path

def test_silence_and_level(desk, tmp_path):
    """The check of room and level; a take that is mostly silence is told or refused, says what can be done, and is good
    once its ends are trimmed; the whole of it comes back with undo."""
    desk.context.hear(one_word(tmp_path/"word.wav"))
    rec = desk.open()
    fresh = lambda: (rec.click("mic"), rec.wait_said("is off")) # the file restarts with each opening
    assert rec.part("check").is_visible() and rec.root.locator(".vx-zone").bounding_box()["width"] > 20
    assert texts(rec.root.locator(".vx-scale span")) == ["-60 dB", "-40", "-24", "-6", "0"]
    rec.click("check-start")
    rec.wait_said("Listening to the room")
    assert rec.part("record").get_attribute("aria-disabled") == "true"
    rec.wait_said("Room and level are good")
    found = texts(rec.part("check-result").locator("li"))
    assert re.search(r"quiet enough", found[0]) and re.search("in the target zone", found[1]), found
    rec.shot("check-good")
    fresh()
    # nine tenths of it silence: refused, and A says why
    rec.record(10)
    assert not rec.part("check").is_visible()
    said = rec.wait_said("cannot be kept")
    assert "T leaves out" in said and "R records it again" in said and "D discards it" in said, said
    assert rec.part(
        "keep").get_attribute("aria-disabled") == "true" and "silen" in rec.part("problems").inner_text()
    rec.click("flag")
    rec.wait_said("Flagged")
    rec.key("a")
    rec.wait_said("cannot be kept")
    assert rows(rec.folder) == []
    whole = float(re.search(r"[\d.]+", rec.part("time").inner_text())[0])
    rec.key("t")
    rec.wait_said("are left out")
    rec.shot("trimmed")
    assert rec.part("problems").inner_text() == "" and rec.part("trim").get_attribute("aria-pressed") == "true"
    rec.key("t")
    rec.wait_said("is back")
    assert "silen" in rec.part("problems").inner_text()
    rec.key("t")
    rec.wait_said("are left out")
    rec.keep()
    row = rows(rec.folder)[0]
    assert .9 < row["duration"] < 1.9 and abs(row["duration"] + sum(row["trimmed"]) - whole) < .1, (row, whole)
    rec.key("z")
    rec.wait_said("Undone")
    assert rec.part("trim").is_visible() # the take is whole on disk
    rec.key("t")
    rec.wait_said("is back")
    assert abs(float(re.search(r"[\d.]+", rec.part("time").inner_text())[0]) - whole) < .1
    rec.key("d")
    rec.wait_said("Discarded")
    # three quarters: told
    desk.context.hear(one_word(tmp_path/"words.wav", every=2.4 + TAIL))
    fresh()
    rec.record(2.4)
    said = rec.wait_said("with a doubt")
    assert re.search(r"[67]\d% of it is silence", rec.part("problems").inner_text()), rec.part("problems").inner_text()
    assert "A keeps it anyway" in said and "Keep anyway" in rec.part("keep").inner_text()
    no_errors(desk.context)


# Reading something again

def test_read_again_replaces(desk, mic):
    "A prompt that is chosen again keeps its clip until the new take is kept; undo restores both as they were."
    rec = desk.open()
    rec.record(1.5)
    rec.keep()
    old = rows(rec.folder)[0]["take"]
    rec.key("b")
    wait_for(lambda: rec.prompt == EN[0].text, "the prompt before")
    assert "replaces the clip" in rec.part("readBefore").inner_text() and len(rows(rec.folder)) == 1
    rec.record(2)
    rec.key("a")
    rec.wait_said("Saved as .* The earlier clip is in the trash")
    new = rows(rec.folder)
    assert len(new) == 1 and new[0]["prompt_id"] == EN[0].id and new[0]["take"] != old
    rec.key("z")
    rec.wait_said("Undone")
    assert [r["take"] for r in rows(rec.folder)] == [old]
    check_clips(rec.folder, heard(mic))


# A microphone that never opens, a front end without input, a notebook that is opened again

HANGS = """() => { const m = navigator.mediaDevices, { getUserMedia, enumerateDevices } = m;
  m.getUserMedia = () => new Promise(() => {});
  m.enumerateDevices = async () => window.listed ? [{ kind: 'audioinput', deviceId: 'a', label: '' }] : [];
  window.hangs = { getUserMedia, enumerateDevices }; }"""

def test_microphone_that_never_opens(desk):
    "As Firefox does without a device: a message after five seconds; where somebody is asked, R gives up."
    rec = desk.open()
    rec.page.evaluate(HANGS)
    try:
        rec.key("r")
        rec.wait_said("Waiting for the microphone")
        assert rec.part("record").inner_text().startswith("Cancel")
        rec.wait_said("No microphone was found")
        assert rec.root.get_attribute("data-phase") == "idle" and "upload" in rec.status
        rec.page.evaluate("() => { window.listed = true; }")
        rec.key("r")
        rec.wait_said("Waiting for the microphone")
        time.sleep(1)
        rec.key("r")
        rec.wait_said("was not opened")
        assert rec.root.get_attribute("data-phase") == "idle"
    finally: rec.page.evaluate("() => Object.assign(navigator.mediaDevices, window.hangs)")


def test_opened_again(desk):
    """Where the kernel takes no input, the recorder appears all
    the same. Opened again with the kernel alive, the notebook shows no figures: the recorder is back, or the cell is to
    be run."""
    rec = desk.open("language='en'", before="get_ipython().kernel._allow_stdin = False\n", more=["1"])
    page = rec.page
    assert not cell(page, 0).locator(".vx-hint").first.is_visible() # while the recorder is alive
    rec.record(1.2)
    rec.keep()
    save(page)
    no_audio_in(desk.notebooks[rec.name])
    saved = json.loads(desk.notebooks[rec.name].read_text())["cells"][0]["outputs"]
    for o in saved:
        for kind in ("text/plain", "text/html"):
            shown = re.sub(r"RecorderWidget\(.*", "", "".join(o["data"].get(kind, "")))
            assert not re.search(r"\d+ clip|\d prompts", shown), shown
    page.close()
    page = desk.context.new_page()
    page.add_init_script(HOOKS)
    open_notebook(page, desk.server, rec.name)
    back = cell(page, 0).locator(".vx[data-ready=true]")
    hint = cell(page, 0).get_by_text("Run this cell")
    wait_for(lambda: back.count() or hint.count(), "the recorder, or what to do")
    time.sleep(1)
    again = RecorderPage(page)
    again.shot("opened-again")
    if back.count(): assert again.part("tab-saved").inner_text() == "Saved 1"
    else: assert hint.first.is_visible() and "0 clips" not in cell(page, 0).inner_text()
    page.close()

    desk.stop_kernels() # tomorrow
    page = desk.context.new_page()
    page.add_init_script(HOOKS)
    open_notebook(page, desk.server, rec.name)
    hint = cell(page, 0).get_by_text("Run this cell")
    wait_for(lambda: hint.count() and hint.first.is_visible(), "what to do without the kernel")

    seconds = []
    for i in range(int(os.environ.get("VOXTRAL_NB_TAKES", 1))):
        nb = new_notebook(desk.server.folder, f"quick-{i}.ipynb",
                          ["from voxtral_nb import Recorder\nRecorder('quick', language='en')"])
        open_notebook(page, desk.server, nb.name)
        t0 = time.monotonic()
        RecorderPage(page).show()
        seconds.append(time.monotonic() - t0)
    print(f"\nfrom import to a usable recorder: {', '.join(f'{s:.2f}' for s in seconds)} s")
    assert min(seconds) < 60 # where others compute too; the figure of a quiet machine is printed
