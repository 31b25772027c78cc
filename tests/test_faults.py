"""Inputs that once went wrong without a word, each an example of its kind: data that is read wrongly, files that leave
their folder, leftovers.

The kinds are tested where they belong, in the notebooks. Here stands what a person would notice: the command or the
call, and what comes of it."""
import json, os, re, subprocess, sys

import numpy as np, pytest, soundfile as sf

from conftest import BIN, command, sh, warm
from voxtral_nb.core.assets import sample_speech, tiny_path
from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.audio import audio_info, read_audio
from voxtral_nb.data.dataset import DatasetError, SpeechDataset
from voxtral_nb.data.sources import load_speech

SMALL = """--model-id tiny --max-train-clips 8 --max-eval-clips 2 --batch-size 2 --max-new-tokens 8 --tracking none
--cache none""".split()
SR = 16_000


@pytest.fixture
def speech():
    "Two seconds of a recorded voice."
    rows = [json.loads(l) for l in sample_speech("base").read_text().splitlines()]
    x = np.concatenate([read_audio(sample_speech("base").parent/r["audio_path"]) for r in rows[:4]])
    return x[:2*SR]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "A run folder of two steps."
    folder = tmp_path_factory.mktemp("run")/"run"
    command("voxtral-train", *SMALL, "--max-steps", 2, "--eval-every", 1, "--output-dir", folder, check=True)
    return folder


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def rows(*o): return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in o)


# Audio: the decoded sound is the truth, not what a header promises

def test_stereo_of_opposite_phase_is_not_silence(tmp_path, speech):
    sf.write(tmp_path/"a.wav", np.stack([speech, -speech], 1), SR)
    assert np.abs(read_audio(tmp_path/"a.wav")).max() > .05


# Datasets and manifests

@pytest.mark.parametrize("text", [
    '{"audio_path": "a.wav", "text": "row 0"}\r{"audio_path": "a.wav", "text": "row 1"}\r',
    '{"audio_path": "a.wav", "text": "row 0"},'], ids=["carriage returns", "comma"])
def test_appending_deletes_no_row(tmp_path, speech, text):
    sf.write(tmp_path/"a.wav", speech, SR)
    (tmp_path/"data.jsonl").write_bytes(text.encode())
    try: SpeechDataset.open(tmp_path).append(speech, "new", SR)
    except DatasetError: pass
    assert any(b"row 0" in p.read_bytes() for p in tmp_path.iterdir() if p.is_file())


@pytest.mark.parametrize("row", [dict(offset=0, duration=1), dict(offset=.5, duration=1), dict(duration=1)])
def test_a_segment_is_never_the_whole_recording(tmp_path, speech, row):
    sf.write(tmp_path/"long.wav", np.tile(speech, 5), SR)
    write(tmp_path/"m.jsonl", rows(dict(audio_filepath="long.wav", text="a piece", **row)))
    try: found = load_speech(tmp_path/"m.jsonl", on_bad="skip").dataset
    except DatasetError: return
    for r in found: assert len(read_audio(r["audio"]))/SR == pytest.approx(1, abs=.05)


def test_a_list_whose_lines_begin_with_ids_is_matched_by_them(tmp_path, speech):
    from voxtral_nb.record.uploads import Uploads
    up, said = Uploads(), {"utt1": "the first one", "utt10": "the tenth one", "utt2": "the second one"}
    for i in (1, 2, 10):
        sf.write(tmp_path/f"utt{i}.wav", speech[50*i:], SR)
        up.add(tmp_path/f"utt{i}.wav")
    up.add(write(tmp_path/"text.txt", "".join(f"{k} {v}\n" for k, v in said.items())))
    assert {o.name: o.text for o in up.items} == {f"{k}.wav": v for k, v in said.items()}


def test_lj_speech_is_matched_by_its_own_list(tmp_path, speech):
    from voxtral_nb.record.uploads import Uploads
    sf.write(tmp_path/"LJ001-0001.wav", speech, 22_050)
    up, said = Uploads(), 'Printing, in the "only sense'
    up.add(tmp_path/"LJ001-0001.wav")
    up.add(write(tmp_path/"metadata.csv", f"LJ001-0001|{said}|{said}\n"))
    assert up.items[0].text == said


# Scores

@pytest.mark.parametrize("language,reference,hypothesis", [
    ("th", "น้ำ", "นำ"), ("th", "เสื้อสีขาว", "เสือสีขาว"), ("yo", "ọ̀rọ̀ mi ni", "ọ̀rọ́ mi ni"),
    ("my", "မြန်မာ", "မျန်မာ")])
def test_marks_that_are_letters_count(language, reference, hypothesis):
    from voxtral_nb.measure.evaluation import score
    assert score([reference], [hypothesis], "basic", languages=[language]).score > 0


# Settings and flags

def test_extreme_settings_are_refused_with_a_message(tmp_path):
    many = "1" + 400*"0"
    write(tmp_path/"deep.yaml", "seed: " + 20_000*"[" + 20_000*"]")
    for words in (["--model-id", "tiny", "--max-steps", many], ["--config", tmp_path/"deep.yaml"]):
        r = command("voxtral-train", *words, "--show-config")
        assert r.returncode == 2 and "Traceback" not in r.stderr and "error" in r.stderr.lower(), (words,
            r.stderr[-500:])


@pytest.mark.parametrize("name", ["1e3", "on", "012", "0x1F", "~", "a: b", "#1", "1_000", "x\u0085y", "12:30:45", "'",
                                  "no", "a: b # c", "é\u2028"])
def test_what_show_config_prints_config_takes(tmp_path, name):
    first = command("voxtral-train", "--train-data=a.jsonl", f"--run-name={name}", "--show-config", check=True).stdout
    write(tmp_path/"c.yaml", first)
    again = command("voxtral-train", "--config", tmp_path/"c.yaml", "--show-config", check=True).stdout
    assert again == first and RunConfig.load(tmp_path/"c.yaml").run_name == name


def test_a_token_in_a_flag_is_written_nowhere(tmp_path):
    for kind in ("hf_", "hf_oauth_", "hf_jwt_", "github_pat_11", "ghp_", "sk-"):
        token = kind + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
        r = command("voxtral-train", *SMALL, "--max-steps", 1, "--run-name", token, "--output-dir", "run", cwd=tmp_path)
        assert r.returncode == 2 and token not in r.stdout + r.stderr
        assert not [p for p in tmp_path.rglob("*") if p.is_file() and token.encode() in p.read_bytes()]


@pytest.mark.parametrize("typed", ["voxtral-eval runs/nope {speech}", "voxtral-demo runs/nope",
                                   "voxtral-publish runs/nope --dry-run",
                                   "voxtral-train --train-data {speech} --model-id runs/nope"])
def test_a_mistyped_path_is_reported_as_a_path(tmp_path, typed):
    (tmp_path/"runs").mkdir()
    words = typed.format(speech=sample_speech("accent_eval")).split()
    r = command(*words, cwd=tmp_path, env=dict(HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9"))
    assert r.returncode and "runs/nope" in r.stderr
    assert not re.search(r"retry|network|Hub cannot be reached|connect", r.stderr, re.I), r.stderr[-500:]


# Folders: who writes, and what leaves them

def test_two_runs_do_not_share_a_folder(tmp_path):
    from voxtral_nb.training.checkpoints import run_lock
    start = lambda: command("voxtral-train", *SMALL, "--max-steps", 1, "--output-dir", tmp_path/"run")
    with run_lock(tmp_path/"run"):
        r = start()
        assert r.returncode == 2 and f"in use by another run (process {os.getpid()} on" in r.stderr, r.stderr[-500:]
        assert {p.name for p in (tmp_path/"run").iterdir()} == {".lock", ".lock.json"}
    assert start().returncode == 0


def test_no_more_workers_than_batches(tmp_path):
    r = command("voxtral-train", *SMALL, "--max-steps", 1, "--max-train-clips", 8, "--num-workers", 999, "--output-dir",
           tmp_path/"run")
    assert "create 999" not in r.stdout + r.stderr and r.returncode in (0, 2)


def test_a_path_that_is_not_utf8(tmp_path):
    args = [*warm.python, BIN/"voxtral-train", *SMALL, "--max-steps", "1", "--output-dir"]
    r = subprocess.run([*map(os.fsencode, args), os.fsencode(tmp_path) + b"/bad\xff"], capture_output=True)
    assert b"Traceback" not in r.stderr


def test_links_do_not_lead_out_of_a_dataset(finished, tmp_path, speech):
    import shutil
    run, data = tmp_path/"run", tmp_path/"ds"
    shutil.copytree(finished, run, symlinks=True)
    (tmp_path/"private").mkdir()
    sf.write(tmp_path/"private"/"p.wav", speech, SR)
    (data/"wavs").mkdir(parents=True)
    (data/"wavs"/"x.wav").symlink_to("../../private/p.wav")
    write(data/"data.jsonl", rows(dict(audio_path="wavs/x.wav", text="a")))
    command("voxtral-publish", data, "--license", "cc0-1.0", "--dry-run", "--output-dir", tmp_path/"one")
    assert not list((tmp_path/"one").rglob("*.wav")) and not list((tmp_path/"one").rglob("*.parquet"))
    secret = write(tmp_path/"secret.json", "not yours")
    (run/"final-model"/"generation_config.json").unlink(missing_ok=True)
    (run/"final-model"/"generation_config.json").symlink_to(secret)
    command("voxtral-publish", run, "--dry-run", "--output-dir", tmp_path/"two")
    assert not [p for p in (tmp_path/"two").rglob("*") if p.is_file() and b"not yours" in p.read_bytes()]


def test_only_the_files_of_a_checkpoint_are_published(finished, tmp_path):
    import shutil
    run = tmp_path/"run"
    shutil.copytree(finished, run, symlinks=True)
    outside = write(tmp_path/"outside.txt", "PRIVATE")
    for p in run.glob("checkpoint-*"):
        write(p/"id_rsa", "PRIVATE")
        (p/"link.txt").symlink_to(outside)
    r = command("voxtral-publish", run, "--optimizer", "--dry-run", "--output-dir", tmp_path/"out", check=True)
    assert not [p for p in (tmp_path/"out").rglob("*") if p.is_file() and b"PRIVATE" in p.read_bytes()], r.stdout


# Code that is not ours

def test_custom_code_of_a_model_is_refused_without_asking(tmp_path):
    import shutil
    shutil.copytree(tiny_path(), tmp_path/"m")
    p = tmp_path/"m"/"processor_config.json"
    write(p, json.dumps(json.loads(p.read_text()) | dict(processor_class="X", auto_map=dict(AutoProcessor="evil.X"))))
    write(tmp_path/"m"/"evil.py", "open('PWNED', 'w').write('x')\nclass X: pass\n")
    r = subprocess.run([*warm.python, BIN/"voxtral-eval", "m", sample_speech("accent_eval"), "--max-eval-clips", "1",
                        "--max-new-tokens", "4",
        "--output", "x.json"], cwd=tmp_path, input="y\n"*20, capture_output=True, text=True)
    assert not (tmp_path/"PWNED").exists()
    assert not re.search("Do you wish|trust_remote_code=True", r.stdout + r.stderr)


def test_python_trains_as_the_shell_does(finished, tmp_path):
    code = """from voxtral_nb import RunConfig, train
train(RunConfig(model_id="tiny", max_train_clips=8, max_eval_clips=2, batch_size=2, max_new_tokens=8, tracking="none",
                cache="none", max_steps=2, eval_every=1, output_dir="python"))"""
    warm(code, cwd=tmp_path, check=True)
    a, b = (json.loads((tmp_path/o/"training_config.json").read_text())["config"] for o in (finished, "python"))
    assert {k: v for k, v in a.items() if k != "output_dir"} == {k: v for k, v in b.items() if k != "output_dir"}


# More members of the same kinds, in this process

def au(b): b[8:12] = b"\xff"*4 # as a pipe leaves it
def aiff(b): b[b.index(b"COMM")+10:b.index(b"COMM")+14] = bytes(3) + b"\x63"


@pytest.mark.parametrize("change", [au, aiff])
def test_no_header_cuts_sound(tmp_path, speech, change):
    "1"
    f = tmp_path/f"a.{change.__name__}"
    sf.write(f, speech, SR)
    b = bytearray(f.read_bytes())
    change(b)
    f.write_bytes(b)
    assert len(read_audio(f)) == len(speech) and audio_info(f).duration == 2


@pytest.mark.parametrize("line", ["{0}.wav - {1}", "[{0}.wav] {1}", "{0}={1}", "/data/set/{0}.wav {1}",
                                  "C:\\rec\\{0}.wav\t{1}", "{0}.WAV: {1}", '"{0}.wav" "{1}"', "{0} -> {1}"])
def test_a_list_in_another_order_is_matched_by_name(tmp_path, speech, line):
    "2"
    from voxtral_nb.record.uploads import Uploads
    up, said = Uploads(), dict(a="the first one", b="the second one", c="the third one")
    for i, k in enumerate(said):
        sf.write(tmp_path/f"{k}.wav", speech[100*i:], SR)
        up.add(tmp_path/f"{k}.wav")
    up.add(write(tmp_path/"list.txt", "\n".join(line.format(k, said[k]) for k in sorted(said, reverse=True))))
    assert {o.name: o.text for o in up.items} == {f"{k}.wav": v for k, v in said.items()}


PARTS = [dict(start="1", end="2"), dict(start_ms=1000, end_ms=2000), dict(offset="1", duration="1"),
         dict(timestamp=[1, 2]), dict(begin_time=1, endTime=2), {"from": 1, "to": 2}, dict(start=1, duration=1),
         dict(start="00:00:01.000", end="00:00:02.000"), dict(segment=dict(start=1, end=2)), dict(xmin=1, xmax=2)]


@pytest.mark.parametrize("row", PARTS, ids=str)
def test_a_part_in_any_spelling_is_that_part(tmp_path, speech, row):
    "3"
    sf.write(tmp_path/"long.wav", np.tile(speech, 5), SR)
    write(tmp_path/"m.jsonl", rows(dict(audio_filepath="long.wav", text="a piece", **row)))
    clip, = load_speech(tmp_path/"m.jsonl").dataset
    assert np.allclose(read_audio(clip["audio"]), read_audio(tmp_path/"long.wav")[SR:2*SR], atol=1e-3)


@pytest.mark.parametrize("row", [dict(start=1), dict(end=1), dict(start=5, end=4), dict(offset=-1, duration=1),
                                 dict(start=9, end=12), dict(offset=True)], ids=str)
def test_a_part_that_is_none_is_refused(tmp_path, speech, row):
    "3"
    sf.write(tmp_path/"long.wav", np.tile(speech, 5), SR)
    write(tmp_path/"m.jsonl", rows(dict(audio_filepath="long.wav", text="a piece", **row)))
    with pytest.raises(DatasetError): load_speech(tmp_path/"m.jsonl")


@pytest.mark.parametrize("language,reference,hypothesis,wrong", [
    ("bn", "চাঁদ", "চাদ", 1), ("ta", "தமிழ்", "தமிழ", 1), ("pa", "ਪੰਜਾਬ", "ਪਜਾਬ", 1), ("hi", "फ़ोन", "फोन", 1),
    ("hi", "\u0958लम", "\u0915\u093cलम", 0), ("tr", "İstanbul", "istanbul", 0), ("fa", "می\u200cروم", "میروم", 0),
    ("vi", "tie\u0302\u0301ng", "tiếng", 0), ("ko", "\u1112\u1161\u11ab", "한", 0),
    ("en", "\u2066hi\u2069\ufe0f", "hi", 0)])
def test_letters_count_and_spellings_of_one_letter_do_not(language, reference, hypothesis, wrong):
    "4"
    from voxtral_nb.measure.evaluation import score
    assert score([reference], [hypothesis], "basic", languages=[language]).score == wrong


@pytest.mark.parametrize("channels", [(1, -1), (1, -.9), (0, 0, 0, 0, 1, 0, 0, 0), (1, -1, 0, 0)], ids=str)
def test_no_channel_cancels_another_in_training_or_demo(tmp_path, speech, channels):
    "5"
    from voxtral_nb.share.demo import demo_template, load_app
    app = load_app(demo_template())
    sf.write(tmp_path/"a.wav", speech[:, None]*channels, SR)
    for x in (read_audio(tmp_path/"a.wav"), app.read_audio(str(tmp_path/"a.wav"), app.LIMITS)):
        assert np.abs(x).max() > .9*np.abs(speech).max()


@pytest.mark.parametrize("end", [b"\n\x1a", b"\x1a", b"\0\0", b"]", b"\x0c\n", b" // mine", "\u2028".encode()],
                         ids=repr)
def test_a_row_that_an_editor_left_odd_is_not_lost(tmp_path, speech, end):
    "6"
    test_appending_deletes_no_row(tmp_path, speech, '{"audio_path": "a.wav", "text": "row 0"}' + end.decode())


def published(run, folder, *args):
    "What a dry run says, or its error."
    return command("voxtral-publish", run, *args, "--dry-run", "--output-dir", folder)


@pytest.fixture
def run(finished, tmp_path):
    import shutil
    return shutil.copytree(finished, tmp_path/"run", symlinks=True)


def change(file, **what):
    "Write a JSON file again: a hard link to it keeps the old content."
    new = json.loads(file.read_text()) | what
    file.unlink()
    write(file, json.dumps(new))


def test_only_the_weights_that_were_measured_are_published(run, tmp_path):
    "7: weights that were exchanged, results of another run, a run that went on and was killed, one of an older version"
    weights = json.loads((run/"train_results.json").read_text())["weights"]
    assert published(run, tmp_path/"same").returncode == 0
    other = {"final": {"adapter_model.safetensors": "0"*64}, "best": weights.get("best")}
    change(run/"train_results.json", weights=other)
    r = published(run, tmp_path/"a")
    assert r.returncode == 2 and "name different weights" in r.stderr
    change(run/"eval_results.json", weights=other)
    r = published(run, tmp_path/"b")
    assert r.returncode == 2 and "is not what the results" in r.stderr and not (tmp_path/"b").exists()
    for f in ("train_results.json", "eval_results.json"): change(run/f, weights=dict(best=weights.get("best")))
    assert "not about final-model" in published(run, tmp_path/"c").stderr
    for f in ("train_results.json", "eval_results.json"): change(run/f, weights=None)
    r = published(run, tmp_path/"d")
    assert r.returncode == 0 and "nothing shows that" in r.stdout


def test_a_best_model_that_is_none_is_said_to_be_none(run, tmp_path):
    "12"
    import shutil
    shutil.rmtree(run/"best-model", ignore_errors=True)
    change(run/"eval_results.json", best=dict(step=0, rates=dict(wer=.1, cer=.1), eval_loss=1., eval_clips=4))
    assert "no step was better" in published(run, tmp_path/"a", "--weights", "best").stderr


def test_the_same_settings_from_shell_python_and_notebook(capsys):
    "8"
    from voxtral_nb import RunConfig
    from voxtral_nb.core.assets import with_tiny_defaults
    from voxtral_nb.run.commands import voxtral_train
    voxtral_train(["--model-id", "tiny", "--show-config"])
    shell = capsys.readouterr().out
    assert with_tiny_defaults(RunConfig(model_id="tiny"), False).to_yaml() == shell


def test_row_numbers_count_lines_of_the_file(tmp_path, speech):
    "10: a quoted line break and a blank line come before"
    sf.write(tmp_path/"a.wav", speech, SR)
    write(tmp_path/"list.csv", 'path,sentence\na.wav,"one\ntwo"\n\na.wav,three\na.wav,\n')
    with pytest.raises(DatasetError, match=r"list\.csv line 6"): load_speech(tmp_path/"list.csv")


@pytest.fixture(scope="module")
def tiny():
    "The tiny model, prepared for LoRA, with its processor."
    from voxtral_nb import RunConfig
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.model.prepare import prepare_model
    model, processor = load_voxtral("tiny", device="cpu", verbose=False)
    return prepare_model(model, RunConfig(model_id="tiny"), verbose=False), processor


def settings(**more):
    from voxtral_nb import RunConfig
    return RunConfig(**dict(model_id="tiny", device="cpu", train_data=str(sample_speech("accent_train")), eval_data=str(
        sample_speech("accent_eval")), max_train_clips=4, max_eval_clips=4, max_steps=1, batch_size=2, max_new_tokens=4,
        tracking="none", cache="none") | more)


def test_what_is_cached_is_used_wherever_the_clips_lie(tiny, tmp_path, speech):
    "11: another folder, other names, and a limit that a new cache would exceed"
    from voxtral_nb.model.cache import cache_rows, plan_cache
    def clips(name): return [dict(audio=str(sf_write(tmp_path/name/f"{i}{name}.wav", speech[i*1000:])), text="a",
                                  language="en") for i in range(3)]
    def sf_write(f, x):
        f.parent.mkdir(exist_ok=True)
        sf.write(f, x, SR)
        return f
    cfg = settings(cache="encoder", cache_dir=str(tmp_path/"cache"))
    cache_rows(clips("here"), *tiny, cfg, log=lambda line: None, verbose=False)
    plan = plan_cache(clips("there"), *tiny, cfg.replace(cache="auto", cache_max_gb=1e-9, max_steps=1))
    assert (plan.level, plan.there) == ("encoder", 3) and "all 3 already cached" in plan.text


def test_workers_of_the_cache_are_no_more_than_cores(tiny, tmp_path, monkeypatch, speech):
    "19"
    import torch
    from voxtral_nb.core.memory import usable_cores
    from voxtral_nb.model.cache import cache_rows
    clips = []
    for i in range(usable_cores() + 4):
        sf.write(tmp_path/f"{i}.wav", speech[i*100:], SR)
        clips.append(dict(audio=str(tmp_path/f"{i}.wav"), text="a", language="en"))
    class Asked(Exception): pass
    def loader(*args, num_workers=0, **how): raise Asked(num_workers)
    monkeypatch.setattr(torch.utils.data, "DataLoader", loader)
    cfg = settings(cache="encoder", cache_dir=str(tmp_path/"cache"), num_workers=999, eval_batch_size=1)
    with pytest.raises(Asked) as e: cache_rows(clips, *tiny, cfg, log=lambda line: None, verbose=False)
    assert 0 < e.value.args[0] <= usable_cores()


def lfs(f): f.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a"*64 + b"\nsize 9\n")
def half(f): f.write_bytes(f.read_bytes()[:f.stat().st_size//2])
def a_list(f): f.write_text("[1]")
def deep(f): f.write_text('{"a":' + 10**5*"[" + 10**5*"]" + "}")
def null(f): f.write_text("null")
def runs_code(f): f.write_text('{"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["evil.X", null]}}')
def loads_kernel(f): write(f, json.dumps(json.loads(f.read_text()) | dict(text_config=dict(
    _attn_implementation="someone/kernel"))))
def pickle(f):
    import torch
    f.unlink()
    torch.save(dict(a=1), f.with_name("pytorch_model.bin"))


@pytest.mark.parametrize("file,harm", [
    ("model.safetensors", lfs), ("tekken.json", lfs), ("config.json", lfs), ("tekken.json", half),
    ("processor_config.json", a_list), ("generation_config.json", half), ("generation_config.json", a_list),
    ("config.json", deep), ("adapter_config.json", null), ("processor_config.json", deep),
    ("tokenizer_config.json", runs_code), ("config.json", loads_kernel), ("model.safetensors", pickle),
    ("model.safetensors.index.json", a_list)])
def test_a_damaged_or_hostile_model_is_refused_by_the_name_of_its_file(tmp_path, monkeypatch, file, harm):
    "13, 21, 23"
    import shutil
    from voxtral_nb.model.models import ModelError, load_voxtral
    shutil.copytree(tiny_path(), tmp_path/"m")
    harm(tmp_path/"m"/file)
    write(tmp_path/"evil.py", f"open({str(tmp_path/'PWNED')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=re.escape(file)): load_voxtral(tmp_path/"m", device="cpu", verbose=False)
    assert not (tmp_path/"PWNED").exists()


@pytest.mark.parametrize("way", ["file", "model folder", "checkpoint"])
def test_no_link_leads_out_of_a_space_or_a_best_model(run, tmp_path, way):
    "14"
    from voxtral_nb.core.config import VoxtralNBError
    from voxtral_nb.share.demo import space_folder
    from voxtral_nb.training.checkpoints import link_model
    secret = write(tmp_path/"private"/"generation_config.json", "not yours")
    if way == "file": (run/"final-model"/secret.name).symlink_to(secret)
    if way == "model folder":
        (run/"final-model").rename(tmp_path/"elsewhere")
        (run/"final-model").symlink_to(tmp_path/"elsewhere")
    ckpt = next(run.glob("checkpoint-*"))
    if way == "checkpoint": (ckpt/secret.name).symlink_to(secret)
    with pytest.raises(VoxtralNBError, match="leads out of"):
        link_model(ckpt, run/"final-model") if way == "checkpoint" else space_folder(run, tmp_path/"space")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p != secret and b"not yours" in p.read_bytes()
                and not p.is_symlink()]


@pytest.mark.parametrize("row", [dict(file_name="{}/private.wav"), dict(file_name="wavs/private.wav")], ids=str)
@pytest.mark.parametrize("format", ["files", "parquet"])
def test_no_path_leads_out_of_a_published_dataset(tmp_path, speech, row, format):
    "14: an absolute path, and a folder that is a link"
    from voxtral_nb.core.config import VoxtralNBError
    from voxtral_nb.share.publish import publish_dataset
    sf.write(tmp_path/"private.wav", speech, SR)
    (tmp_path/"ds").mkdir()
    (tmp_path/"ds"/"wavs").symlink_to(tmp_path)
    write(tmp_path/"ds"/"metadata.jsonl", rows(dict(text="a", file_name=row["file_name"].format(tmp_path))))
    with pytest.raises(VoxtralNBError, match="leads out of|leaves the dataset"):
        publish_dataset(tmp_path/"ds", format=format, dry_run=tmp_path/"out")
    assert not (tmp_path/"out").exists()


@pytest.mark.parametrize("secret", ["npm_" + "a1"*20, "https://x.test/a?X-Amz-Signature=0123456789abcdef",
                                    "https://anna:pa55word@x.test", "hf\\_" + "a1"*17], ids=str)
@pytest.mark.parametrize("format", ["files", "parquet"])
def test_no_secret_in_a_row_is_published(tmp_path, speech, secret, format):
    "15"
    from voxtral_nb.core.config import VoxtralNBError
    from voxtral_nb.share.publish import publish_dataset
    SpeechDataset.create(tmp_path/"ds").append(speech, f"see {secret}", SR, language="en", license="cc0-1.0")
    with pytest.raises(VoxtralNBError, match="token") as e:
        publish_dataset(tmp_path/"ds", format=format, dry_run=tmp_path/"out")
    assert secret not in str(e.value) and not (tmp_path/"out").exists()


def test_a_lock_of_another_host_that_nobody_holds_is_taken(tmp_path):
    "18: a run on a network drive whose machine is gone"
    from voxtral_nb.training.checkpoints import run_lock
    write(tmp_path/".lock", "")
    write(tmp_path/".lock.json", json.dumps(dict(pid=1, host="elsewhere", since="yesterday")))
    with run_lock(tmp_path): assert json.loads((tmp_path/".lock.json").read_text())["pid"] == os.getpid()


def test_a_terminal_that_lacks_letters_shows_something(monkeypatch):
    "20"
    import io
    from voxtral_nb.run.flags import Parser
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    Parser("p").run(lambda p, a: print("नमस्ते → é"), [])
    out.flush()
    assert b"\\u0928" in out.buffer.getvalue()


def test_records_nested_deeply_are_damaged_records(run, tmp_path):
    "21"
    from voxtral_nb.share.cards import CardError, read_run
    from voxtral_nb.training.checkpoints import checkpoint_problem
    ckpt = next(run.glob("checkpoint-*"))
    for f in (ckpt/"trainer_state.json", run/"train_results.json"):
        f.unlink()
        deep(f)
    assert "trainer_state.json" in checkpoint_problem(ckpt)
    with pytest.raises(CardError, match="train_results.json is damaged"): read_run(run)


def test_a_number_of_five_thousand_digits(tmp_path, speech):
    "21"
    sf.write(tmp_path/"a.wav", speech, SR)
    (tmp_path/"data.jsonl").write_text('{"audio_path": "a.wav", "text": "a", "duration": ' + 5000*"1" + "}\n")
    with pytest.raises(DatasetError, match="line 1"): load_speech(tmp_path)


@pytest.mark.parametrize("suffix,text", [("yaml", "seed: 7\r\nrun_name: a\r\n"),
                                         ("json", '{"seed": 7,\r\n"run_name": "a"}')])
def test_a_config_that_an_editor_saved_is_read(tmp_path, suffix, text):
    "22: a byte order mark, and line ends of Windows"
    from voxtral_nb import RunConfig
    (tmp_path/f"c.{suffix}").write_bytes(b"\xef\xbb\xbf" + text.encode())
    cfg = RunConfig.load(tmp_path/f"c.{suffix}")
    assert (cfg.seed, cfg.run_name) == (7, "a")


def full_cpu(*args, **kwargs):
    import torch
    return torch.empty(2**50)
def full_cuda(*args, **kwargs):
    import torch
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
def full_numpy(*args, **kwargs): raise MemoryError("Unable to allocate 9 TiB for an array")


@pytest.mark.parametrize("phase,where,full", [ # each phase, and each way to say that memory is full
    ("loading", "torch.nn.Module.load_state_dict", full_numpy), ("caching", "torch.nn.functional.conv1d", full_cpu),
    ("training", "torch.nn.functional.cross_entropy", full_cuda),
    ("evaluating", "torch.nn.functional.conv1d", full_cpu),
    ("checking", "torch.nn.functional.conv1d", full_cuda), ("dry run", "torch.optim.AdamW.step", full_cpu)])
def test_full_memory_names_the_phase_and_what_needs_less(tmp_path, monkeypatch, phase, where, full):
    "24"
    from voxtral_nb import dry_run, train
    from voxtral_nb.core.config import VoxtralNBError
    cfg = settings(output_dir=str(tmp_path/"run"), cache="encoder" if phase == "caching" else "none",
                   cache_dir=str(tmp_path/"cache"), eval_before=phase == "evaluating",
                   packing="split" if phase == "checking" else "none")
    if phase == "loading": where = "transformers.VoxtralForConditionalGeneration.from_pretrained"
    monkeypatch.setattr(where, full)
    with pytest.raises(VoxtralNBError) as e: (dry_run if phase == "dry run" else train)(cfg, verbose=False)
    said = str(e.value)
    assert re.search(f"out of memory while {'training' if phase == 'dry run' else phase}", said), said
    less = dict(loading="precision", caching="cache='none'", evaluating="eval_batch_size=4",
                checking="packing='none'").get(phase, "batch_tokens=")
    assert "To reduce memory: " in said and less in said, said


@pytest.mark.parametrize("path", ["runs\\nope", "runs/nope/", "./nope", "~nobody/x", "file:///tmp/nope", "/nope",
                                  "https://huggingface.co/mistralai/Voxtral-Mini-3B-2507", "nope.wav"])
def test_what_cannot_be_a_hub_id_never_asks_the_hub(tmp_path, monkeypatch, path):
    "25"
    from voxtral_nb.core.config import VoxtralNBError
    from voxtral_nb.model.models import load_voxtral
    monkeypatch.chdir(tmp_path)
    for load in (load_speech, lambda p: load_voxtral(p, verbose=False)):
        with pytest.raises(VoxtralNBError) as e: load(path)
        assert not re.search(r"network|Hub cannot be reached|connect|offline", str(e.value), re.I), e.value


def test_what_a_killed_write_left_is_cleared_by_the_next(tmp_path, speech):
    "26"
    ds = SpeechDataset.create(tmp_path/"ds")
    left = [write(tmp_path/"ds"/o, "half") for o in (".data.jsonl.0123456789ab.tmp",
                                                     "wavs/.recording_0000.wav.0123456789ab.tmp")]
    mine = write(tmp_path/"ds"/".notes.tmp", "mine")
    for p in left: os.utime(p, (0, 0))
    ds.append(speech, "new", SR)
    ds.rewrite(list(ds))
    assert not left[1].exists() and mine.exists()
    from voxtral_nb.core import files
    files._CLEARED.clear() # as in another process
    ds.rewrite(list(ds))
    assert not left[0].exists()


def test_an_answer_that_ends_at_the_limit_is_not_cut_off(speech):
    "9: the page says so of one that does not end there only"
    from voxtral_nb.share.demo import demo_source, demo_template, load_app
    source, app = demo_source("tiny"), load_app(demo_template())
    spoken = read_audio(sample_speech("base").parent/"base"/"0000.ogg")
    page = app.Transcriber(dict(model=source.model, name="tiny", weights=source.weights, base=None, limits={}))
    text, cut = page(spoken, "en")
    n = len(text.encode()) # its tokens are bytes; behind them comes the one that ends an answer
    cuts = {}
    for most in (n - 1, n, n + 1):
        page.settings["max_new_tokens"] = most
        cuts[most - n] = page(spoken, "en")
    assert not cut and cuts == {-1: (text[:-1], True), 0: (text, True), 1: (text, False)}


def test_the_kernel_of_a_run_notebook_imports_nothing_from_the_current_folder(tmp_path):
    "17"
    for name in """tqdm IPython ipykernel yaml numpy argparse papermill sitecustomize ipykernel_launcher torch
            voxtral_nb""".split(): write(tmp_path/f"{name}.py", "open('RAN', 'w')\n")
    cell = lambda id, source, **more: dict(cell_type="code", id=id, metadata=more, outputs=[], execution_count=None,
                                           source=source)
    cells = [cell("a", "output_dir = 'out' # folder", tags=["parameters"]),
             cell("b", "import numpy, tqdm, yaml\nfrom voxtral_nb.run.notebooks import write_result\n"
                       "write_result(output_dir, ok=numpy.__version__ > '')")]
    write(tmp_path/"mine.ipynb", json.dumps(dict(cells=cells, nbformat=4, nbformat_minor=5, metadata=dict(
        kernelspec=dict(name="python3", display_name="Python 3")))))
    r = sh(BIN/"voxtral-run", "mine.ipynb", "--output-dir", "out", cwd=tmp_path)
    assert not (tmp_path/"RAN").exists() and not (tmp_path/"out"/"RAN").exists(), r.stderr[-800:]
    assert r.returncode == 0, r.stderr[-800:]
