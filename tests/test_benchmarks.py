"""The benchmarks still run: the smallest check of each, not their figures."""
import json, sys

import pytest

from conftest import ROOT, sh, warm


def benchmark(name, *args):
    "What it starts begins in a process that has loaded the package, as it does itself."
    return warm.run(ROOT/"benchmarks"/f"{name}.py", *args, cwd=ROOT, check=True, env=warm.again)

def smoke(name, *args): return benchmark(name, "--smoke", *args)


def test_train(tmp_path):
    smoke("train", "--out", tmp_path)
    r = json.loads((tmp_path/"train.json").read_text())
    for o in r["equal"]: # nothing was cheated: one step of ours is one step of the recipe
        assert o["loss_difference"] < 1e-5 and o["largest_difference"] < 1e-6 < o["largest_gradient"]
    assert [(o["method"], o["seconds"]) for o in r["throughput"]] == [("lora", "mix")]
    assert r["throughput"][0].keys() > {"recipe", "lm", "lm-logits", "ours"} and r["throughput"][0]["peers"]
    assert [o["clips"] for o in r["scaling"]] == [8] and (tmp_path/"train.png").stat().st_size > 1000


def test_quality(tmp_path):
    smoke("quality", "--out", tmp_path)
    r = json.loads((tmp_path/"quality.json").read_text())
    assert sorted(o["who"] for o in r["runs"]) == ["ours", "recipe"]
    for o in r["runs"]: assert [c["step"] for c in o["curve"]] == [0, 1, 2]
    assert (tmp_path/"quality.png").stat().st_size > 1000
    again = smoke("quality", "--out", tmp_path) # an interrupted benchmark continues; here nothing is left to do
    assert "2 runs are done" in again.stdout and json.loads((tmp_path/"quality.json").read_text())["runs"] == r["runs"]


def test_gpu(tmp_path):
    assert "check of the code" in smoke("gpu", "--out", tmp_path).stdout
    r = json.loads((tmp_path/"gpu-check.json").read_text())
    assert r["smoke"] and not r["failed"] and {o["status"] for o in r["cells"]} == {"ok"}
    assert any(o["build"] for o in r["cells"] if o["engine"] == "ours"), "the feature cache was not used"
    assert {(o["method"], o["seconds"]) for o in r["compared"]} == {(m, s) for m in ("lora", "full") for s in (1, 10)}


def test_gpu_checks(tmp_path):
    "What `gpu.py --check` does on a GPU, the most important of it on the CPU."
    smoke("gpu", "--check", "--few", "--out", tmp_path)
    assert {o["status"] for o in json.loads((tmp_path/"gpu-checks.json").read_text())["checks"]} == {"PASS"}


def test_commit(tmp_path):
    "Results name their commit even where there is no repository."
    import shutil
    (tmp_path/"benchmarks").mkdir()
    shutil.copy(ROOT/"benchmarks"/"measure.py", tmp_path/"benchmarks")
    def commit():
        return sh(sys.executable, "-c", "import measure; print(measure._commit())", cwd=tmp_path/"benchmarks",
                  check=True, env=dict(GIT_CEILING_DIRECTORIES=str(tmp_path.parent))).stdout.strip()
    assert commit() == "unknown"
    (tmp_path/"COMMIT").write_text("0123456789ab\n")
    assert commit() == "0123456789ab"


def test_presets(tmp_path):
    "Ours and the recipe are run, and what is done is not done again."
    smoke("presets", "--out", tmp_path/"runs.jsonl")
    rows = [json.loads(l) for l in (tmp_path/"runs.jsonl").read_text().splitlines()]
    assert [(r["how"], r["steps"] > 0, r["nll"] > 0) for r in rows] == [("recipe lora", True, True),
                                                                      ("lora lm max_steps=2", True, True)]
    again = smoke("presets", "--out", tmp_path/"runs.jsonl").stdout
    assert "lora lm max_steps=2" in again and len((tmp_path/"runs.jsonl").read_text().splitlines()) == 2


def test_base30(tmp_path):
    from voxtral_nb.model.collator import AudioWindows
    from voxtral_nb.model.models import load_voxtral
    smoke("base30", "--folder", tmp_path/"base30")
    _, processor = load_voxtral(str(tmp_path/"base30"), device="cpu", verbose=False)
    assert AudioWindows(processor).tokens == 375 and json.loads((tmp_path/"base30"/"made.json").read_text())["curve"]


def test_ear(tmp_path):
    "The ear is made, and each table about it is filled, with random weights."
    smoke("ear_make", "--folder", tmp_path/"ear", "--device", "cpu")
    made = json.loads((tmp_path/"ear"/"made.json").read_text())
    assert [o["step"] for o in made["curve"]] == [1, 2] and made["wer"]["espeak"] > 0
    tables = "silence", "frames", "company", "tune"
    smoke("ear", *tables, "--device", "cpu", "--out", tmp_path)
    rows = {o: json.loads((tmp_path/f"ear-{o}.json").read_text())["rows"] for o in tables}
    for name in ("silence", "frames", "company"):
        exact, *_, thin = (o for o in rows[name] if o["group"] == "all")
        assert exact["error"] == 0 and exact["tokens"] == 375 and exact["frames"] == 1500
        assert thin["tokens"] < 375 or thin["frames"] < 1500 or thin["error"] is None or thin["error"] > .1
    assert {o["steps"] for o in rows["tune"]} == {2}


def test_ear_is_voxtral(tmp_path):
    "What `ear.py` computes in its own way is what the model itself computes."
    import torch
    sys.path.insert(0, str(ROOT/"benchmarks"))
    import ear, ear_make, ear_model
    model, processor = ear_model.build(tmp_path, ear_model.SMALL)
    prompt = ear.TranscriptionPrompt(processor)
    clips = [ear.Clip(audio=ear_make.say(o, "espeak", "en"), text=o, kind="espeak") for o in ("seven men", "who came")]
    tokens, states = ear.states_of(model, prompt, clips, ear.WHOLE)
    with torch.no_grad():
        encoded = model.model.audio_tower(ear.features(prompt, clips)).last_hidden_state.flatten(0, 1).view(2, 375, -1)
        losses = ear.lm_losses(model, prompt, tokens, states, [c.text for c in clips])
    for s,e in zip(states, encoded): torch.testing.assert_close(s, e)
    heard = ear.greedy(model, prompt, tokens, states, limit=8)
    for c,l,h in zip(clips, losses, heard):
        ids, learned, mel = prompt.ids("en"), prompt.transcript_ids(c.text), prompt.features(c.audio)
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([ids+learned]), input_features=mel,
                         labels=torch.tensor([[-100]*len(ids)+learned])).loss
            out = model.generate(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long(),
                                 input_features=mel, max_new_tokens=8, do_sample=False)
        torch.testing.assert_close(l.mean(), loss)
        assert h == prompt.decode(out[0, len(ids):].tolist()).strip()
        x = torch.zeros(1, 480000)
        x[0, :len(c.audio)] = torch.from_numpy(c.audio)
        assert (ear_make.log_mel(x) - mel).abs().mean() < .01
    kept = ear.thin(10, 375, 8)
    assert sum(k for _,k in kept) == 375 and [i for i,_ in kept[:11]] == [*range(10), 14]
    assert ear.thin(10, 375, 8, head=4, last=5)[-5:] == [(i, 1) for i in range(370, 375)]


def test_collator_speed():
    r = benchmark("collator", "--repeats", 2, "--clips", 2, "--seconds", 1)
    assert json.loads(r.stdout.strip().splitlines()[-1])["ratio"] > 0


def test_realtime(tmp_path):
    "Clips that share their silence, with a cached encoder, take less arithmetic than one clip a stream."
    smoke("realtime", "--parts", "speed", "count", "delays", "--out", tmp_path)
    r = json.loads((tmp_path/"realtime.json").read_text())
    row, = r["speed"]["rows"]
    assert row["seconds"] == "1-3" and all(row[o]["run"]["median"] > 0 for o in ("recipe", "language model", "ours"))
    assert [o["seconds"] for o in r["count"]] == [1] and r["count"][0]["lm_ratio_cached"] > 1.5
    assert {*r["delays"]["random"]["0"]} == {"80", "240", "480", "960", "2400"}
    assert (tmp_path/"realtime_delays.png").stat().st_size > 10_000


def test_count(tmp_path):
    "One layer of the real width: every part that ours leaves out is arithmetic."
    benchmark("count", "--layers", 1, "--encoder-layers", 1, "--seconds", 1, "--out", tmp_path)
    row, = json.loads((tmp_path/"count.json").read_text())["rows"]
    assert row["recipe"] > row["lm"] > row["lm_logits"] > row["uncached"] > row["cached"] > 0
    assert row["times"]["recipe"] > row["times"]["lm_logits"] > 1


@pytest.mark.parametrize("family, file", [("voxtral", "full_size.json"), ("realtime", "full_size-realtime.json")])
def test_full_size(tmp_path, family, file):
    "A narrow model goes through all phases."
    benchmark("full_size", "--smoke", "--family", family, "--layers", 1, "--encoder-layers", 1, "--steps", 1, "--out",
              tmp_path)
    phases = json.loads((tmp_path/file).read_text())["phases"]
    assert [o["phase"] for o in phases] == ["write", "dry run", "train", "load", "merge", "transcribe"]
    assert phases[2]["steps"] == 1 and all(o["peak_gb"] > 0 for o in phases)


def test_data_check(tmp_path):
    smoke("data_check", "--out", tmp_path)
    r = json.loads((tmp_path/"data_check.json").read_text())
    assert r["sound"]["clips"] == 8 and r["sound"]["with sound"]["real_time"] > 0
    for part in ("list", "dataset", "report"): assert r[part]["rows"] == 90 # of 100, ten lead out of the folder
    assert r["list"]["bad"][0].startswith("list.csv line 9: the audio path ../outside.wav leaves")


def test_granary(tmp_path):
    "What a draw keeps in memory does not grow with the manifest."
    smoke("granary", "--out", tmp_path)
    runs = json.loads((tmp_path/"granary.json").read_text())["runs"]
    assert [o["rows"] for o in runs] == [2_000, 20_000] and all(o["grown_mb"] < 40 for o in runs), runs


def test_drafts(tmp_path):
    smoke("drafts", "--out", tmp_path)
    r = json.loads((tmp_path/"drafts.json").read_text())
    assert r["summary"]["at_clips"] == 4 and {*r["seeds"]["0"]["curves"]} == {*r["what"]["orders"]}
    assert 0 < r["summary"]["keystrokes"]["4"]


def test_align(tmp_path):
    smoke("align", "--out", tmp_path)
    r = json.loads((tmp_path/"align.json").read_text())
    assert r["setting"]["smoke"]
