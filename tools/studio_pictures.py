"""Take the pictures of the Studio that the docs show: a small project of the sample speech, one training of the tiny
model, and `voxtral-studio` in a real Chromium. Writes nbs/images/studio_*.png; about three minutes on one core."""
import argparse, io, sys, tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/"tests"))
sys.path.insert(0, str(ROOT))

from PIL import Image

from browser import browser, microphone_wav, wait_for
from studio_page import STEPS, Tab
from voxtral_nb import Uploads, sample_speech
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.studio.project import MACHINES, Project
from voxtral_nb.testing.fake_hub import FakeHub

WIDE, NARROW = 1400, 390 # px
MOST = 100_000 # bytes of a picture
END = """() => Math.max(...[...document.querySelectorAll(".vs, .vx")].filter(o => o.offsetParent)
    .map(o => o.getBoundingClientRect().bottom))""" # px, of what the page shows
SETTINGS = MACHINES["tiny"].settings | dict(device="cpu", language="en", epochs=10., batch_size=4, eval_every=20)


def make_project(folder, clips=90):
    "A project with English digits of a synthetic speaker, as if they had been uploaded."
    p = Project(folder)
    p.set(language="en", settings=SETTINGS)
    if p.speech is None:
        files, manifest = Uploads(SpeechDataset.create(p.folder/"speech"), language="en"), sample_speech("accent_train")
        files.add(manifest)
        for f in sorted((manifest.parent/"accent_train").glob("*.ogg"))[:clips]: files.add(f)
        files.save(speaker="sample-voice", license="CC0-1.0")
    return p


def save(png, name, colours=256):
    "Write a picture with a palette, of as many colours as its size allows."
    image = Image.open(io.BytesIO(png)).convert("RGB")
    while True:
        fewer = image.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        fewer.save(out := io.BytesIO(), "PNG", optimize=True)
        if len(out.getvalue()) < MOST or colours <= 16: break
        colours //= 2
    assert len(out.getvalue()) < MOST, f"{name} takes {len(out.getvalue()):,} bytes"
    (ROOT/"nbs"/"images"/f"studio_{name}.png").write_bytes(out.getvalue())
    print(f"studio_{name}.png: {image.width} x {image.height}, {len(out.getvalue()):,} bytes, {colours} colours")


def picture(s, name, height=1200):
    "A picture of the page from its top, without what is farther down than `height`."
    s.page.mouse.move(0, 0)
    s.page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0) }")
    s.page.wait_for_timeout(400) # colours fade
    size, end = s.page.viewport_size, s.page.evaluate(END)
    s.page.set_viewport_size(dict(width=size["width"], height=min(height, int(end) + 24)))
    s.page.wait_for_timeout(400)
    save(s.page.screenshot(), name)
    s.page.set_viewport_size(size)


def speech(s):
    rec = s.recorder().agree()
    rec.record(3)
    picture(s, "speech")

def check(s):
    if s.state("Check").endswith("not checked yet"): s.press("Check the speech")
    wait_for(lambda: not s.state("Check").startswith(("running", "empty", "ready")), "the report")
    picture(s, "check")

def train(s):
    p = s.project
    if not p.runs():
        s.press("Start")
        wait_for(lambda: (r := p.runs()) and r[0].step > 20, "the run to be under way")
        s.page.wait_for_timeout(2000)
        picture(s, "train")
        wait_for(lambda: p.runs()[0].state == "done", "the run to end")

def results(s):
    s.root.get_by_role("button", name="Play ", exact=False).first.wait_for(timeout=60_000)
    picture(s, "results")

def publish(s):
    s.says("the token may write")
    s.root.locator("#vs-pub-license").fill("cc0-1.0")
    s.page.keyboard.press("Tab")
    s.press("Preview")
    s.root.get_by_role("region", name="Card").wait_for(timeout=60_000)
    picture(s, "publish")

def demo(s):
    s.press("Start the demo here")
    frame = s.root.locator("iframe")
    frame.wait_for(timeout=90_000)
    frame.content_frame.get_by_role("button", name="Transcribe", exact=True).wait_for(timeout=60_000)
    s.page.wait_for_timeout(1500)
    picture(s, "demo", 1300)
    s.press("Stop")
    s.wait("Demo", "not started yet")

def my_runs(s): picture(s, "my_runs")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("steps", nargs="*", help="steps to take pictures of, such as train; none: all")
    p.add_argument("--folder", help="where the project is saved, to take pictures of it again without training")
    a = p.parse_args()
    with ExitStack() as stack:
        home = Path(a.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        project, hub = make_project(home/"my_voice"), stack.enter_context(FakeHub())
        wav = SpeechDataset.open(sample_speech("accent_eval"))
        wav = microphone_wav(home/"mic.wav", *wav_of(wav))
        env = hub.env(HF_TOKEN=hub.token("me"), VOXTRAL_NB_HISTORY=str(home/"history.jsonl"))
        tab = stack.enter_context(Tab(home, "my_voice", env=env))
        with browser(wav, width=WIDE) as context:
            s = tab.open(context)
            s.project = project
            for step in STEPS:
                name = step.lower().replace(" ", "_")
                if a.steps and name not in a.steps: continue
                s.go(step)
                globals()[name](s)
        for name, how in dict(narrow=dict(width=NARROW), dark=dict(width=WIDE, dark=True)).items():
            if a.steps and name not in a.steps: continue
            with browser(wav, **how) as context: picture(tab.open(context).go("Train"), name)


def wav_of(speech, clips=12):
    "Some clips of a dataset, one after the other, and their rate."
    import numpy as np
    return np.concatenate([speech.audio(i) for i in range(clips)]), 16_000


if __name__ == "__main__": main()
