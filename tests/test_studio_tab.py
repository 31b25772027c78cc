"""`voxtral-studio` as a person uses it: started in a terminal, its page in a real Chromium. Speech, training, a reload
and a second tab during training, Ctrl-C with both of its answers."""
import json, os, shutil, signal, urllib.error, urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from browser import Proxy, browser, wait_for
from conftest import fill, sh, small_disk
from recorder_page import no_errors, speech_wav
from studio_page import Tab, TabRecorder
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.data.audio import resample
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.studio.jobs import is_held, stop_job
from voxtral_nb.studio.project import MACHINES, Project
from voxtral_nb.studio.serve import voxtral_studio
from voxtral_nb.testing.fake_hub import FakeHub

LONG = MACHINES["tiny"].settings | dict(device="cpu", max_steps=20_000, batch_size=1, gradient_accumulation_steps=1,
                                       max_eval_clips=1, max_new_tokens=12, eval_every=20_000, cache="none")


@pytest.fixture
def hub():
    with FakeHub() as h: yield h


@pytest.fixture
def net(hub):
    "The way to the Hub, which can be cut."
    with Proxy(int(hub.endpoint.rpartition(":")[2])) as o: yield o


@pytest.fixture
def tab(tmp_path_factory, hub, net):
    "A server without a token for the Hub; `full` lies on a disk of 1 MB."
    home = tmp_path_factory.mktemp("tab")
    env = hub.env(VOXTRAL_NB_HISTORY=str(home/"history.jsonl"), HF_ENDPOINT=net.url)
    with (small_disk(home/"projects"/"disk", "1m", needed=False) as disk,
          Tab(home/"projects", "voice", "other", "bad", "disk/full", env=env) as o):
        o.disk, o.home = disk, Path(env["HF_HOME"])
        yield o


@pytest.fixture(autouse=True)
def nothing_runs_on(tab):
    "A test that fails leaves no run behind, which its neighbours would wait for."
    yield
    for job in tab.folder.glob("*/jobs/*"):
        if is_held(job): stop_job(job, kill=True)


def test_it_asks_for_its_token_and_answers_to_its_name_only(tab):
    def get(url, **headers):
        try: return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60).read().decode()
        except urllib.error.HTTPError as e: return e.code
    assert "login" in get(tab.url.partition("?")[0]) and "voice" not in get(tab.url.partition("?")[0])
    assert get(tab.url, Host="evil.example") == 403
    assert "voice" in get(tab.url) and "other" in get(tab.url)


def test_a_folder_that_goes_wrong_while_it_is_open(tab, tmp_path, capsys):
    "Each is said in the page, and once it is right again the page goes on: nothing is lost."
    p = Project(tab.folder/"bad")
    p.set(language="en")
    file, away = p.folder/"studio.json", p.folder.with_name("away")
    with browser(fake_device=False) as context:
        s = tab.open(context, 2)
        rec = s.recorder().agree()
        rec.key("r")
        rec.wait_said("No microphone was found")
        p.folder.rename(away)
        s.says("it was deleted, moved or unmounted")
        s.page.reload()
        s.page.get_by_text("This project cannot be opened").wait_for()
        with s.page.expect_popup() as listed: s.page.get_by_role("link", name="all projects").click()
        listed.value.get_by_text("is gone or is no longer a project").wait_for()
        listed.value.close()
        away.rename(p.folder) # a look made nothing in its place
        s.reload()
        s.says("License of new recordings")
        kept = file.read_text()
        file.write_text('{"version": 99, "choices": {}}')
        s.says("update voxtral_nb")
        s.page.reload()
        s.page.get_by_text("This project cannot be opened").wait_for()
        assert s.page.get_by_text("made by a newer voxtral_nb").count() and '"version": 99' in file.read_text()
        file.write_text(kept)
        s.reload()
        assert p.choices["language"] == "en"
        other = p.folder/"data.jsonl"
        file.rename(away)
        other.write_text("")
        s.page.reload()
        s.page.get_by_text("is a dataset, not a project").wait_for()
        other.unlink()
        away.rename(file)
        if tab.disk: full_disk(tab, context)
        no_microphone_to_speak_into(s.reload(), p)
        no_errors(context)
    (file := tmp_path/"data.jsonl").write_text("")
    with pytest.raises(SystemExit): voxtral_studio([str(tmp_path)])
    assert "is a dataset, not a project" in capsys.readouterr().err and [*tmp_path.iterdir()] == [file]


def full_disk(tab, context):
    "A disk without space, then one that may only be read."
    s, filler = tab.open(context, 3), fill(tab.disk)
    s.root.locator("#vs-language").select_option("en")
    s.says("could not be saved (No space left on device)")
    filler.unlink()
    s.root.locator("#vs-language").select_option("pt")
    wait_for(lambda: Project(tab.disk/"full").choices.get("language") == "pt", "the language to be saved")
    s.page.close(run_before_unload=True)
    wait_for(lambda: not sh("mount", "-o", "remount,ro", tab.disk).returncode, "its kernel to let go of the folder")
    s = tab.open(context, 3)
    s.says("There is no recorder: ")
    s.go("Train").press("Look around: tiny", exact=False)
    s.says("could not be saved (Read-only file system)")
    sh("mount", "-o", "remount,rw", tab.disk, check=True)
    s.press("Look around: tiny", exact=False)
    wait_for(lambda: Project(tab.disk/"full").choices.get("machine") == "tiny", "the machine to be saved")
    s.page.close()


def no_microphone_to_speak_into(s, p):
    "A run with a model, and a browser without a microphone."
    run = p.folder/"runs"/"finished"
    (run/"final-model").mkdir(parents=True)
    clip = dict(reference="one", hypothesis="one", errors=0, words=1, language="en", duration=1., wer=0.)
    after = dict(clips=[clip], rates=dict(wer=0.), primary="wer", normalizer="basic")
    (run/"eval_results.json").write_text(json.dumps(dict(before=after, after=after)))
    s.go("Results").press("Speak")
    s.says("No microphone was found.")
    s.says("The Demo step also accepts files.")
    shutil.rmtree(run)


def test_a_run_that_goes_wrong_and_a_hub_that_refuses(tab, hub, net):
    p = Project(tab.folder/"bad")
    speech = SpeechDataset.open(sample_speech("accent_eval"))
    clips = SpeechDataset.create(p.folder/"speech") if p.speech is None else p.speech
    for row in speech[:3]: clips.append(speech.audio_file(row), row["text"], language="en")
    half = p.folder/"runs"/"half"
    half.mkdir()
    (half/"training_config.json").write_text('{"config": {"model')
    with browser() as context:
        s = tab.open(context, 2).go("Train")
        s.says("training_config.json is damaged")
        job = p.start("train", LONG, name="killed")
        s.wait("Train", "step ")
        os.kill(p.job(job.id).pid, signal.SIGKILL)
        s.wait("Train", "killed killed")
        s.says("killed from outside: by the system because memory ran out") # which leaves no word in a log
        no_memory(s, p)
        s.go("Publish")
        s.says("nobody is logged in to the Hub")
        for role, says in (("read", "is read-only"), ("write", "Logged in as me; the token may write.")):
            (tab.home/"token").write_text(hub.token("me", role))
            s.press("Refresh")
            s.says(says)
        net.cut()
        s.press("Refresh")
        s.says("cannot be reached")
        net.restore()
        no_errors(context)


def no_memory(s, p):
    "An adapter of more weights than any machine can hold; then one that fits."
    p.set(language="en", settings=LONG | dict(max_steps=1))
    s.set("lora", "lora_r", str(10**12))
    s.press("Estimate memory and time")
    s.says("Out of memory while preparing the model for training") # it is known before the start
    s.press("Start")
    s.wait("Train", "en-lora failed")
    run = s.root.get_by_role("region", name="Run en-lora")
    run.get_by_text("Reduce the memory that it needs: lora_r=16").wait_for()
    s.look("out_of_memory")
    s.set("lora", "lora_r", "16")
    s.press("Start")
    s.wait("Train", "1 run")
    assert p.run("en-lora-2").step == 1 and len(p.speech) == 3


def test_a_long_recording_is_drafted_and_corrected(tab, tmp_path):
    """It comes from the browser in parts, with its transcript, which has no times; a model drafts it in a process, and
    the corrections are the speech."""
    speech = SpeechDataset.open(sample_speech("accent_eval"))
    x = np.concatenate([np.r_[np.zeros(14_000, np.float32), speech.audio(i)] for i in range(6)])
    sf.write(tmp_path/"my talk.wav", resample(x, 16_000, 48_000), 48_000, subtype="PCM_24")
    Project(tab.folder/"other").set(settings=LONG, language="en")
    with browser(height=1400) as context:
        s = tab.open(context, 1)
        s.root.locator("#vs-recordings > summary").click()
        (tmp_path/"my talk.txt").write_text(" ".join(o["text"] for o in speech[:6]).title())
        s.root.locator("#vs-recording").set_input_files([tmp_path/"my talk.wav", tmp_path/"my talk.txt"])
        s.says("my_talk.wav")
        s.says("my_talk.txt")
        got, = (tab.folder/"other"/"speech"/"recordings").glob("*.wav")
        assert got.read_bytes() == (tmp_path/"my talk.wav").read_bytes() and got.stat().st_size > 1 << 20
        s.press("Draft the transcripts")
        s.wait("Speech", "drafts to correct")
        s.says("matched words of a given transcript")
        s.press("Correct the drafts")
        review = TabRecorder(s.page)
        review.part("draft").wait_for() # the recorder was there before
        review.key("p")
        wait_for(lambda: review.seen("played"), "the clip to be played")
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
    others = tab.kernels()
    with browser(speech_wav(tmp_path/"mic.wav"), height=1400) as context:
        asked = []
        context.on("request", lambda r: asked.append(r.url))
        listed = context.new_page()
        listed.goto(tab.url.partition("?")[0]) # without the token
        listed.goto(tab.url)
        listed.get_by_role("link", name="voice").click()
        listed.locator(".vs[data-ready=true]").wait_for()
        assert "token" not in listed.url and "project=0" in listed.url
        assert listed.title() == "voice · Studio"
        s = tab.open(context)
        s.root.locator("#vs-language").select_option("en")
        rec = s.recorder().agree()
        for _ in range(2):
            rec.record(1.5)
            rec.keep()
        s.wait("Speech", "2 clips")
        s.go("Train").root.get_by_role("button", name="Start", exact=True).dblclick() # the second click does nothing
        s.wait("Train", "step ")
        assert not s.root.locator('.vs-notice[data-kind="error"]').count()
        s.reload()
        assert s.state("Train").startswith("running") and s.tab("Train").get_attribute("aria-current") == "step"
        second = tab.open(context)
        second.wait("Train", "step ")
        second.press("Stop en-lora")
        s.wait("Train", "en-lora stopped")
        second.wait("Train", "en-lora stopped")
        s.press("Resume en-lora")
        for o in (s, second): o.wait("Train", "step ")
        mine = [o for o in tab.kernels() if o not in others] # a browser that was killed before did not end its own
        assert len(mine) == 3
        for o in context.pages: o.close(run_before_unload=True)
        wait_for(lambda: not set(mine) & set(tab.kernels()), "the kernels of tabs that are closed to end")
        no_errors(context)
        assert not (out := [o for o in asked if not o.startswith(("http://127.0.0.1:", "data:", "blob:"))]), out
        assert len(asked) > 30 and not any("Content Security Policy" in o for o in context.log)
    assert "train en-lora: left running; voxtral-studio finds it again" in tab.ctrl_c("l")
    assert p.run("en-lora").state == "running"
    with Tab(tab.folder, "voice", env=tab.env) as again:
        assert "asked to stop" in again.ctrl_c("s")
        wait_for(lambda: p.run("en-lora").state != "running", "the run to stop")
        assert p.run("en-lora").resumable
