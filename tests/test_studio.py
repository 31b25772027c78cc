"""The Studio as a person uses it, in JupyterLab in a real Chromium: from a language to a demo, on the tiny model, the
fake Hub and the fake microphone, without typing code."""
import json, time
from contextlib import ExitStack

import pytest
from browser import Server, browser, read_notebook, reload, restart_kernel, save, set_theme, wait_for
from recorder_page import RecorderPage, no_errors, rows, speech_wav
from studio_page import STEPS, LabStudio
from voxtral_nb.core.config import config_fields
from voxtral_nb.share.demo import load_app
from voxtral_nb.studio.project import Project
from voxtral_nb.testing.fake_hub import FakeHub

WRONG = dict(learning_rate="fast", lora_r="0", lora_alpha="-1", lora_dropout="1.5", epochs="-1", max_steps="0",
             batch_size="many", gradient_accumulation_steps="0", warmup_fraction="1.5", weight_decay="-1", seed="-3",
             label_smoothing="1", num_workers="-2", eval_fraction="2", min_seconds="-1", max_train_clips="0",
             eval_batch_size="0", max_new_tokens="0", logging_steps="1.5", language="English")


@pytest.fixture
def hub():
    with FakeHub() as h: yield h


@pytest.fixture
def lab(tmp_path, hub):
    "JupyterLab whose kernels know the fake Hub only; their history is their own."
    env = hub.env(HF_TOKEN=hub.token("me"), VOXTRAL_NB_HISTORY=str(tmp_path/"history.jsonl"))
    with Server(tmp_path/"nb", env=env) as server: yield server


def test_from_a_language_to_a_demo(lab, hub, tmp_path):
    with browser(speech_wav(tmp_path/"mic.wav"), height=1400) as context:
        s = LabStudio(context, lab)
        folder = lab.folder/"voice"
        assert all(s.state(o).startswith("empty:") for o in STEPS)
        record(s)
        check(s)
        train(s, folder)
        results(s)
        wrong_transcript(s, folder)
        publish(s, hub)
        publish_speech(s, hub, folder)
        demo(s)
        with ExitStack() as pages: space(s, hub, pages)
        s.page.evaluate("window.jupyterapp.shell.collapseLeft()")
        for theme, width in (("light", 390), ("dark", 1400)):
            set_theme(s.page, theme)
            s.page.set_viewport_size(dict(width=width, height=1400))
            for step in STEPS: s.go(step).look(f"{step.lower().replace(' ', '_')}_{theme}_{width}")
        save(s.page)
        text = json.dumps(read_notebook(lab.folder, "studio.ipynb"))
        assert "widgets" not in json.loads(text)["metadata"] and len(text) < 5000 and "hf_" not in text, len(text)
        no_errors(context)


def test_in_notebook_7(hub, tmp_path):
    env = hub.env(VOXTRAL_NB_HISTORY="off")
    with Server(tmp_path/"nb", app="notebook", env=env) as server, browser(fake_device=False) as context:
        s = LabStudio(context, server)
        s.root.locator("#vs-language").select_option("pt")
        s.says("License of new recordings")
        s.go("Train").press("Look around: tiny", exact=False)
        s.wait("Train", "ready")
        s.tab("Demo").focus()
        s.page.keyboard.press("Enter")
        wait_for(lambda: s.page.evaluate("() => document.activeElement.innerText") == "Demo", "the heading's focus")
        s.page.keyboard.press("Tab")
        s.page.keyboard.press("Enter") # the first button below it
        s.root.locator("h2:text-is('Train')").wait_for()
        no_errors(context)
    assert Project(tmp_path/"nb"/"voice").choices["language"] == "pt"


def record(s):
    "Choose a language, agree, read three sentences."
    s.root.locator("#vs-language").select_option("en")
    rec = RecorderPage(s.page).ready()
    rec.agree()
    for _ in range(3):
        rec.record(1.6)
        rec.keep()
    s.wait("Speech", "3 clips")
    s.says("57 more clips")


def check(s):
    s.press("Check the speech")
    s.root.locator("h2:text-is('Check')").wait_for()
    s.press("Check the speech")
    s.says("3 of 3 recordings with the speaker's consent")
    s.root.get_by_text("Consent and license").wait_for()


def train(s, folder):
    """Twenty wrong values are told, each at its field, and start nothing. A run lives through a reload and a restarted
    kernel, is stopped and resumed."""
    s.go("Train")
    s.press("Look around: tiny", exact=False)
    for name, value in WRONG.items(): s.set(config_fields()[name].group, name, value)
    for name in WRONG: s.root.locator(f"#vs-{name}-wrong").wait_for()
    s.says("20 settings to correct")
    start = s.root.get_by_role("button", name="Start", exact=True)
    assert start.get_attribute("aria-disabled") == "true"
    start.click(force=True)
    s.look("wrong_settings")
    assert not [*(folder/"jobs").glob("*-train")] and not [*(folder/"runs").iterdir()]
    s.press("Look around: tiny", exact=False)
    wait_for(lambda: not s.root.locator(".vs-wrong").count(), "the errors to go")
    for name, value in dict(epochs="3", max_steps="20000", batch_size="1", gradient_accumulation_steps="1").items():
        s.set("training", name, value)
    s.set("evaluation", "max_new_tokens", "12")
    s.set("evaluation", "eval_every", "20000")
    s.press("Start")
    s.wait("Train", "running")
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
    s.wait("Train", "running")
    wait_for(lambda: Project(folder).run("en-lora").step > run.step, "a step after the checkpoint")
    s.press("Stop en-lora")
    s.wait("Train", "en-lora stopped")
    s.set("training", "max_steps", "20")
    s.press("Start")
    s.wait("Train", "running")
    s.wait("Train", "1 run")
    assert Project(folder).run("en-lora-2").step == 20
    for name in ("en-lora", "en-lora-2"): s.root.get_by_label(f"Compare {name}", exact=True).check()
    s.root.get_by_role("region", name="Settings in which the runs differ").wait_for()
    s.press("Delete en-lora")
    s.press("Yes, delete")
    names = lambda: sorted(o.name for o in Project(folder).runs())
    wait_for(lambda: names() == ["en-lora-2"], "the run to go")
    s.root.locator("#vs-deleted > summary").click()
    s.press("Restore en-lora", exact=False)
    wait_for(lambda: Project(folder).choices["run"] == "en-lora", "the run to come back, and be the one that is shown")
    assert names() == ["en-lora", "en-lora-2"]
    Project(folder).set(run="en-lora-2") # as the list of runs does


def results(s):
    s.go("Results")
    s.says("1 evaluation clip")
    play = s.root.get_by_role("button", name="Play ", exact=False).first
    play.wait_for()
    play.click()
    wait_for(lambda: s.page.evaluate("() => window.seen.played"), "the clip to be played")
    s.press("Speak")
    time.sleep(1.5)
    s.press("Stop and transcribe")
    s.root.locator(".vs-side .vs-card").nth(1).wait_for()


def wrong_transcript(s, folder):
    "The transcript of an evaluation clip goes back to the data, and there only."
    texts = lambda: [r["text"] for r in rows(folder/"speech")]
    before = texts()
    s.press("The transcript is wrong: ", exact=False)
    said = s.root.get_by_label("What was said")
    old = said.input_value()
    said.fill(old + " today")
    s.page.keyboard.press("Tab")
    s.says(f"Corrected in the data: {old} today")
    s.look("corrected")
    restart_kernel(s.page)
    s.run_cell()
    s.says(f"Corrected in the data: {old} today") # the folder says so, not the kernel
    assert before.count(old) == 1 and texts() == [o + " today"*(o == old) for o in before]
    s.wait("Check", "changed since the check")


def publish(s, hub):
    "Preview, a push that fails, and the same again."
    s.go("Publish")
    s.says("Logged in as me; the token may write.")
    s.root.locator("#vs-pub-license").fill("mit")
    s.page.keyboard.press("Tab")
    s.root.locator("#vs-pub-no_verify").check()
    s.press("Preview")
    s.root.get_by_role("region", name="Card").wait_for()
    assert "WER" in s.root.get_by_role("region", name="Card").inner_text()
    hub.fail("/commit/", 403, times=1)
    s.press("Push")
    s.wait("Publish", "push failed")
    s.look("push_failed")
    s.press("Try again")
    s.wait("Publish", "published")
    assert s.root.get_by_text("Published (private)").count()


def publish_speech(s, hub, folder):
    "The dataset: its card, then the push; the Hub has what the folder has."
    s.press("The dataset", exact=False)
    s.says("empty: the name of the project")
    s.press("Preview")
    s.root.get_by_role("region", name="Card").wait_for()
    s.look("dataset_preview")
    assert ("datasets", "me/voice") not in hub.repos, "a preview sends nothing"
    s.press("Push")
    s.root.get_by_text("Published (private)").wait_for()
    assert s.root.get_by_text("Verified: it was loaded back from the Hub.").count()
    sent, here = hub.files("me/voice", "dataset"), rows(folder/"speech")
    assert [json.loads(o)["text"] for o in sent["metadata.jsonl"].splitlines()] == [r["text"] for r in here]
    assert "README.md" in sent and len([o for o in sent if o.endswith(".wav")]) == len(here) == 3, sorted(sent)
    s.press("The model", exact=False)


def demo(s):
    "On this machine."
    s.go("Demo")
    s.press("Start the demo here")
    frame = s.root.locator("iframe")
    frame.wait_for()
    frame.content_frame.get_by_role("button", name="Transcribe", exact=True).wait_for()
    s.press("Stop")
    s.wait("Demo", "not started yet")


def space(s, hub, pages):
    "For others: a build that fails, its cause in words, and one that is followed until the app answers."
    def serve(folder, env): # as the Hub starts it
        made, app = json.loads((folder/"demo.json").read_text()), load_app(folder/"app.py")
        pages.callback((page := app.build(app.Transcriber(made))).close)
        app.start(page, made["limits"], server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, inline=False)
        return page.server_port
    there = hub.space("me/digits").plan("BUILDING", "BUILD_ERROR", build_log="no matching distribution", error="exit 1")
    s.type("space", "me/digits")
    s.press("Deploy as a Space")
    s.wait("Demo", "deploying the Space")
    s.says("Deploying the Space: the Hub is building it")
    s.says("If it does not answer within 30 min, the reason appears here.")
    s.says("The Space me/digits does not run: BUILD_ERROR: exit 1.")
    s.says("spaces/me/digits?logs=build")
    s.wait("Demo", "failed")
    s.look("space_failed")
    there.serve(lambda folder, env: serve(folder, env) if there.plan() else None) # it can be built now
    s.press("Deploy as a Space")
    s.says("Deploying the Space: its app is starting")
    s.says("It answers: http://127.0.0.1:")
    s.wait("Demo", "Space deployed")
