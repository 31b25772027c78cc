"""The page of a model as people meet it: a real process, a real browser with a microphone that plays a file, and a
Space that starts in an environment without voxtral_nb."""
import json, os, re, shutil, signal, subprocess, sys, threading, time, urllib.error, urllib.request
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from browser import (PATIENCE, Server, browser, follow, free_port, microphone_wav, new_notebook, open_notebook,
                     run_cell, screenshot, wait_for)
from conftest import BIN, command, last_json, sh, warm
from recorder_page import RATE, heard
from voxtral_nb.data.audio import resample
from voxtral_nb.share.demo import Limits, demo_template, load_app, space_folder
from voxtral_nb.measure.evaluation import EvalReport
from voxtral_nb.testing.fake_hub import FakeHub
from voxtral_nb.testing.speech import write_test_audio
from voxtral_nb.core.assets import sample_speech, tiny_path

EVAL = sample_speech("accent_eval")
ROWS = [json.loads(l) for l in EVAL.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(adapted):
    "A short LoRA run on the tiny model, and the report of its evaluation."
    return adapted, EvalReport.from_dict(json.loads((adapted/"eval_results.json").read_text())["after"])


@pytest.fixture(scope="module")
def right(run):
    "A clip that the model transcribes correctly since it was trained, and its transcript."
    before = json.loads((run[0]/"eval_results.json").read_text())["before"]["clips"]
    said = next(o.reference for o, b in zip(run[1].table.itertuples(), before, strict=True)
                if o.reference == o.hypothesis != b["hypothesis"] and len(o.reference.split()) >= 2)
    row = next(o for o in ROWS if o["text"] == said)
    return EVAL.parent/row["audio_path"], said


def stop(process):
    "End a process and those it started."
    for sig in (signal.SIGINT, signal.SIGKILL):
        try: os.killpg(process.pid, sig)
        except ProcessLookupError: return
        try: return process.wait(15)
        except subprocess.TimeoutExpired: continue


@contextmanager
def serving(*command, cwd, port, env=None):
    "A process that serves a page: its address, while it lives."
    log = Path(cwd)/f"server-{port}.log"
    with open(log, "w") as f:
        # under nohup it would inherit that SIGHUP is ignored
        p = subprocess.Popen([str(o) for o in command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=f,
                             stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **(env or {})},
                             preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    def answers():
        assert p.poll() is None, f"it ended with {p.returncode}:\n{log.read_text()[-3000:]}"
        try: return urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5).status == 200
        except OSError: return False
    try:
        wait_for(answers, "the page", .3)
        yield f"http://127.0.0.1:{port}"
    finally: stop(p)


@pytest.fixture(scope="module")
def url(run, tmp_path_factory):
    "What `voxtral-demo RUN_DIR` serves."
    port = free_port()
    args = ["--limit-seconds", 30, "--limit-megabytes", 3, "--limit-queue", 8, "--limit-per-minute", 1000]
    with serving(*warm.python, BIN/"voxtral-demo", run[0], "--port", port, *args, cwd=tmp_path_factory.mktemp("local"),
                 port=port) as url:
        yield url


def ask(url, path, language="en"):
    "The answer of the page's API."
    from gradio_client import Client, handle_file
    client = Client(url, verbose=False, download_files=False, analytics_enabled=False)
    return client.predict(handle_file(str(path)), language, api_name="/transcribe")


def opened(context, url):
    page = context.new_page()
    page.goto(url)
    page.locator("#go").wait_for()
    return page


def transcribed(page):
    "Press the button, and wait for the transcript or an error."
    page.locator("#go").click()
    page.wait_for_function(
        "() => document.querySelector('#time textarea')?.value || document.querySelector('.toast-body')")
    return page.locator("#transcript textarea").input_value()


def toast(page):
    "The error that the page shows."
    page.locator(".toast-body").first.wait_for()
    return page.locator(".toast-body").first.inner_text()


def choose(page, path): page.locator("#speech input[type=file]").first.set_input_files(str(path))

def chosen(page): page.locator("#speech [aria-label='Clear']").wait_for()


# The page

def test_a_file_is_transcribed_and_the_page_names_the_weights(run, right, url):
    clip, said = right
    asked = []
    with browser() as context:
        context.on("request", lambda o: asked.append(o.url))
        page = opened(context, url)
        screenshot(page, "demo-empty")
        choose(page, clip)
        chosen(page)
        assert transcribed(page) == said
        assert re.fullmatch(r"[\d.]+ s of audio in [\d.]+ s, [\d.]+x real time\.",
                            page.locator("#time textarea").input_value())
        shown = page.locator("#weights").inner_text()
        for o in (sh("sha256sum", run[0]/"final-model"/"adapter_model.safetensors").stdout.split()[0],
                  sh("sha256sum", tiny_path()/"model.safetensors").stdout.split()[0], "LoRA adapter of rank 16",
                  "float32", "cpu"):
            assert o in shown
        figures = page.locator("#figures").inner_text()
        assert f"{100*run[1].rates['wer']:.2f}" in figures and "before fine-tuning" in figures and "20" in figures
        assert str(run[0]) not in page.content()  # no path of this machine
        screenshot(page, "demo-text", full_page=True)
        bad = [o for o in context.log if o.startswith(("error", "uncaught"))]
    assert not bad, bad
    assert not [o for o in asked if not o.startswith((url, "data:", "blob:"))], "the page asks somebody else"


def test_the_microphone_is_transcribed(right, url, tmp_path):
    "What is sent is what the microphone heard, and the transcript is of that."
    x, sr = sf.read(right[0])
    wav = microphone_wav(tmp_path/"voice.wav", np.concatenate([np.zeros(sr//5), x]), sr)
    with browser(wav) as context:
        page = opened(context, url)
        page.locator("#speech [aria-label='Record audio'], #speech [aria-label='Microphone'], "
                     "#speech [aria-label*='icrophone']").first.click()
        page.locator("#speech .record-button").first.click()
        page.locator("#speech .stop-button").first.wait_for() # it records now
        time.sleep(len(x)/sr + 2)
        screenshot(page, "demo-recording")
        with page.expect_response(lambda o: "/upload" in o.url) as sent:
            page.locator("#speech .stop-button").first.click()
        chosen(page)
        text = transcribed(page)
        screenshot(page, "demo-microphone")
        take = tmp_path/"take.wav"
        take.write_bytes(context.request.get(f"{url}/gradio_api/file={sent.value.json()[0]}").body())
    samples, rate = sf.read(take, dtype="float32")
    # the browser levels it and takes noise out: of this speech 0.78 is left, other clips correlate with 0.3 at most
    near, _ = follow(resample(samples, rate, RATE), np.tile(heard(wav), 2), RATE)
    assert near > .5, near
    assert text == ask(url, take)[0]


def test_an_example_and_the_language_are_one_click_each(run, url):
    with browser() as context:
        page = opened(context, url)
        page.get_by_role("button", name=ROWS[0]["text"], exact=True).click()
        chosen(page)
        assert page.locator("#language input").input_value() == "English"
        page.locator("#language input").click()
        names = page.get_by_role("option").all_inner_texts()
        assert names[0].strip(" ✓\n") == "Automatic" and any("français" in o for o in names), names
        page.get_by_role("option", name="Automatic").click()
        transcribed(page)
        assert page.locator("#time textarea").input_value()


def test_everything_can_be_reached_and_used_by_keyboard(right, url):
    with browser() as context:
        page = opened(context, url)
        choose(page, right[0])  # the file dialog belongs to the system
        chosen(page)
        focus = """() => {
            const o = document.activeElement
            const place = o.closest('#speech') ? 'speech' : o.closest('#language') ? 'language' : o.id || o.tagName
            return [place, o.getAttribute('aria-label') || o.innerText]
        }"""
        seen, page_at = [], lambda: page.evaluate(focus)
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.append(page_at())
            if seen[-1][0] == "go": break
        assert seen[-1][0] == "go", seen
        assert sum(o[0] == "speech" for o in seen) >= 3 and any(o[0] == "language" for o in seen), seen
        screenshot(page, "demo-keyboard")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#time textarea')?.value")
        assert page.locator("#transcript textarea").input_value() == right[1]


def test_a_transcript_is_announced_and_removed_with_its_clip(run, right, url):
    "Names and roles for those who hear the page; no text stays beside a clip that it is not of, or beside a refusal."
    heard = lambda page: (page.get_by_role("textbox", name="Transcript", exact=True).input_value(),
                          page.get_by_role("textbox", name="Time", exact=True).input_value(),
                          page.locator("#said p[role=status]").inner_text())
    with browser() as context:
        page = opened(context, url)
        choose(page, right[0])
        chosen(page)
        transcribed(page)
        wait_for(lambda: page.locator("#said p").inner_text(), "what is read out")
        text, note, said = heard(page)
        assert text == right[1] and said == f"{text} {note}"
        for name in ("Transcript", "Time"):
            box = page.get_by_role("textbox", name=name, exact=True)
            assert box.is_enabled() and not box.is_editable()
            page.keyboard.press("Tab") if name == "Time" else box.focus()
            assert page.evaluate("document.activeElement.getAttribute('aria-label')") == name
        page.get_by_role("button", name=ROWS[0]["text"], exact=True).click() # another clip
        wait_for(lambda: heard(page) == ("", "", ""), "the old text to go")
        transcribed(page)
        wait_for(lambda: all(heard(page)), "the text")
        page.locator("#speech [aria-label='Clear']").click()
        wait_for(lambda: heard(page) == ("", "", ""), "the old text to go")
        page.locator("#go").click()
        assert "There is no audio yet" in toast(page) and heard(page) == ("", "", "")
        screenshot(page, "demo-refused-after-text")


def test_it_fits_a_phone_and_the_dark(url):
    with browser(width=390, height=844, dark=True) as context:
        page = opened(context, url)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), "it must be scrolled sideways"
        screenshot(page, "demo-phone", full_page=True)


def test_it_shows_under_its_cell_in_a_notebook(right, tmp_path):
    with Server(tmp_path/"nb") as server, browser() as context:
        new_notebook(server.folder, "a.ipynb",
                     ["from voxtral_nb.share.demo import launch_demo\npage = launch_demo('tiny')", "page.close()"])
        page = open_notebook(context.new_page(), server, "a.ipynb")
        run_cell(page, 0)
        frame = page.frame_locator(".jp-OutputArea iframe").first
        frame.locator("#go").wait_for()
        choose(frame, right[0])
        frame.locator("#speech [aria-label='Clear']").wait_for()
        frame.locator("#go").click()
        wait_for(lambda: frame.locator("#time textarea").input_value(), "the transcript")
        screenshot(page, "demo-notebook")
        run_cell(page, 1)


# Limits

def test_too_long_too_large_and_no_audio_are_refused_in_words(url, tmp_path):
    long = write_test_audio(tmp_path/"long.flac", np.zeros(20*60*16_000))  # twenty minutes, and small
    large = write_test_audio(tmp_path/"large.wav", np.random.default_rng(0).standard_normal(16_000*120)*.1)  # 3.8 MB
    (text := tmp_path/"notes.wav").write_text("not a sound\n"*500)
    with browser() as context:
        for f, words in ((long, "longer than 30 seconds"), (text, "not an audio file that can be read")):
            page = opened(context, url)
            choose(page, f)
            chosen(page)
            page.locator("#go").click()
            assert words in toast(page), f.name
            screenshot(page, f"demo-refused-{f.stem}")
            assert not page.locator("#transcript textarea").input_value()
        page = opened(context, url)
        choose(page, large)
        assert "exceed" in toast(page).lower()
        screenshot(page, "demo-refused-large")
        page = opened(context, url)
        page.locator("#go").click()
        assert "There is no audio yet" in toast(page)


def change(app, *pairs):
    "Replace texts in an app."
    text = app.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    app.write_text(text)

HOUR = [(o, o.replace("60", "3600")) for o in ("o[-1] <= now - 60", "times[0] <= now - 60")] # a minute may pass
HELD = """    def __call__(self, x, language=None):
        print("begins", flush=True)
        while not os.path.exists(DOOR): time.sleep(.02)
        try: return self.heard(x, language)
        finally: print("ends", flush=True)

    def heard(self, x, language=None):
"""

SWEEP = """import gradio as gr
import gradio.route_utils
sweep = gradio.route_utils.delete_files_created_by_app
def swept(app, age):
    if age is None or os.path.exists(BROOM): sweep(app, age and 0)
gradio.route_utils.delete_files_created_by_app = swept
"""

@contextmanager
def held_app(run, right, tmp_path, **limits):
    """An app whose model answers while a file, the door, is there, whose minutes last an hour, and that deletes what it
    was sent while there is a file `broom` beside the door: its address, a client, what it printed, the folder of its
    temporary files, the door."""
    import httpx
    folder = space_folder(run[0], tmp_path/"space", examples=[str(right[0])], limits=Limits(**limits))
    port, tmp, door = free_port(), tmp_path/"tmp", tmp_path/"door"
    tmp.mkdir()
    change(folder/"app.py", ("    def __call__(self, x, language=None):\n", HELD.replace("DOOR", repr(str(door)))),
           ("import gradio as gr\n", SWEEP.replace("BROOM", repr(str(door.with_name("broom"))))),
           ("(3600, 3600)", "(1, 3600)"), *HOUR)
    env = dict(GRADIO_SERVER_PORT=str(port), TMPDIR=str(tmp))
    with serving(*warm.python, "app.py", cwd=folder, port=port, env=env) as url:
        with httpx.Client(base_url=f"{url}/gradio_api", timeout=PATIENCE) as http:
            yield url, http, folder/f"server-{port}.log", tmp, door


def uploaded(http, path, name=None):
    "Where the app has put a file."
    r = http.post("/upload", files=dict(files=(name or path.name, path.read_bytes())))
    r.raise_for_status()
    return dict(path=r.json()[0], meta={"_type": "gradio.FileData"})


def answer(http, *data):
    "What comes of a request, as text."
    r = http.post("/call/transcribe", json=dict(data=data))
    return http.get(f"/call/transcribe/{r.json()['event_id']}").text


def test_many_requests_at_once_are_answered_or_refused_and_the_page_lives_on(run, right, tmp_path):
    from gradio_client import Client, handle_file
    with held_app(run, right, tmp_path, queue=2, per_minute=1000) as (url, *_, door):
        client = Client(url, verbose=False, download_files=False, analytics_enabled=False)
        jobs = [client.submit(handle_file(str(right[0])), "en", api_name="/transcribe") for _ in range(10)]
        def answer(job):
            try: return job.result(timeout=PATIENCE)[0]
            except Exception as e: return e
        wait_for(lambda: sum(o.done() for o in jobs) >= 7, "those that find no place")
        door.touch()
        answers = [answer(o) for o in jobs]
        texts, refused = [o for o in answers if isinstance(o, str)], [str(o) for o in answers if not isinstance(o, str)]
        assert set(texts) == {right[1]} and len(texts) in (2, 3), f"one works, two wait: {len(texts)} answered"
        assert all("queue is full" in o.lower() for o in refused), refused[:3]
        assert ask(url, right[0])[0] == right[1]


def test_no_endpoint_bypasses_the_queue(run, right, tmp_path):
    from concurrent.futures import ThreadPoolExecutor
    with held_app(run, right, tmp_path, queue=2, per_minute=100) as (url, http, log, _, door):
        clip = uploaded(http, right[0])
        config = http.get(f"{url}/config").json()
        n = next(o["id"] for o in config["dependencies"] if o["api_name"] == "transcribe")
        ways = [("/run/transcribe", {}), ("/api/transcribe", {}), ("/run/predict", dict(fn_index=n)),
                ("/call/transcribe", {}), ("/queue/join", dict(fn_index=n))]
        def post(i):
            way, more = ways[i%5]
            return way, http.post(way, json=dict(data=[clip, "en"], session_hash=f"s{i}", **more)).status_code
        with ThreadPoolExecutor(20) as pool: codes = list(pool.map(post, range(20)))
        assert {c for w, c in codes if w.startswith(("/run", "/api"))} == {404}
        waiting = [c for w, c in codes if w.startswith(("/call", "/queue"))]
        assert set(waiting) == {200, 503} and waiting.count(200) in (2, 3), waiting # one works, or not yet
        door.touch()
        lines = lambda: [o for o in log.read_text().splitlines() if o in ("begins", "ends")]
        wait_for(lambda: lines().count("ends") == waiting.count(200), "those that wait")
        assert lines() == ["begins", "ends"]*waiting.count(200), "two were worked on at once"
        assert ask(url, right[0])[0] == right[1]


def test_uploads_are_limited_and_deleted_and_unreadable_files_are_refused(run, right, tmp_path):
    "Also: examples outlive the uploads, and a text that comes late is not shown when its clip is gone."
    (text := tmp_path/"notes.wav").write_text("not a sound\n"*500)
    (large := tmp_path/"large.wav").write_bytes(b"\0"*600_000)
    with held_app(run, right, tmp_path, megabytes=1, per_minute=20) as (url, http, log, tmp, door):
        door.touch()
        r = http.post("/upload", files=[("files", (f"{i}.wav", large.read_bytes())) for i in range(3)])
        assert r.status_code == 413 and "maximum allowed size, 1 MB" in r.text
        assert not [o for o in tmp.rglob("*.wav")]
        gone = uploaded(http, right[0], "gone.ogg")
        assert right[1] in answer(http, uploaded(http, right[0], "speech.raw"), "en") # what counts is what is inside
        for f, name in ((text, "notes.raw"), (text, "notes.mp3"), (text, "notes.txt")):
            assert "not an audio file that can be read here" in answer(http, uploaded(http, f, name), "en"), name
        away = dict(path=f"{url}/config", meta={"_type": "gradio.FileData"})
        for data in ((away, "en"), (gone, away)): assert "Addresses are not downloaded here" in answer(http, *data)
        door.with_name("broom").touch()
        wait_for(lambda: not Path(gone["path"]).exists(), "the upload to be deleted")
        door.with_name("broom").unlink()
        assert "was deleted in the meantime" in answer(http, gone, "en")
        with browser() as context:
            page = opened(context, url)
            page.get_by_role("button", name="Clip 1", exact=True).click()
            chosen(page)
            assert transcribed(page) == right[1]
            begun = log.read_text().count("begins")+1
            door.unlink()
            page.locator("#go").click()
            wait_for(lambda: log.read_text().count("begins") == begun, "its work to begin")
            page.locator("#speech [aria-label='Clear']").click() # while the clip is worked on
            door.touch()
            wait_for(lambda: log.read_text().count("ends") == begun, "the end of its work")
            page.wait_for_timeout(1000)
            assert page.locator("#transcript textarea").input_value() == ""
        codes = [http.post("/upload", files=dict(files=("a.wav", b"x"))) for _ in range(40)]
        assert codes[0].status_code == 200
        assert codes[-1].status_code == 429
        assert "Too many uploads within a minute" in codes[-1].text
        assert "Traceback" not in log.read_text()


def test_uploads_are_deleted_with_the_process(run, right, tmp_path):
    "However it ends; what a killed process left is deleted when the next one starts."
    folders = []
    for i, sig in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)):
        (tmp_path/str(i)).mkdir()
        port, folder = free_port(), space_folder(run[0], tmp_path/str(i)/"space")
        with serving(*warm.python, "app.py", cwd=folder, port=port,
                     env=dict(GRADIO_SERVER_PORT=str(port), TMPDIR=str(tmp_path))) as url:
            assert ask(url, right[0])[0] == right[1]
            mine = [o for o in tmp_path.glob("voxtral_demo_*")]
            assert len(mine) == 1 and mine[0] not in folders and list(mine[0].rglob("*.ogg")), mine
            folders += mine
            os.kill(int(mine[0].name.split("_")[2]), sig)
            alive = Path("/proc")/mine[0].name.split("_")[2]/"exe"
            wait_for(lambda: not alive.exists(), "the end") # or Ctrl-C of `serving` would hit it on its way out
            assert sig == signal.SIGKILL or not mine[0].exists()
        assert "Traceback" not in (folder/f"server-{port}.log").read_text()
    assert folders[0].exists() is False and not list(tmp_path.rglob("*.ogg"))


def test_a_visitor_on_a_space_cannot_forge_the_address(run, tmp_path, monkeypatch):
    from starlette.requests import Request
    app = load_app(demo_template())
    def who(*passed_on):
        return app.visitor(Request(dict(type="http", client=("10.0.0.9", 1),
                                        headers=[(b"x-forwarded-for", o.encode()) for o in passed_on])))
    assert who("9.9.9.9") == "10.0.0.9"
    monkeypatch.setenv("SPACE_ID", "me/demo")
    for passed_on in (["8.8.8.8"], ["9.9.9.9, 8.8.8.8"], ["9.9.9.9", "8.8.8.8"], ["9.9.9.9, 8.8.8.8, 10.1.2.3"],
                      ["anything, 8.8.8.8"]):
        assert who(*passed_on) == "8.8.8.8"
    for passed_on in ([], ["10.1.2.3"], ["anything"]): assert who(*passed_on) == "10.0.0.9"


def test_no_attention_kernel_is_taken_from_a_config(run, tmp_path):
    "A name such as user/repo would be fetched as a kernel, which is code."
    folder = space_folder(run[0], tmp_path/"space")
    base, settings = folder/"base"/"config.json", json.loads((folder/"demo.json").read_text())
    base.write_text(json.dumps(json.loads(base.read_text()) | dict(_attn_implementation="somebody/kernel")))
    del settings["files"]["base/config.json"] # a folder that somebody made by hand
    app = load_app(folder/"app.py")
    model, *_ = app.load(settings)
    configs = [o.config for o in model.modules() if hasattr(o, "config") and not isinstance(o.config, dict)]
    assert {o._attn_implementation for o in configs} == {"sdpa"}


def test_no_header_bypasses_the_limits_of_a_local_page(run, tmp_path):
    "Neither another spelling of the media type nor a made-up address of the visitor."
    port, folder = free_port(), space_folder(run[0], tmp_path/"space", limits=Limits(per_minute=2))
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\nx\r\n--x--\r\n'
    def upload(kind, i):
        headers = {"Content-Type": f"{kind}; boundary=x", "X-Forwarded-For": f"8.8.8.{i}", "X-Real-IP": f"8.8.4.{i}"}
        try:
            return urllib.request.urlopen(urllib.request.Request(f"{url}/gradio_api/upload", body, headers),
                                          timeout=PATIENCE).status
        except urllib.error.HTTPError as e: return e.code
    change(folder/"app.py", *HOUR)
    kinds = ["text/plain; a=multipart/", "multipart/form-data", "Multipart/form-data", "\tMULTIPART/FORM-DATA ",
             "multipart/mixed", "multipart/form-data"] # gradio refuses the fifth, but has read it
    with serving(*warm.python, "app.py", cwd=folder, port=port, env=dict(GRADIO_SERVER_PORT=str(port))) as url:
        said = [upload(kind, i) for i, kind in enumerate(kinds)]
        assert said == [400, 200, 200, 200, 400, 429] # twice as many uploads as requests


def test_requests_per_minute_are_limited(run, right, tmp_path):
    port = free_port()
    folder = space_folder(run[0], tmp_path/"space", limits=Limits(per_minute=3))
    change(folder/"app.py", *HOUR)
    with serving(*warm.python, "app.py", cwd=folder, port=port, env=dict(GRADIO_SERVER_PORT=str(port))) as url:
        assert [ask(url, right[0])[0] for _ in range(3)] == [right[1]]*3
        with pytest.raises(Exception, match="limit is 3 requests a minute. Try again in"): ask(url, right[0])
        for path in ("demo.json", "app.py", "model/adapter_config.json", "/etc/passwd"):
            with pytest.raises(OSError):
                urllib.request.urlopen(f"{url}/gradio_api/file={path if path[0] == '/' else folder/path}")


# What it refuses to serve

def damaged(folder, what):
    "Make a demo's folder one that must not be served."
    from safetensors.torch import load_file, save_file
    adapter, settings = folder/"model"/"adapter_model.safetensors", folder/"demo.json"
    def change(f):
        d = json.loads(settings.read_text())
        f(d)
        settings.write_text(json.dumps(d))
    if what == "another adapter": save_file({k: v*2 for k, v in load_file(adapter).items()}, adapter)
    if what == "base missing": shutil.rmtree(folder/"base")
    if what == "another base":
        save_file({k: v*2 for k, v in load_file(folder/"base"/"model.safetensors").items()},
                  folder/"base"/"model.safetensors")
    if what == "no weights": adapter.unlink()
    if what == "weights that have no place":
        weights = load_file(adapter)
        lost = {k.replace("layers.0", "layers.9"): v.clone() for k, v in weights.items() if "layers.0" in k}
        save_file(weights | lost, adapter)
        change(lambda d: d.pop("weights"))
    config, base = folder/"model"/"adapter_config.json", folder/"base"/"config.json"
    def rewrite(f, **new): f.write_text(json.dumps(json.loads(f.read_text()) | new))
    if what == "weights that the config names":
        save_file({k: v*2 for k, v in load_file(folder/"base"/"model.safetensors").items()},
                  folder/"base"/"other.safetensors")
        rewrite(base, transformers_weights="other.safetensors")
    if what == "a second adapter's config": shutil.copy(config, folder/"base")
    if what == "an index": # of files elsewhere
        (folder/"base"/"model.safetensors").rename(folder/"other.safetensors")
        (folder/"base"/"model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')
    if what == "another scale": rewrite(config, lora_alpha=320)
    if what == "custom code":
        rewrite(folder/"base"/"processor_config.json", auto_map={"AutoProcessor": "mine.Mine"})
    if what == "no adapter config": config.unlink()
    if what == "damaged adapter config": config.write_text(config.read_text()[:-9])
    if what == "odd adapter config": config.write_text("[]")
    if what == "no tokenizer": [f.unlink() for f in folder.rglob("tekken.json")]
    if what == "no processor": [f.unlink() for f in folder.rglob("processor_config.json")]
    if what.startswith(("device", "dtype")): change(lambda d: d.update([what.split()]))
    if what == "not on the Hub": change(lambda d: d.update(model="me/gone", revision=None))


@pytest.mark.parametrize("what, words", [
    ("another adapter", "does not hold the weights that this demo was made for"),
    ("another base", "base does not hold the weights"),
    ("no weights", "not its weights"),
    ("weights that have no place", "have no place in the base"),
    ("not on the Hub", "me/gone could not be downloaded"),
    ("weights that the config names", "names its own weights"),
    ("a second adapter's config", "both an adapter and a full model"),
    ("an index", "not a safetensors file beside it"),
    ("custom code", "base/processor_config.json names custom code"),
    ("another scale", "model/adapter_config.json is not what this demo was made with"),
    ("no adapter config", "adapter_config.json cannot be read: FileNotFoundError"),
    ("damaged adapter config", "adapter_config.json cannot be read: JSONDecodeError"),
    ("odd adapter config", "not a JSON object"),
    ("no tokenizer", "the processor in .* cannot be loaded"),
    ("no processor", "the processor in .* cannot be loaded"),
    ("device nonsense", "the device nonsense cannot be used here"),
    ("dtype float8", "the dtype float8 is not allowed; allowed: auto, float32")]
    + [("device cuda", "the device cuda cannot be used here")]*(not torch.cuda.is_available()))
def test_it_does_not_load_other_weights(run, tmp_path, what, words):
    folder = space_folder(run[0], tmp_path/"space")
    damaged(folder, what)
    app = load_app(folder/"app.py")
    with pytest.raises(app.NotStarted, match=words): app.load(json.loads((folder/"demo.json").read_text()))


def test_a_missing_base_ends_it_with_a_message(run, tmp_path):
    folder = space_folder(run[0], tmp_path/"space")
    damaged(folder, "base missing")
    r = warm.run("app.py", cwd=folder)
    assert r.returncode == 1 and r.stdout == ""
    assert r.stderr == ("The demo does not start: the base model of the adapter accent is missing: there is no folder "
                        "base\n")


@pytest.mark.parametrize("damage, flags, words", [
    ("[]", [], "adapter_config.json is damaged or missing"),
    (None, ["--port", 99999], "port 99999 is not allowed"),
    (None, ["--device", "foo"], "device 'foo' is unknown"),
    (None, ["--dtype", "float8"], "dtype 'float8' is unknown"),
    ('{"peft_type": "LORA", "base_model_name_or_path": "me/base"}', [], "me/base")])  # nobody answers for the Hub
def test_a_model_that_cannot_be_served_is_refused_with_a_message(run, tmp_path, damage, flags, words):
    adapter = shutil.copytree(run[0]/"final-model", tmp_path/"adapter")
    if damage: (adapter/"adapter_config.json").write_text(damage)
    nobody = dict(HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9") if words == "me/base" else None
    r = command("voxtral-demo", adapter, *flags, cwd=tmp_path, env=nobody)
    assert r.returncode and words in r.stderr and "Traceback" not in r.stdout + r.stderr, r.stderr[-2000:]


# A Space

ZERO = '''
import functools
def GPU(f=None, duration=None):
    if f is None: return functools.partial(GPU, duration=duration)
    @functools.wraps(f)
    def g(*a, **k):
        print("on the GPU for", duration, "s at most", flush=True)
        return f(*a, **k)
    return g
'''


def test_zero_gpu_decorates_what_needs_the_gpu(run, right, tmp_path):
    """With a stand-in for the package `spaces`, on the CPU: that the decorator is there and that what goes through it
    is what is computed."""
    folder, port = space_folder(run[0], tmp_path/"space", hardware="zero-a10g"), free_port()
    d = json.loads((folder/"demo.json").read_text())
    (folder/"demo.json").write_text(json.dumps(d | dict(device="cpu", dtype="float32")))
    (folder/"spaces.py").write_text(ZERO)
    with serving(*warm.python, "app.py", cwd=folder, port=port,
                 env=dict(GRADIO_SERVER_PORT=str(port), SPACES_ZERO_GPU="true")) as url:
        assert ask(url, right[0])[0] == right[1]
    assert "on the GPU for 60 s at most" in (folder/f"server-{port}.log").read_text()


def needed(lines): # of a requirements.txt
    "The installed distributions that these lines ask for, with all that those need."
    found, ask = {}, [(Requirement(o), "") for o in lines]
    while ask:
        r, extra = ask.pop()
        if r.marker and not r.marker.evaluate(dict(extra=extra)): continue
        d = found.setdefault(canonicalize_name(r.name), (distribution(r.name), set()))
        for e in {"", *r.extras} - d[1]:
            d[1].add(e)
            ask += [(Requirement(o), e) for o in d[0].requires or ()]
    return [d for d, _ in found.values()]


@pytest.fixture(scope="module")
def space_python(run, tmp_path_factory):
    """The Python of a clean environment that holds what a Space's requirements.txt asks for, and no voxtral_nb. The
    files are those of the environment that runs the tests; pip looks through them and finds nothing missing."""
    tmp = tmp_path_factory.mktemp("space_venv")
    lines = (space_folder(run[0], tmp/"space")/"requirements.txt").read_text().splitlines()
    lines = [o for o in lines if not o.startswith("--extra-index-url")] # PyTorch's own, for a smaller build
    sh(sys.executable, "-m", "venv", "--without-pip", tmp/"v", check=True)
    packages = next((tmp/"v"/"lib").glob("python*"))/"site-packages"
    for d in needed(lines):
        for name in {f.parts[0] for f in d.files} - {"..", "__pycache__"}: # "..": a script
            if not (to := packages/name).exists(): to.symlink_to(d.locate_file(name))
    python, env = tmp/"v"/"bin"/"python", dict(PYTHONPATH="") # pip counts what it shows as installed
    sh(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", *lines, check=True, env=env)
    assert sh(python, "-c", "import voxtral_nb", cwd=tmp, env=env).returncode == 1
    yield python
    shutil.rmtree(tmp, ignore_errors=True)


def test_a_space_is_built_started_queried_and_updated(run, right, space_python, tmp_path):
    """A private adapter on the Hub, its base beside it: deployed, served by a process as a Space would start it, asked
    once; then once more with a change. No token is written anywhere."""
    adapter, token, processes, one_build = tmp_path/"adapter", None, [], threading.Lock()
    shutil.copytree(run[0]/"final-model", adapter)
    c = adapter/"adapter_config.json"
    c.write_text(json.dumps(json.loads(c.read_text()) | dict(base_model_name_or_path="me/tiny-voxtral")))
    (adapter/"README.md").write_text(
        "---\nlanguage: [en]\nmodel-index:\n- name: m\n  results:\n"
        "  - task: {type: automatic-speech-recognition}\n"
        "    dataset: {name: '<script>alert(1)</script>', type: d}\n"
        "    metrics:\n    - {type: wer, value: 12.5, name: WER, args: {unit: percent, clips: 20}}\n---\n")
    def serve(folder, env):
        with one_build, open(folder/"log", "w") as log:  # a secret and a commit each begin one, at about the same time
            for o in processes: stop(o)  # a new build replaces what runs
            port = free_port()
            env = {k: v for k, v in env.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
            env |= dict(GRADIO_SERVER_PORT=str(port), OMP_NUM_THREADS="1")
            python = warm.python if processes else [space_python] # it lacks nothing: seen once
            p = subprocess.Popen([*python, "app.py"], cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=subprocess.STDOUT, start_new_session=True, env=env)
            processes.append(p)
        def up():
            if p.poll() is not None: raise RuntimeError((folder/"log").read_text()[-3000:])
            try: return urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5).status == 200
            except OSError: return False
        wait_for(up, "the Space", .5)
        return port
    with FakeHub(models={"me/tiny-voxtral": tiny_path()}) as hub:
        token = hub.token("me")
        reading = hub.token("me", role="fineGrained", can={"me/digits": "read", "me/tiny-voxtral": "read"})
        env = hub.env(HF_TOKEN=token, SPACE_HF_TOKEN=reading, HF_HUB_OFFLINE="0")
        hub.run("import sys; from huggingface_hub import HfApi; a = HfApi(); a.create_repo('me/digits', private=True); "
                "a.upload_folder(repo_id='me/digits', folder_path=sys.argv[1])", adapter, HF_TOKEN=token)
        space = hub.space("me/digits-demo").serve(serve)
        params = ["deploy_demo", "--model-id", "me/digits", "--no-folder-only", "--examples",
                  repr([str(right[0])]), "--output-dir", tmp_path/"out", "--timeout", 1000]
        try:
            r = command("voxtral-run", *params, cwd=tmp_path, env=env | warm.again, timeout=1200)
            assert r.returncode == 0, r.stdout[-3000:] + r.stderr[-3000:]
            result = last_json(r.stdout)
            assert (result["text"], result["hardware"], result["changed"]) == (right[1], "cpu-basic", True)
            assert space.secrets == dict(HF_TOKEN=reading) and hub.repos["spaces", "me/digits-demo"].private
            files = hub.files("me/digits-demo", "space")
            assert sorted(files) == [".gitattributes", "README.md", "app.py", "demo.json", "examples/1.ogg",
                                     "requirements.txt"]
            d = json.loads(files["demo.json"])
            assert d["revision"] and d["base"]["revision"] and d["base"]["model"] == "me/tiny-voxtral"
            with browser() as context:
                page = opened(context, result["host"])
                shown = page.locator("#weights").inner_text()
                assert f"me/digits at commit {d['revision']}" in shown
                assert f"me/tiny-voxtral at commit {d['base']['revision']}" in shown
                assert "<script>alert(1)</script>" in page.locator("#figures").inner_text()
                assert "12.5%" in page.locator("#figures").inner_text()
                screenshot(page, "demo-space", full_page=True)
            again = last_json(command("voxtral-run", *params, "--limit-seconds", 30, cwd=tmp_path,
                                      env=env | warm.again, timeout=1200, check=True).stdout)
            assert again["changed"]
            assert again["text"] == right[1]
            assert again["commit"] != result["commit"]
            assert space.builds >= 2
        finally:
            for p in processes: stop(p)
        assert not hub.escaped, hub.escaped[:3]
        # nothing that was written holds a token: folder, notebooks, what was printed, files of the Space, its log
        for t in (token, reading):
            assert t not in r.stdout + r.stderr and not any(t.encode() in b for b in files.values())
            assert not [f for folder in (tmp_path, Path(hub._tmp.name)/"spaces") for f in folder.rglob("*")
                        if f.is_file() and t.encode() in f.read_bytes()]


# status -> how often, and whether it works in the end
FAULTS = {503: (2, True), 429: (1, True), 500: (9, False), 401: (1, False), 403: (1, False)}

def test_a_deployment_through_faults_of_the_hub():
    """Tried again where that helps, else a message that says what to do; in its own process, since huggingface_hub
    looks at its environment once."""
    code = """import sys
from voxtral_nb.core import hub
from voxtral_nb.share import demo
hub._sleep = lambda seconds: None
for name in sys.argv[1:]:
    try: print(demo.deploy_demo("tiny", name, wait=False, verbose=False).space)
    except hub.HubError as e: print("HubError:", e)"""
    with FakeHub() as hub:
        hub.python = warm.python
        faults = {n: hub.fail(f"POST /api/spaces/me/fault-{n}/commit", n, times=k, retry_after=1 if n == 429 else None)
                  for n, (k, _) in FAULTS.items()}
        out = hub.run(code, *(f"fault-{n}" for n in FAULTS), HF_TOKEN=hub.token("me"))
    lines = [o for o in out.strip().splitlines() if "; retrying in " not in o]
    for (n, (k, works)), line in zip(FAULTS.items(), lines, strict=True):
        if works: assert line == f"me/fault-{n}"
        else: assert line.startswith(f"HubError: committing to me/fault-{n}: "), line
        assert faults[n].hits == (k if works else 4 if n == 500 else 1)
    assert "hf auth login" in lines[3] and "run it again" in lines[2]
