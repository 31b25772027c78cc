"""The Studio as a person uses it, in JupyterLab in a real Chromium: from a language to a demo, on the tiny model, the
fake Hub and the fake microphone, without typing code."""
import json, time

import pytest
from browser import Server, browser, read_notebook, reload, restart_kernel, save, wait_for
from recorder_page import RecorderPage, no_errors, speech_wav
from studio_page import STEPS, LabStudio
from voxtral_nb.studio.project import Project
from voxtral_nb.testing.fake_hub import FakeHub


@pytest.fixture(scope="module")
def hub():
    with FakeHub() as h: yield h


@pytest.fixture(scope="module")
def lab(tmp_path_factory, hub):
    "JupyterLab whose kernels know the fake Hub only; their history is their own."
    home = tmp_path_factory.mktemp("studio")
    env = hub.env(HF_TOKEN=hub.token("me"), VOXTRAL_NB_HISTORY=str(home/"history.jsonl"))
    with Server(home/"nb", env=env) as server: yield server


def test_from_a_language_to_a_demo(lab, hub, tmp_path):
    with browser(speech_wav(tmp_path/"mic.wav"), height=1400) as context:
        s = LabStudio(context, lab)
        folder = lab.folder/"voice"
        assert all(s.state(o).startswith("empty:") for o in STEPS)
        record(s)
        check(s)
        train(s, folder)
        results(s)
        publish(s, hub)
        demo(s)
        for step in STEPS:
            s.go(step)
            s.look(step.lower().replace(" ", "_"))
        s.page.evaluate("window.jupyterapp.shell.collapseLeft()")
        s.page.set_viewport_size(dict(width=390, height=1400))
        s.page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
        s.page.locator("body[data-jp-theme-light=false]").wait_for(state="attached", timeout=10_000)
        for step in STEPS:
            s.go(step)
            s.look(f"{step.lower().replace(' ', '_')}_dark_390")
        save(s.page)
        text = json.dumps(read_notebook(lab.folder, "studio.ipynb"))
        assert "widgets" not in json.loads(text)["metadata"] and len(text) < 5000 and "hf_" not in text, len(text)
        no_errors(context)


def record(s):
    "Choose a language, agree, read three sentences."
    s.root.locator("#vs-language").select_option("en")
    rec = RecorderPage(s.page).ready()
    rec.agree()
    for _ in range(3):
        rec.record(1.6)
        rec.keep()
    s.wait("Speech", "3 clips")
    s.says("57 clips more")


def check(s):
    s.press("Check the speech")
    s.root.locator("h2:text-is('Check')").wait_for()
    s.press("Check the speech")
    s.wait("Check", "running", 10)
    wait_for(lambda: not s.state("Check").startswith("running"), 60, "the report")
    s.root.get_by_text("Consent and license").wait_for()
    assert "3 of 3 recordings with the speaker's consent" in s.root.inner_text()


def train(s, folder):
    "A wrong value starts nothing; a run lives through a reload and a restarted kernel, is stopped and resumed."
    s.go("Train")
    s.press("Look around: tiny", exact=False)
    s.set("training", "epochs", "-1")
    s.root.locator("#vs-epochs-wrong").wait_for()
    assert s.root.get_by_role("button", name="Start", exact=True).get_attribute("aria-disabled") == "true"
    for name, value in dict(epochs="3", max_steps="20000", batch_size="1", gradient_accumulation_steps="1").items():
        s.set("training", name, value)
    s.set("evaluation", "max_new_tokens", "12")
    s.set("evaluation", "eval_every", "20000")
    s.press("Start")
    s.wait("Train", "running", 10)
    reload(s.page)
    s.run_cell()
    assert s.state("Train").startswith("running") and s.tab("Train").get_attribute("aria-current") == "step"
    restart_kernel(s.page)
    s.run_cell()
    s.wait("Train", "step ")
    s.look("training")
    s.press("Stop en-lora")
    s.wait("Train", "en-lora stopped")
    run = Project(folder).run("en-lora")
    assert run.state == "stopped" and run.resumable and 0 < run.step < 20_000, run
    s.press("Resume en-lora")
    s.wait("Train", "running", 10)
    wait_for(lambda: Project(folder).run("en-lora").step > run.step, 60, "a step after the checkpoint")
    s.press("Stop en-lora")
    s.wait("Train", "en-lora stopped")
    s.set("training", "max_steps", "20")
    s.press("Start")
    s.wait("Train", "running", 10)
    s.wait("Train", "1 run", 120)
    assert Project(folder).run("en-lora-2").step == 20
    for name in ("en-lora", "en-lora-2"): s.root.get_by_label(f"Compare {name}", exact=True).check()
    s.root.get_by_role("region", name="Settings in which the runs differ").wait_for()
    s.press("Delete en-lora")
    s.press("Yes, delete")
    names = lambda: sorted(o.name for o in Project(folder).runs())
    wait_for(lambda: names() == ["en-lora-2"], 10, "the run to go")
    s.root.locator("#vs-deleted > summary").click()
    s.press("Bring back en-lora", exact=False)
    wait_for(lambda: names() == ["en-lora", "en-lora-2"], 10, "the run to come back")
    Project(folder).set(run="en-lora-2") # as the list of runs does


def results(s):
    s.go("Results")
    s.says("1 evaluation clip")
    play = s.root.get_by_role("button", name="Play ", exact=False).first
    play.wait_for(timeout=60_000)
    play.click()
    wait_for(lambda: s.page.evaluate("() => window.seen.played"), 20, "the clip to be played")
    s.press("Speak")
    time.sleep(1.5)
    s.press("Stop and transcribe")
    s.root.locator(".vs-side .vs-card").nth(1).wait_for(timeout=90_000)


def publish(s, hub):
    "Preview, a push that fails, and the same again."
    s.go("Publish")
    s.says("Logged in as me; the token may write.")
    s.root.locator("#vs-pub-license").fill("mit")
    s.page.keyboard.press("Tab")
    s.root.locator("#vs-pub-no_verify").check()
    s.press("Preview")
    s.root.get_by_role("region", name="Card").wait_for(timeout=60_000)
    assert "WER" in s.root.get_by_role("region", name="Card").inner_text()
    hub.fail("/commit/", 403, times=1)
    s.press("Push")
    s.wait("Publish", "push failed")
    s.look("push_failed")
    s.press("Try again")
    s.wait("Publish", "published")
    assert s.root.get_by_text("Published (private)").count()


def demo(s):
    "On this machine."
    s.go("Demo")
    s.press("Start the demo here")
    frame = s.root.locator("iframe")
    frame.wait_for(timeout=90_000)
    frame.content_frame.get_by_role("button", name="Transcribe", exact=True).wait_for(timeout=60_000)
    s.press("Stop")
    s.wait("Demo", "not shown yet", 30)
