"""The tutorial as a person walks through it in JupyterLab: records, imports, trains, reloads the page, and comes back
the next day. Five clips in the suite; VOXTRAL_NB_WALK="5 20 60" walks with more, and VOXTRAL_NB_SHOTS=FOLDER keeps
a picture of each state."""
import json, os, time

import pytest
from browser import (Server, browser, cell_output_text, find, open_notebook, reload, run_cell, save, screenshot,
                     wait_for)
from conftest import ROOT
from recorder_page import HOOKS, RecorderPage, no_audio_in, rows, speech_wav
from voxtral_nb.core.assets import sample_speech

TUTORIAL = ROOT/"nbs"/"tutorials"/"record_your_voice.ipynb"
AS_READER = ("somebody_reads = False", "somebody_reads = True")
WHOLE = {"@jupyterlab/notebook-extension:tracker": dict(windowingMode="none")} # all cells are in the page
SPOKEN = 5 # takes at the microphone; further clips are uploaded


class Walker(RecorderPage):
    "The tutorial in a page: its cells by id, its recorder."
    def __init__(self, context, server, name, shots):
        super().__init__(context.new_page())
        self.ids = [c["id"] for c in json.loads((server.folder/name).read_text(encoding="utf-8"))["cells"]]
        self.page.add_init_script(HOOKS)
        open_notebook(self.page, server, name)
        self.shots = shots

    @property
    def root(self): return find(self.page, ".vx").first
    def at(self, id): return self.ids.index(id)
    def output(self, id): return cell_output_text(self.page, self.at(id))
    def cell(self, id): return find(self.page, ".jp-Notebook .jp-Cell").nth(self.at(id))

    def run(self, *ids):
        "Run cells and picture what they show."
        for id in ids:
            run_cell(self.page, self.at(id))
            said = self.output(id)
            assert "Traceback" not in said and "Error" not in said.split("\n")[0], f"{id}: {said[-2000:]}"
            if said: screenshot(self.cell(id), f"{self.shots}-{id}")

    def show(self):
        run_cell(self.page, self.at("rec"), wait=False)
        return self.ready()

    def upload(self, n):
        "Import `n` clips of the sample speaker with their list, in the page."
        manifest = sample_speech("accent_train")
        audio = [manifest.parent/json.loads(l)["audio_path"] for l in manifest.read_text().splitlines()[:n]]
        super().upload(manifest, *audio)
        self.wait_said("Look at the list")
        wait_for(lambda: f"Save {n} " in self.part("save").inner_text(), f"{n} files to be ready")
        self.shot(f"{self.shots}-upload")
        self.click("save")
        self.wait_said(f"{n} files saved")


BEFORE, LOOK = ("colab", "imports", "settings", "prompts"), ("look-imports", "validate", "stats", "clips")
TRAIN = ("train-imports", "train", "compare", "verdict", "assert", "next")


def trained(walk, n, run):
    "Train, and read what a reader is told."
    walk.run(*LOOK, *TRAIN)
    assert f"{n} of {n} rows are good" in walk.output("validate")
    said, verdict = walk.output("train"), walk.output("verdict")
    assert f"runs/{run}" in said
    if n < 20: assert "cannot show a difference" in said and verdict.startswith("too little to tell")
    else: assert verdict.startswith("better" if n > 40 else ("better", "no clear difference")), verdict


@pytest.mark.parametrize("n", [int(o) for o in os.environ.get("VOXTRAL_NB_WALK", "5").split()])
def test_walk(tmp_path, n):
    folder, name = tmp_path/"notebooks", "record_your_voice.ipynb"
    folder.mkdir()
    text = TUTORIAL.read_text(encoding="utf-8")
    assert AS_READER[0] in text
    (folder/name).write_text(text.replace(*AS_READER), encoding="utf-8")
    with browser(speech_wav(tmp_path/"mic.wav", 30), height=1400) as context:
        with Server(folder, settings=WHOLE) as server: # today
            walk = Walker(context, server, name, f"walk-{n}-today")
            walk.run(*BEFORE)
            t0 = time.monotonic()
            walk.show()
            shown = time.monotonic() - t0
            walk.shot(f"{walk.shots}-consent")
            walk.agree()
            walk.shot(f"{walk.shots}-first")
            for _ in range(min(n, SPOKEN)):
                walk.record(1.5)
                walk.keep()
            if n > SPOKEN: walk.upload(n - SPOKEN)
            assert len(rows(folder/"my_voice")) == n
            walk.click("tab-saved")
            walk.part("clip-text").first.wait_for()
            walk.shot(f"{walk.shots}-saved")
            walk.run("bring", "save")
            assert f"my_voice: {n} clips" in walk.output("save")
            trained(walk, n, "my_voice")
            save(walk.page)
            no_audio_in(folder/name)

            reload(walk.page)
            hint = walk.cell("rec").get_by_text("Run this cell")
            wait_for(lambda: walk.root.and_(find(walk.page, "[data-ready=true]")).count() or hint.count(),
                     "the recorder, or what to do")
            screenshot(walk.cell("rec"), f"{walk.shots}-reloaded")
            walk.show()
            assert walk.part("tab-saved").inner_text() == f"Saved {n}"
            walk.page.close()

        with Server(folder, settings=WHOLE) as server: # the next day
            walk = Walker(context, server, name, f"walk-{n}-tomorrow")
            screenshot(walk.cell("rec"), f"{walk.shots}-opened")
            assert walk.cell("rec").get_by_text("Run this cell").first.is_visible()
            walk.run(*BEFORE)
            walk.show()
            assert not walk.part("agree").count() and walk.part("tab-saved").inner_text() == f"Saved {n}"
            walk.shot(f"{walk.shots}-recorder")
            walk.record(1.5)
            walk.keep()
            walk.run("bring", "save")
            trained(walk, n + 1, "my_voice-2")
            walk.page.close()
    print(f"\n{n} clips: the recorder was there {shown:.1f} s after its cell was run")
