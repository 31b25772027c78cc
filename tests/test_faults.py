"""Inputs that once went wrong without a word, each an example of its kind: data that is read wrongly, files that leave
their folder, leftovers.

The kinds are tested where they belong, in the notebooks. Here stands what a person would notice: the command or the
call, and what comes of it."""
import json, os, re, subprocess, sys

import numpy as np, pytest, soundfile as sf

from conftest import BIN, sh
from voxtral_nb.core.assets import sample_speech, tiny_path
from voxtral_nb.data.audio import audio_info, read_audio
from voxtral_nb.data.dataset import DatasetError, SpeechDataset
from voxtral_nb.data.sources import load_speech

SMALL = """--model-id tiny --max-train-clips 16 --max-eval-clips 4 --batch-size 4 --max-new-tokens 24 --tracking none
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
    "A run folder of four steps."
    folder = tmp_path_factory.mktemp("run")/"run"
    sh(BIN/"voxtral-train", *SMALL, "--max-steps", 4, "--eval-every", 2, "--output-dir", folder, check=True)
    return folder


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def rows(*o): return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in o)


# Audio: the decoded sound is the truth, not what a header promises

def test_a_chained_stream_is_read_whole(tmp_path, speech):
    for suffix in ("ogg", "opus"):
        kind = dict(format="OGG", subtype="OPUS" if suffix == "opus" else "VORBIS")
        sf.write(tmp_path/"one", speech, SR, **kind)
        (tmp_path/f"two.{suffix}").write_bytes(2*(tmp_path/"one").read_bytes())
        assert len(read_audio(tmp_path/f"two.{suffix}"))/SR == pytest.approx(4, abs=.1)
        assert audio_info(tmp_path/f"two.{suffix}").duration == pytest.approx(4, abs=.1)


def test_an_mp3_without_its_length_is_read_whole(tmp_path, speech):
    x = np.tile(speech, 4)
    sf.write(tmp_path/"a.mp3", x, SR, format="MP3", bitrate_mode="VARIABLE", compression_level=.5)
    b = (tmp_path/"a.mp3").read_bytes()
    tag = max(b.find(b"Xing"), b.find(b"Info"))
    assert tag > 0
    # what a pipe leaves: no frame that counts the others
    (tmp_path/"piped.mp3").write_bytes(b[b.index(b"\xff", tag + 120):])
    assert len(read_audio(tmp_path/"piped.mp3"))/SR == pytest.approx(8, abs=.2)
    assert audio_info(tmp_path/"piped.mp3").duration == pytest.approx(8, abs=.2)


@pytest.mark.parametrize("more", [8, 16, 44, -10**9])
def test_a_wav_whose_header_is_off_by_a_header(tmp_path, speech, more):
    sf.write(tmp_path/"a.wav", speech, SR, subtype="PCM_16")
    b = bytearray((tmp_path/"a.wav").read_bytes())
    at = b.index(b"data") + 4
    size = max(0, int.from_bytes(b[at:at+4], "little") + more)
    b[at:at+4] = size.to_bytes(4, "little")
    (tmp_path/"a.wav").write_bytes(b)
    assert len(read_audio(tmp_path/"a.wav"))/SR == pytest.approx(2, abs=.01)


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


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", "\u200f\u00ad"])
def test_a_transcript_of_invisible_characters_is_empty(tmp_path, speech, text):
    sf.write(tmp_path/"a.wav", speech, SR)
    write(tmp_path/"data.jsonl", rows(dict(audio_path="a.wav", text=text)))
    with pytest.raises(DatasetError): load_speech(tmp_path)


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


@pytest.mark.parametrize("reference,hypothesis", [("\u200fשלום עולם", "שלום עולם"),
                                                  ("hello\u200b world", "hello world"),
    ("\ufeffhello world", "hello world"), ("won\u00adderful day", "wonderful day"),
    ("كِتَابٌ جَدِيدٌ", "كِتَابٌ جَدِيدٌ")])
def test_invisible_characters_are_not_errors(reference, hypothesis):
    from voxtral_nb.measure.evaluation import score
    s = score([reference], [hypothesis], "basic")
    assert (s.score, s.words) == (0, 2)


# Settings and flags

def test_extreme_settings_are_refused_with_a_message(tmp_path):
    many = "1" + 400*"0"
    write(tmp_path/"whole.json", f'{{"max_steps": {many}}}')
    write(tmp_path/"whole.yaml", f"learning_rate: {many}")
    write(tmp_path/"deep.json", '{"seed":' + 100_000*"[" + 100_000*"]" + "}")
    write(tmp_path/"deep.yaml", "seed: " + 20_000*"[" + 20_000*"]")
    write(tmp_path/"half.json", '{"run_name": "\\ud800"}')
    calls = [["--model-id", "tiny", "--max-steps", many], *(["--config", p] for p in sorted(tmp_path.iterdir()))]
    for words in calls:
        r = sh(BIN/"voxtral-train", *words, "--show-config")
        assert r.returncode == 2 and "Traceback" not in r.stderr and "error" in r.stderr.lower(), (words,
            r.stderr[-500:])


@pytest.mark.parametrize("name", ["1e3", "on", "012", "0x1F", "~", "a: b", "#1", "1_000", "x\u0085y", "12:30:45", "'"])
def test_what_show_config_prints_config_takes(tmp_path, name):
    first = sh(BIN/"voxtral-train", "--model-id", "tiny", f"--run-name={name}", "--show-config", check=True).stdout
    write(tmp_path/"c.yaml", first)
    again = sh(BIN/"voxtral-train", "--config", tmp_path/"c.yaml", "--show-config", check=True).stdout
    assert again == first


def test_a_token_in_a_flag_is_written_nowhere(tmp_path):
    for kind in ("hf_", "hf_oauth_", "hf_jwt_", "github_pat_11", "ghp_", "sk-"):
        token = kind + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
        r = sh(BIN/"voxtral-train", *SMALL, "--max-steps", 1, "--run-name", token, "--output-dir", "run", cwd=tmp_path)
        assert r.returncode == 2 and token not in r.stdout + r.stderr
        assert not [p for p in tmp_path.rglob("*") if p.is_file() and token.encode() in p.read_bytes()]


@pytest.mark.parametrize("command", ["voxtral-eval runs/nope {speech}", "voxtral-demo runs/nope",
                                     "voxtral-publish runs/nope --dry-run",
                                     "voxtral-train --train-data {speech} --model-id runs/nope"])
def test_a_mistyped_path_is_reported_as_a_path(tmp_path, command):
    (tmp_path/"runs").mkdir()
    words = command.format(speech=sample_speech("accent_eval")).split()
    r = sh(BIN/words[0], *words[1:], cwd=tmp_path, env=dict(HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9"),
           timeout=60)
    assert r.returncode and "runs/nope" in r.stderr
    assert not re.search(r"retry|network|Hub cannot be reached|connect", r.stderr, re.I), r.stderr[-500:]


# Folders: who writes, and what leaves them

def test_two_runs_do_not_share_a_folder(tmp_path):
    start = lambda seed: subprocess.Popen([BIN/"voxtral-train", *SMALL, "--max-steps", "4", "--eval-every", "2",
                                           "--output-dir",
        "run", "--seed", str(seed)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    both = [start(7), start(8)]
    said = [p.communicate(timeout=300)[0] for p in both]
    assert sorted(p.returncode != 0 for p in both) == [False, True], said
    refused = next(s for p, s in zip(both, said) if p.returncode)
    assert re.search("another run|in use|locked", refused) and "Traceback" not in refused, refused[-500:]


def test_no_more_workers_than_batches(tmp_path):
    r = sh(BIN/"voxtral-train", *SMALL, "--max-steps", 1, "--max-train-clips", 8, "--num-workers", 999, "--output-dir",
           tmp_path/"run", timeout=120)
    assert "create 999" not in r.stdout + r.stderr and r.returncode in (0, 2)


def test_a_path_that_is_not_utf8(tmp_path):
    r = subprocess.run([os.fsencode(BIN/"voxtral-train"), *(o.encode() for o in SMALL), b"--max-steps", b"1",
                        b"--output-dir",
        os.fsencode(tmp_path)+b"/bad\xff"], capture_output=True, timeout=120)
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
    sh(BIN/"voxtral-publish", data, "--license", "cc0-1.0", "--dry-run", "--output-dir", tmp_path/"one")
    assert not list((tmp_path/"one").rglob("*.wav")) and not list((tmp_path/"one").rglob("*.parquet"))
    secret = write(tmp_path/"secret.json", "not yours")
    (run/"final-model"/"generation_config.json").unlink(missing_ok=True)
    (run/"final-model"/"generation_config.json").symlink_to(secret)
    sh(BIN/"voxtral-publish", run, "--dry-run", "--output-dir", tmp_path/"two")
    assert not [p for p in (tmp_path/"two").rglob("*") if p.is_file() and b"not yours" in p.read_bytes()]


def test_only_the_files_of_a_checkpoint_are_published(finished, tmp_path):
    import shutil
    run = tmp_path/"run"
    shutil.copytree(finished, run, symlinks=True)
    outside = write(tmp_path/"outside.txt", "PRIVATE")
    for p in run.glob("checkpoint-*"):
        write(p/"id_rsa", "PRIVATE")
        (p/"link.txt").symlink_to(outside)
    r = sh(BIN/"voxtral-publish", run, "--optimizer", "--dry-run", "--output-dir", tmp_path/"out", check=True)
    assert not [p for p in (tmp_path/"out").rglob("*") if p.is_file() and b"PRIVATE" in p.read_bytes()], r.stdout


# Code that is not ours

def test_custom_code_of_a_model_is_refused_without_asking(tmp_path):
    import shutil
    shutil.copytree(tiny_path(), tmp_path/"m")
    p = tmp_path/"m"/"processor_config.json"
    write(p, json.dumps(json.loads(p.read_text()) | dict(processor_class="X", auto_map=dict(AutoProcessor="evil.X"))))
    write(tmp_path/"m"/"evil.py", "open('PWNED', 'w').write('x')\nclass X: pass\n")
    r = subprocess.run([BIN/"voxtral-eval", "m", sample_speech("accent_eval"), "--max-eval-clips", "1",
                        "--max-new-tokens", "4",
        "--output", "x.json"], cwd=tmp_path, input="y\n"*20, capture_output=True, text=True, timeout=120)
    assert not (tmp_path/"PWNED").exists()
    assert not re.search("Do you wish|trust_remote_code=True", r.stdout + r.stderr)


def test_modules_of_the_current_folder_do_not_run(tmp_path):
    for name in ("yaml", "papermill", "voxtral_nb"): write(tmp_path/f"{name}.py", "open('RAN', 'w').write('x')\n")
    sh(BIN/"voxtral-run", "evaluate", "--help", cwd=tmp_path, env=dict(PYTHONPATH=""))
    sh(BIN/"voxtral-train", "--help", cwd=tmp_path, env=dict(PYTHONPATH=""))
    assert not (tmp_path/"RAN").exists()


def test_python_trains_as_the_shell_does(tmp_path):
    sh(BIN/"voxtral-train", *SMALL, "--max-steps", 2, "--output-dir", "shell", cwd=tmp_path, check=True)
    code = """from voxtral_nb import RunConfig, train
train(RunConfig(model_id="tiny", max_train_clips=16, max_eval_clips=4, batch_size=4, max_new_tokens=24, tracking="none",
                cache="none", max_steps=2, output_dir="python"))"""
    sh(sys.executable, "-c", code, cwd=tmp_path, check=True)
    a, b = (json.loads((tmp_path/o/"training_config.json").read_text())["config"] for o in ("shell", "python"))
    assert {k: v for k, v in a.items() if k != "output_dir"} == {k: v for k, v in b.items() if k != "output_dir"}
