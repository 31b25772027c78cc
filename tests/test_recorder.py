"""The recorder in a real browser: JupyterLab and Notebook 7, a microphone that plays recorded speech, lost connections,
killed kernels, hostile input."""
import base64, json, os, re, subprocess, time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from browser import (MIC_RATE, Proxy, Server, browser, cell, cell_output_text, find, new_notebook, open_notebook,
                     reconnect, restart_kernel, run_cell, save, screenshot, set_theme, wait_for, wait_idle)
from conftest import fill, small_disk
from recorder_page import (HOOKS, RATE, SHELVED, TAIL, Desk, RecorderPage, axe, check_clips, dialogs, heard,
                           no_audio_in, no_errors, rows, speech_wav)
from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.record.languages import phrases
from voxtral_nb.training.plan import dry_run

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
    with browser(mic, host_rules="MAP recorder.test 127.0.0.1") as context: yield context


# The whole story

def test_story(desk, source, tmp_path):
    """Open, consent, read three prompts, read one again, skip one, upload two files, reload, restart, go on; then the
    folder is ready to train on."""
    rec = desk.open(agree=False)
    page, folder, long = rec.page, rec.folder, {}
    # nothing is recorded before the speaker has agreed
    assert rec.part("agree").is_visible() and not rec.part("prompt").is_visible()
    rec.key("r")
    time.sleep(.5)
    assert rec.root.get_attribute("data-phase") == "idle" and rec.seen("tracks") == []
    rec.shot("consent")
    rec.agree().shot("ready")
    consent = json.loads((folder/"consent.json").read_text())["consents"]
    assert len(consent) == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", consent[0]["accepted_at"])
    assert consent[0]["version"]

    # three prompts; the second one twice
    assert rec.prompt == EN[0].text and rec.progress.startswith("Prompt 1 of 10")
    seconds = rec.record(3)
    assert rec.root.locator("[data-vx=device] option").count() > 1
    asked = rec.seen("asked")["audio"]
    assert [asked[k] for k in ("echoCancellation", "noiseSuppression", "autoGainControl")] == [False]*3
    rec.shot("review")
    rec.key("p")
    wait_for(lambda: rec.seen("played") == 1, "the take to be played")
    length = wait_for(lambda: rec.page.evaluate("() => window.seen.sound.duration || 0"), "the take to be loaded")
    assert abs(length - seconds) < .25
    rec.key("p")
    long[rec.keep()] = seconds
    rec.shot("kept")
    assert rec.prompt == EN[1].text
    rec.record(2)
    seconds = rec.record(3.3)
    assert rec.part("take").count() == 2 and rec.part("take").nth(1).get_attribute("aria-checked") == "true"
    rec.shot("two-takes")
    long[rec.keep()] = seconds
    rec.start()
    rec.hear(1)
    rec.shot("recording")
    rec.hear(2.5)
    rec.stop()
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
    sf.write(tmp_path/"big.wav", np.stack([big, big], 1) + .001*rng.standard_normal((len(big), 2)), 48_000,
             subtype="PCM_16")
    assert 25e6 < (tmp_path/"big.wav").stat().st_size < 27e6
    (tmp_path/"notes.mp3").write_text("not a sound")
    rec.upload(tmp_path/"short.flac", tmp_path/"big.wav", tmp_path/"notes.mp3")
    rec.wait_said("Look at the list")
    assert rec.root.locator("tbody tr").count() == 3 and len(rows(folder)) == 3
    rec.shot("upload-problems")
    rec.root.get_by_label("Transcript of short.flac").fill("A short one.")
    page.keyboard.press("Tab")
    rec.root.get_by_label("Transcript of big.wav").fill("A very long one.")
    page.keyboard.press("Tab")
    wait_for(lambda: rec.part("save").inner_text() == "Save 2 of 3 files", "two files to be ready")
    rec.click("save")
    rec.wait_said("2 files saved, 1 left to fix")
    saved = {r["text"]: r["source"] for r in rows(folder)[3:]}
    assert saved == {"A short one.": "upload", "A very long one.": "upload"}
    rec.click("tab-saved")
    rec.part("clip-text").first.wait_for()
    assert {"short.flac", "big.wav"} <= {r.get("original_name") for r in rows(folder)}
    assert "short.flac" in rec.part("clips").inner_text()
    rec.shot("saved")
    rec.click("tab-record")

    # reload, restart, go on where it was
    save(page)
    rec.reload()
    assert rec.prompt == EN[4].text and rec.part("tab-saved").inner_text() == "Saved 5"
    seconds = rec.record(2.5)
    long[rec.keep()] = seconds
    restart_kernel(page)
    rec.key("s")
    rec.wait_said("run this cell again")
    rec.shot("kernel-restarted")
    rec.show()
    assert not rec.part("agree").count() and rec.prompt == EN[5].text
    seconds = rec.record(2.5)
    long[rec.keep()] = seconds

    # what is on the disk
    assert len(long) == 5
    ds = check_clips(folder, source, long)
    recorded = [r for r in ds if r["source"] == "recording"]
    assert [r["text"] for r in recorded] == [EN[0].text, EN[1].text, "What was really said.", EN[4].text, EN[5].text]
    assert [r["prompt_id"] for r in recorded] == [EN[i].id for i in (0, 1, 2, 4, 5)]
    assert len({r["speaker"] for r in ds}) == 1
    written = "".join(f.read_text() for f in folder.rglob("*.json*") if f.is_file())
    for word in ("fake", os.environ.get("USER") or "no user"): assert word.lower() not in written.lower()
    save(page)
    no_audio_in(desk.notebooks[rec.name])
    no_errors(desk.context)

    # training on it starts
    d = dry_run(RunConfig(model_id="tiny", train_data=str(folder), eval_fraction=.3, max_seconds=10, on_bad="skip",
                          max_steps=2, batch_size=2, output_dir=str(tmp_path/"run"), tracking="none", device="cpu"))
    assert d.to_dict(), d


# Where there is no microphone

def can_upload(rec, source, tmp_path):
    "Files still go where sound cannot."
    sf.write(tmp_path/"mine.ogg", source[:3*RATE], RATE)
    (tmp_path/"mine.txt").write_text("What I said.")
    rec.upload(tmp_path/"mine.ogg", tmp_path/"mine.txt")
    rec.wait_said("Look at the list")
    rec.click("save")
    rec.wait_said("1 files saved|1 file saved")
    assert [(r["text"], r["source"]) for r in rows(rec.folder)] == [("What I said.", "upload")]


def test_permission_denied(desk, source, mic, tmp_path):
    with browser(mic, permission=False) as context:
        rec = desk.open(context=context)
        rec.click("record")
        said = rec.wait_said("did not allow the microphone")
        assert "Allow it" in said and "upload" in said and rec.root.get_attribute("data-phase") == "idle"
        rec.shot("denied")
        can_upload(rec, source, tmp_path)
        rec.click("tab-record")
        context.grant_permissions(["microphone"]) # what the message says to do
        rec.record(2)
        rec.keep()
        check_clips(rec.folder, source)


def test_no_microphone(desk, source, tmp_path):
    with browser(fake_device=False) as context:
        rec = desk.open(context=context)
        rec.click("record")
        said = rec.wait_said("No microphone was found")
        assert "Plug one in" in said and "upload" in said
        rec.shot("no-microphone")
        can_upload(rec, source, tmp_path)


def test_insecure_origin(desk, source, tmp_path):
    "Plain http from another machine: the way out is said at once, with the numbers of this very page."
    port = desk.server.port
    rec = desk.open(url=f"http://recorder.test:{port}", agree=False)
    def after_record():
        rec.agree().click("record")
        return rec.wait_said("plain http")
    for said in (rec.status, after_record()):
        assert "https" in said, said
        assert f"ssh -L {port}:localhost:{port} recorder.test" in said, said
        assert f"http://localhost:{port}" in said, said
        assert "upload" in said, said
    assert rec.seen("tracks") == []
    rec.shot("insecure")
    can_upload(rec, source, tmp_path)


def test_vscode(desk, source, tmp_path):
    rec = desk.open(agree=False)
    rec.page.evaluate("() => { document.body.dataset.vscodeThemeKind = 'vscode-light'; }")
    try:
        rec.show() # run again
        assert "VS Code" in rec.status and "JupyterLab in a browser" in rec.status
        rec.agree().click("record")
        assert "VS Code" in rec.wait_said("VS Code") and rec.seen("tracks") == []
        rec.shot("vscode")
        can_upload(rec, source, tmp_path)
    finally: rec.page.evaluate("() => { delete document.body.dataset.vscodeThemeKind; }")


# Lost connections, killed kernels, closed pages

def test_connection_cut_and_stalled(desk, source):
    """The recording goes on, says where it is, and arrives whole when the connection is back. What was kept before is
    there. When nothing answers, the page says so, and what was on its way is sent again, whether it was only late or is
    lost for good, and done once."""
    with Proxy(desk.server.port) as proxy:
        rec = desk.open(url=proxy.url)
        long = {}
        seconds = rec.record(2.5)
        long[rec.keep()] = seconds
        rec.start()
        rec.hear(1.5)
        proxy.cut()
        time.sleep(5)
        rec.click("record")
        rec.wait_said("does not answer")
        assert "safe in this browser" in rec.status
        rec.shot("connection-cut")
        seconds = rec.expected()
        proxy.restore()
        reconnect(rec.page)
        dialogs(rec.page)
        rec.phase("idle")
        rec.wait_said("Take of")
        long[rec.keep()] = seconds
        # silence instead of an answer
        for lost in (True, False):
            rec.start()
            rec.hear(2)
            def late(key):
                proxy.stall()
                rec.key(key)
                rec.wait_said("does not answer")
                rec.shot("stalled")
                if lost:
                    proxy.cut() # with what was held
                    proxy.restore()
                    dialogs(rec.page)
                    reconnect(rec.page)
                else: proxy.restore()
            late("r")
            seconds = rec.expected()
            rec.phase("idle")
            rec.wait_said("Take of")
            before = len(rows(rec.folder))
            late("a")
            long[re.search(r"recording_\S+\.wav", rec.wait_said("Saved as"))[0]] = seconds
            time.sleep(1)
            assert len(rows(rec.folder)) == before + 1
        assert len(check_clips(rec.folder, source, long)) == 4


def test_kernel_killed_in_mid_take(desk, source):
    """The take is back when the cell has been run again, whole, and waits to be kept; the clip that was saved just
    before the crash is there."""
    rec = desk.open()
    seconds = rec.record(2.5)
    first = rec.keep()
    desk.server.kill_kernel(rec.name) # right after "saved"
    wait_for(lambda: dialogs(rec.page) or "run this cell again" in rec.status, "JupyterLab to notice")
    wait_idle(rec.page)
    dialogs(rec.page)
    rec.show()
    assert [Path(r["audio_path"]).name for r in rows(rec.folder)] == [first]
    rec.start() # longer than HOLD: a part has arrived
    rec.hear(12.5)
    desk.server.kill_kernel(rec.name)
    time.sleep(2)
    rec.click("record")
    rec.phase("sending") # the tail is recorded
    second = rec.expected()
    rec.wait_said("run this cell again")
    assert "will come back" in rec.status
    rec.shot("kernel-killed")
    wait_idle(rec.page)
    dialogs(rec.page)
    rec.show()
    rec.wait_said("was restored")
    rec.shot("take-is-back")
    assert rec.prompt == EN[1].text
    name = rec.keep()
    ds = check_clips(rec.folder, source, {first: seconds, name: second})
    assert [r["prompt_id"] for r in ds] == [EN[0].id, EN[1].id]


def test_page_closed_in_mid_take(desk, source):
    "What the browser had copied, all but the last second, comes back in another page, marked as cut off."
    rec = desk.open()
    save(rec.page)
    before, began = rec.page.evaluate(SHELVED), time.monotonic()
    rec.start()
    wait_for(lambda: rec.page.evaluate(SHELVED) - before >= 3, "the browser's copy of 3 s")
    assert "keeps no copy" not in rec.progress, rec.progress
    rec.page.close()
    most = time.monotonic() - began
    page = desk.context.new_page()
    page.add_init_script(HOOKS)
    again = RecorderPage(open_notebook(page, desk.server, rec.name)).show()
    wait_for(lambda: "interrupted" in again.part("takes").inner_text(), "the take to be shown")
    again.shot("page-closed")
    assert again.prompt == EN[0].text
    again.keep()
    ds = check_clips(rec.folder, source)
    assert 3 <= ds[0]["duration"] < most, most


# The microphone is let go

HIDE = """hidden => {
    const value = hidden ? 'hidden' : 'visible';
    Object.defineProperty(document, 'visibilityState', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange')); }"""

def test_microphone_is_released(desk, source):
    "By its button, when the page is hidden, also in mid-take, and when the cell is cleared or run again."
    rec = desk.open()
    rec.click("mic")
    rec.wait_said("microphone is on")
    assert rec.live_tracks() == 1
    rec.click("mic")
    rec.wait_said("microphone is off")
    assert rec.live_tracks() == 0
    rec.record(1)
    assert rec.live_tracks() == 1
    rec.page.evaluate(HIDE, True)
    assert rec.live_tracks() == 0 and rec.root.get_attribute("data-mic") == "off"
    rec.wait_said("hidden")
    rec.page.evaluate(HIDE, False)
    rec.click("discard")
    rec.wait_said("Discarded")
    rec.start()
    rec.hear(2.5)
    rec.page.evaluate(HIDE, True)
    assert rec.live_tracks() == 0
    rec.phase("idle")
    rec.wait_said("The take up to that point")
    rec.page.evaluate(HIDE, False)
    name = rec.keep()
    assert 2.5 <= rows(rec.folder)[0]["duration"] <= rec.seen("takes")[-1]/MIC_RATE + .001, name
    check_clips(rec.folder, source)
    rec.start()
    time.sleep(.5)
    rec.show() # run again
    wait_for(lambda: rec.live_tracks() == 0, "the microphone to be released when the cell is run again")
    rec.start()
    time.sleep(.5)
    assert rec.live_tracks() == 1
    rec.page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-cell-output')")
    rec.root.wait_for(state="detached")
    wait_for(lambda: rec.live_tracks() == 0, "the microphone to be released when the output is cleared")
    no_errors(desk.context)


# Keyboard, labels, width, themes

def cells(page):
    "Kind and text of each cell of the notebook."
    return find(page, ".jp-Notebook .jp-Cell").evaluate_all(
        "os => os.map(o => [o.className.match(/jp-(Code|Markdown|Raw)Cell/)[1], "
        "o.querySelector('.cm-content')?.textContent])")

def test_keyboard(desk, source):
    "The keys act only while the recorder has the focus, and never reach the notebook."
    rec = desk.open(more=["'second'", "'third'"])
    page, before = rec.page, cells(rec.page)
    # where single letters are commands
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:enter-command-mode')")
    rec.root.focus()
    for k in ("d", "d", "b", "x", "m", "y", "c", "v", "0", "0", "i", "i", "j", "k", "Delete", "Shift+M",
              "Control+Enter"):
        page.keyboard.press(k)
    assert cells(page) == before and not find(page, ".jp-Dialog").count()
    assert rec.root.get_attribute("data-phase") == "idle" and rec.prompt == EN[0].text
    rec.key("r")
    rec.phase("recording")
    rec.key("d") # not while recording
    rec.key("s")
    rec.key("a")
    assert rec.root.get_attribute("data-phase") == "recording" and cells(page) == before
    rec.key("r")
    rec.phase("idle")
    # letters typed in a field are letters
    rec.part("transcript").focus()
    page.keyboard.press("End")
    page.keyboard.type(" rasdfpz")
    assert rec.part("transcript").input_value() == EN[0].text + " rasdfpz"
    assert rec.root.get_attribute("data-phase") == "idle" and rec.part("take").count() == 0 and rows(rec.folder) == []
    page.keyboard.press("Escape") # back to the recorder
    assert rec.root.evaluate("o => document.activeElement === o")
    page.keyboard.press("f")
    rec.wait_said("Flagged")
    assert rec.part("flag").get_attribute("aria-pressed") == "true"
    page.keyboard.press("d")
    rec.wait_said("Discarded")
    page.keyboard.press("z")
    rec.wait_said("Undone")
    page.keyboard.press("a")
    rec.wait_said("Saved as")
    assert rows(rec.folder)[0]["flagged"] is True and cells(page) == before
    # without the focus nothing is done
    cell(page, 1).locator(".cm-content").click()
    page.keyboard.type("r a s")
    time.sleep(.5)
    assert rec.root.get_attribute("data-phase") == "idle" and len(rows(rec.folder)) == 1 and rec.prompt == EN[1].text
    assert [o for o, _ in cells(page)] == ["Code"]*3
    page.keyboard.press("Escape") # the notebook's own keys are as they were
    page.keyboard.press("b")
    wait_for(lambda: len(cells(page)) == 4, "a cell below")
    # every step with Tab and Enter
    rec.root.focus()
    names = []
    for _ in range(40):
        page.keyboard.press("Tab")
        n = page.evaluate("() => document.activeElement.closest('.vx') && document.activeElement.dataset.vx")
        if n is None: break
        names.append(n)
    there = "tab-upload tab-saved back list transcript record keep skip undo mic checkAgain".split()
    assert set(there) <= set(names), names


NAMED = ("button", "textbox", "combobox", "tab", "radio", "meter", "image", "img", "checkbox", "region", "tabpanel",
         "radiogroup", "status")
def unnamed(page, session):
    "What a screen reader could not name in the recorder."
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    byid = {n["nodeId"]: n for n in nodes}
    top = next(n for n in nodes if n.get("role", {}).get("value") == "region"
               and n.get("name", {}).get("value") == "Recorder")
    todo, found, bad = [top["nodeId"]], [], []
    while todo:
        n = byid.get(todo.pop())
        if n is None: continue
        todo += n.get("childIds", [])
        role, name = n.get("role", {}).get("value"), n.get("name", {}).get("value", "")
        if n.get("ignored") or role not in NAMED: continue
        found.append((role, name))
        if not name.strip() and role not in ("status", "tabpanel"): bad.append(role)
    return found, bad


CONTRAST = """root => { // texts that are hard to read: [text, contrast]
  const rgba = (c) => {
    const g = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    g.clearRect(0, 0, 1, 1);
    g.fillStyle = c;
    g.fillRect(0, 0, 1, 1);
    return [...g.getImageData(0, 0, 1, 1).data];
  };
  const linear = (v) => (v /= 255) <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4;
  const lum = (c) => c.slice(0, 3).map(linear).reduce((s, v, i) => s + v*[.2126, .7152, .0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c[3] > 250) return c;
    }
    return [255, 255, 255];
  };
  const bad = [], walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode()); ) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.checkVisibility() || e.closest('[aria-disabled=true], .vx-clip, select')) continue;
    const [a, b] = [lum(rgba(getComputedStyle(e).color)), lum(ground(e))].sort((x, y) => y - x);
    const r = (a + .05)/(b + .05);
    if (r < 4.5) bad.push([n.textContent.slice(0, 40), +r.toFixed(2)]);
  }
  return bad; }"""
OUTSIDE = """root => { // what sticks out of the recorder to the side
  const r = root.getBoundingClientRect(), found = [];
  if (root.scrollWidth > root.clientWidth)
    found.push(`the recorder is ${root.scrollWidth} wide in ${root.clientWidth}`);
  for (const e of root.querySelectorAll('*')) {
    if (!e.checkVisibility() || e.closest('option, .vx-table')) continue;
    const b = e.getBoundingClientRect();
    if (b.width && (b.right > r.right + 1 || b.left < r.left - 1))
      found.push(`${e.tagName} ${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return found; }"""

def states(rec, source, tmp_path):
    """Bring a recorder into one state after the other: consent, ready, checked, recording, review, kept, uploads,
    saved, prompts, all done."""
    yield "consent"
    rec.agree()
    yield "ready"
    rec.click("check-start") # eight seconds
    rec.wait_said("check found|are good")
    yield "checked"
    rec.start()
    rec.hear(1)
    yield "recording"
    rec.stop() # too short: a warning
    rec.record(.1)
    yield "review"
    rec.part("take").first.click()
    rec.keep()
    yield "kept"
    sf.write(tmp_path/"one.wav", source[:2*RATE], RATE)
    (tmp_path/f"{'long name ' * 12}.wav").write_bytes(b"")
    rec.upload(*tmp_path.glob("*.wav"))
    rec.wait_said("Look at the list")
    yield "uploads"
    rec.click("tab-saved")
    rec.part("clip-text").first.wait_for()
    rec.part("choose").first.click()
    rec.part("clip-note").first.click()
    rec.part("exports").locator("summary").click()
    yield "saved"
    rec.click("tab-record")
    rec.click("list")
    rec.part("jump").first.wait_for()
    rec.part("more-to-read").locator("summary").click()
    rec.part("options").locator("summary").click()
    yield "prompts"
    rec.click("list")
    for last in (False, True):
        prompt = rec.prompt
        rec.key("s")
        wait_for(lambda: rec.part("unskip").count() if last else rec.prompt != prompt, "the next prompt")
    rec.part("unskip").wait_for()
    yield "all-done"

PROMPTS = ("prompts=['The first sentence of three.', 'The second one is somewhat longer than the first one was.', "
           "'The third.'], language='en', gate=QualityGate(min_seconds=20, refuse=())")

def dress(page, dark):
    "JupyterLab light on a screen, or dark on a telephone."
    page.set_viewport_size(dict(width=390, height=844) if dark else dict(width=1280, height=1000))
    page.emulate_media(color_scheme="dark" if dark else "light")
    set_theme(page, "dark" if dark else "light")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def test_looks(desk, source, tmp_path):
    """In each state, light on a screen and dark on a telephone: everything has a name for screen readers, texts stand
    out from the ground, and nothing sticks out."""
    rec = desk.open(PROMPTS, agree=False, before="from voxtral_nb.data.audio import QualityGate\n")
    rec.page.evaluate(
        "() => { window.jupyterapp.shell.collapseLeft?.(); window.jupyterapp.shell.collapseRight?.(); }")
    session, wrong, everything, dark = desk.context.new_cdp_session(rec.page), [], set(), False
    for state in states(rec, source, tmp_path):
        for dark in (dark, not dark): # a change takes JupyterLab long
            dress(rec.page, dark)
            at = state, "dark" if dark else "light"
            rec.shot("-".join(at))
            if not dark: # names and roles are the same in the dark
                found, bad = unnamed(rec.page, session)
                everything |= set(found)
                wrong += [(*at, "no name", o) for o in bad] + [(*at, "axe", o) for o in axe(rec.root)]
            wrong += [(*at, "contrast", o) for o in rec.root.evaluate(CONTRAST)]
            wrong += [(*at, "outside", o) for o in rec.root.evaluate(OUTSIDE)]
            if state == "uploads":
                assert rec.root.locator(".vx-name").first.bounding_box()["width"] >= 80
                assert rec.part("table").evaluate("o => o.scrollWidth <= o.clientWidth")
        text = rec.root.inner_text()
        wrong += [(state, "shows", o) for o in ("null", "undefined", "NaN", "[object") if o in text]
        if state == "review":
            assert "too short" in rec.part("problems").inner_text()
            assert "Keep anyway" in rec.part("keep").inner_text()
    screenshot(rec.page, "page")
    assert wrong == []
    names = {n for _, n in everything}
    assert any(n.startswith("Record") for n in names), sorted(names)
    assert {"Level", "Microphone", "Transcript of one.wav"} <= names, sorted(names)


def test_right_to_left(desk, source):
    "Arabic, given by hand as there are no phrases: read from the right, in prompt and transcript."
    rec = desk.open("prompts=['صباح الخير يا صديقي.', 'Good morning.'], language='ar'")
    look = lambda name: rec.part(name).evaluate("o => getComputedStyle(o).direction")
    assert rec.part("prompt").get_attribute("dir") == "rtl" and rec.part("prompt").get_attribute("lang") == "ar"
    assert (look("prompt"), look("transcript")) == ("rtl", "rtl")
    rec.shot("arabic")
    rec.record(1.5)
    rec.keep()
    assert rows(rec.folder)[0]["text"] == "صباح الخير يا صديقي." and look("prompt") == "ltr"
    rec.click("tab-saved")
    assert rec.part("clip-text").get_attribute("dir") == "rtl"


# Other front ends, two at once, nobody there

def test_notebook_7(desk, source, mic, tmp_path):
    with Server(tmp_path/"nb", app="notebook") as server, browser(mic, width=390, height=844) as context:
        d = Desk(server, context, "seven")
        rec = d.open()
        long = {}
        for _ in range(2):
            seconds = rec.record(2)
            long[rec.keep()] = seconds
        before = cells(rec.page)
        rec.root.focus()
        for k in "ddb": rec.page.keyboard.press(k)
        time.sleep(.3)
        assert cells(rec.page) == before
        screenshot(rec.page, "notebook7")
        assert rec.root.evaluate(OUTSIDE) == []
        check_clips(rec.folder, source, long)
        save(rec.page)
        no_audio_in(d.notebooks[rec.name])
        no_errors(context)


def test_two_recorders_on_one_folder(desk, source):
    """Two kernels, two pages, recording at the same time: every clip is there once, under its own name, and each
    sees the other's."""
    a = desk.open(folder="shared")
    b = desk.open(folder="shared")
    kept = []
    for _ in range(3):
        a.page.bring_to_front()
        a.start()
        b.page.bring_to_front()
        b.start()
        for o in (a, b): o.hear(1.5)
        for o in (a, b): o.key("r")
        for o in (a, b):
            o.phase("idle")
            o.wait_said("Take of")
        for o in (a, b): o.key("a") # neither waits for the other
        for o in (a, b): kept.append(re.search(r"recording_\d+\.wav", o.wait_said("Saved as"))[0])
    assert len(set(kept)) == 6
    ds = check_clips(a.folder, source)
    assert sorted(Path(r["audio_path"]).name for r in ds) == sorted(kept)
    a.key("s")
    a.wait_said("Skipped")
    a.click("tab-saved")
    wait_for(lambda: a.root.locator("[data-clip]").count() == 6, "all clips to be listed")


HOSTILE = """<img src=x onerror="window.seen.ran=1"><script>window.seen.ran=1</script><b>bold</b>"""

def test_hostile_texts(desk, source, tmp_path):
    "HTML in prompts, transcripts and file names is text; names that point elsewhere are names."
    rec = desk.open(
        f"prompts=[{HOSTILE!r}, 'Two.'], language='en', consent={HOSTILE!r}, check=lambda x, language: {HOSTILE!r}",
        agree=False, more=["from IPython.display import display\ndisplay(rec.dataset, rec.uploads)\nrec.summary()"])
    assert HOSTILE in rec.part("consent").inner_text()
    rec.agree()
    assert rec.prompt == HOSTILE
    rec.record(1.5)
    wait_for(lambda: HOSTILE.split(">")[0] in rec.part("diff").inner_text(), "what the check heard")
    rec.keep()
    assert rows(rec.folder)[0]["text"] == HOSTILE
    page = rec.page
    rec.click("tab-saved")
    assert rec.part("clip-text").input_value() == HOSTILE
    def sound(i):
        sf.write(tmp_path/"x.wav", source[i*RATE:(i + 2)*RATE], RATE)
        return (tmp_path/"x.wav").read_bytes()
    liar = sound(9)
    names = ["../../led-outside.wav", "<img src=x onerror=window.seen.ran=1>.wav", "a\u0007b\n.wav", "n"*300 + ".wav",
             "/etc/passwd.wav"]
    files = [dict(name=n, buffer=sound(i)) for i, n in enumerate(names)]
    files += [dict(name="zero.wav", buffer=b""),
              dict(name="liar.wav",
                   buffer=liar[:4] + b"\xff\xff\xff\xff" + liar[8:40] + b"\xf0\xff\xff\xff" + liar[44:])]
    rec.click("tab-upload")
    # names as only a hand-made request can send them: Chromium itself cuts paths off
    page.evaluate(
        """async ([el, files]) => {
            const dataTransfer = new DataTransfer(), bytes = (s) => Uint8Array.from(atob(s), c => c.charCodeAt(0));
            for (const f of files) dataTransfer.items.add(new File([bytes(f.data)], f.name));
            const drop = new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true });
            document.querySelector(el).dispatchEvent(drop); }""",
        [".vx [data-vx=drop]", [dict(name=f["name"], data=base64.b64encode(f["buffer"]).decode()) for f in files]])
    rec.wait_said("Look at the list|did not arrive")
    table = rec.part("table").inner_text()
    assert rec.root.locator("tbody tr").count() == len(files), table
    assert "<img src=x onerror=window.seen.ran=1>.wav" in table and "led-outside.wav" in table
    rec.shot("hostile")
    for i, f in enumerate(rec.part("upload-text").all()):
        f.fill(f"{HOSTILE} {i}")
        page.keyboard.press("Tab")
    wait_for(lambda: rec.part("save").inner_text() == "Save 6 of 7 files", "all but the empty one to be ready")
    rec.click("save")
    rec.wait_said("6 files saved, 1 left")
    rec.click("tab-saved")
    rec.shot("hostile-saved")
    run_cell(page, 1)
    time.sleep(.5)
    assert not page.evaluate("() => window.seen.ran") and page.locator("img[src=x]").count() == 0
    assert not [f for f in desk.server.folder.parent.rglob("*led-outside*")]
    assert not [f for f in desk.server.folder.rglob("*passwd*")]
    ds = SpeechDataset.open(rec.folder/"data.jsonl")
    assert ds.validate().problems == []
    assert all(re.fullmatch(r"wavs/[\w.-]+", r["audio_path"]) for r in ds)


# A disk that takes no more

def test_full_disk(desk, source):
    """A message that says what to do; the take stays in the browser, and Retry works once there is room. The same when
    keeping."""
    with small_disk(desk.server.folder/"full", "3m") as disk:
        rec = desk.open(folder="full/voice")
        seconds = rec.record(2)
        long = {rec.keep(): seconds}
        filler = fill(disk, 100_000)
        seconds = rec.record(2.5)
        said = rec.wait_said("disk")
        assert "free some space" in said.lower() and rec.part("retry").count() == 1, said
        rec.shot("full-disk")
        told = lambda: sum("disk" in s.lower() for s, _ in rec.seen("said"))
        before = told()
        rec.click("retry")
        wait_for(lambda: told() > before and rec.part("retry").count() == 1, "the same again") # still full
        assert len(rows(rec.folder)) == 1
        filler.unlink()
        rec.click("retry")
        rec.part("retry").wait_for(state="detached")
        rec.wait_said("Take of")
        filler = fill(disk, 60_000)
        rec.key("a")
        rec.wait_said("space|full|disk")
        rec.shot("full-disk-keep")
        assert len(rows(rec.folder)) == 1
        filler.unlink()
        long[rec.keep()] = seconds
        assert len(check_clips(rec.folder, source, long)) == 2
        assert len(list((rec.folder/"wavs").iterdir())) == 2 # no half file


@contextmanager
def read_only(path):
    "A folder in which nothing can be written: for root another, read-only mount of it at its place."
    dirs = [path, *(f for f in path.rglob("*") if f.is_dir())]
    if os.geteuid() == 0:
        for c in (["mount", "--bind", path, path], ["mount", "-o", "remount,bind,ro", path]):
            subprocess.run(c, check=True)
    else:
        for d in dirs: d.chmod(0o555)
    try: yield
    finally:
        if os.geteuid() == 0: subprocess.run(["umount", "-l", path], check=True)
        else:
            for d in dirs: d.chmod(0o755)

def test_read_only_folder(desk, source):
    "What was recorded stays where it is until the folder takes it."
    rec = desk.open(folder="ro/voice", more=[f"Recorder({str(desk.server.folder/'ro'/'other')!r}, language='en')"])
    long, disk = {}, rec.folder.parent
    seconds = rec.record(2)
    denied = "[Rr]ead-only|[Pp]ermission"
    with read_only(disk):
        rec.key("a")
        rec.wait_said(denied)
        assert rows(rec.folder) == []
        rec.shot("read-only")
        rec.record(1.5)
        rec.part("retry").wait_for()
        assert re.search(denied, rec.status), rec.status
    rec.click("retry")
    rec.part("retry").wait_for(state="detached")
    rec.wait_said("Take of")
    rec.part("take").first.click()
    long[rec.keep()] = seconds
    check_clips(rec.folder, source, long)
    with read_only(disk):
        run_cell(rec.page, 1)
        said = cell_output_text(rec.page, 1)
        assert "cannot be written" in said and re.search(denied, said), said


# Nobody in front of it; how long it takes

def test_headless(tmp_path):
    "papermill runs over the cell, and the notebook shows the state of the dataset."
    import papermill
    code = ("from voxtral_nb.record.recorder import Recorder\n"
            f"rec = Recorder({str(tmp_path/'voice')!r}, language='en')\nrec")
    nb = new_notebook(tmp_path, "headless.ipynb", [code, "len(rec.dataset)"])
    papermill.execute_notebook(nb, tmp_path/"out.ipynb", progress_bar=False, cwd=tmp_path)
    out = json.loads((tmp_path/"out.ipynb").read_text())
    data = out["cells"][0]["outputs"][0]["data"]
    assert "application/vnd.jupyter.widget-view+json" not in data, data
    assert "if nothing appears, call its .show()" in "".join(data["text/plain"]), data
    for k, v in data.items(): assert not re.search(r"\d", "".join(v)), f"a saved output holds figures, {k}: {v}"
    no_audio_in(tmp_path/"out.ipynb")


def test_seconds_from_stop_to_saved(desk, source):
    "Ten seconds of speech, kept by themselves: from stop to `saved`."
    rec = desk.open("language='en', auto_keep=True")
    seconds, long = [], {}
    for i in range(int(os.environ.get("VOXTRAL_NB_TAKES", 1))):
        rec.record(10)
        name = rec.wait_said("Saved as")[9:-1]
        stop = [t for p, t, _ in rec.seen("phases") if p == "stopping"][-1]
        saved = [t for s, t in rec.seen("said") if s.startswith("Saved as")][-1]
        seconds.append((saved - stop)/1000)
        long[name] = rec.expected()
    print(f"\nstop to saved: {', '.join(f'{s:.2f}' for s in seconds)} s, of which {TAIL} s are recorded; "
          f"median {np.median(seconds):.2f} s")
    assert max(seconds) < 60 # a busy machine is late; how long it takes on a quiet one is printed
    check_clips(rec.folder, source, long)


def test_stop_on_silence(desk, tmp_path):
    "With auto_stop the take ends by itself once the speaker is silent."
    x = heard(speech_wav(tmp_path/"speech.wav", 3))[:3*RATE]
    sf.write(tmp_path/"once.wav", np.concatenate([x, np.zeros(120*RATE)]), RATE, subtype="PCM_16")
    desk.context.hear(tmp_path/"once.wav")
    rec = desk.open("language='en', auto_stop=1.5")
    rec.key("r")
    rec.phase("recording")
    rec.phase("idle")
    rec.keep()
    assert 3.5 < rows(rec.folder)[0]["duration"] < 10 # a busy page looks at the sound late
