"""The console scripts as processes: help without delay; bad input gives one clear line and exit status 2."""
import json, re, resource, shutil
from pathlib import Path

import numpy as np, pytest, soundfile as sf

from conftest import BIN, command, sh
from voxtral_nb.core.assets import tiny_path
from voxtral_nb.core.config import RunConfig, config_fields

SHORT = "--max-steps 1 --batch-size 2 --max-new-tokens 4 --model-id tiny --tracking none".split()


def row(**kw): return json.dumps({"audio_path": "a.wav", "text": "one two", "language": "en", **kw}) + "\n"


@pytest.fixture
def folder(tmp_path):
    "A folder with two good clips and a data.jsonl."
    for n in "ab": sf.write(tmp_path/f"{n}.wav", np.sin(np.arange(16000)/20).astype("float32")*.3, 16000)
    (tmp_path/"data.jsonl").write_text(row() + row(audio_path="b.wav"))
    return tmp_path


HELPS = ["voxtral-train", "voxtral-eval", "voxtral-publish", "voxtral-run", "voxtral-demo", "voxtral-run train_lora",
         "voxtral-run publish", "voxtral-run deploy_demo", "voxtral-run evaluate"]


@pytest.fixture
def poisoned(tmp_path):
    "A current folder whose files are called like modules: none of them may run."
    for name in ("yaml", "argparse", "papermill", "torch", "sitecustomize", "ipykernel_launcher", "voxtral_nb"):
        (tmp_path/f"{name}.py").write_text("open('ran.txt', 'a').write(__name__ + ' ')")
    yield tmp_path
    assert not (tmp_path/"ran.txt").exists(), (tmp_path/"ran.txt").read_text()


@pytest.mark.parametrize("command", HELPS)
def test_help_answers_at_once_and_speaks_to_people_who_type_flags(command, poisoned):
    script, *args = command.split()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    r = sh(BIN/script, *args, "--help", cwd=poisoned, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert args or "examples:" in r.stdout
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu < 1, f"{cpu:.2f} s of CPU"  # other tests may hold the cores, so not seconds of a clock
    text = " ".join(r.stdout.split())
    assert not re.findall(r"\bNone\b|\bTrue\b|\bFalse\b|\b\w+='", text)  # Python's spelling
    named = [f.name for f in config_fields().values() if "_" in f.name and re.search(rf"(?<![\w/.]){f.name}\b", text)]
    assert not named, named
    assert max(map(len, r.stdout.splitlines())) <= 120


def test_commands_import_nothing_from_the_current_folder(poisoned):
    """A file that happens to be called like a module is not run by a command; test_faults.py has the kernel of a
    notebook."""
    sh(BIN/"voxtral-train", "--train-data", "x", "--show-config", cwd=poisoned, check=True)


def test_messages_are_in_the_spelling_of_a_shell(folder):
    "What a person can type, from wherever in the package a message comes."
    for args, words in ((["--max-transcript-tokens", "3"], "--on-long drop"),
                        (["--precision", "fp16", "--device", "cpu"], "--precision fp32"),
                        (["--cache", "mel", "--cache-max-gb", "1e-9"], "--cache none")):
        r = command("voxtral-train", *SHORT, "--train-data", folder/"data.jsonl", "--eval-fraction", "0", *args,
               "--output-dir", folder/"run", cwd=folder)
        message = r.stderr.strip().splitlines()[-1]
        assert r.returncode == 2 and words in message and "='" not in message, message
        assert not any(re.search(rf"(?<![\w/-]){n}\b", message) for n in config_fields() if "_" in n), message


def broken(folder):
    "Bad inputs: what is wrong -> (changes to the folder, arguments, words that the message must hold)."
    data = folder/"data.jsonl"
    def rows(s): return lambda: data.write_text(s)
    def audio(b): return lambda: (folder/"b.wav").write_bytes(b)
    def made(name, text):
        def make():
            (folder/name).parent.mkdir(exist_ok=True)
            (folder/name).write_text(text)
        return make
    def samples(x): return lambda: sf.write(folder/"b.wav", np.asarray(x, "float32"), 16000, subtype="FLOAT")
    ok = ["--train-data", data]
    return {
        "missing_jsonl": (lambda: None, ["--train-data", folder/"none.jsonl"], ["none.jsonl"]),
        "broken_json_line": (rows(row() + '{"audio_path": "b.wav", "text": \n'), ok, ["data.jsonl", "2"]),
        "missing_audio": (rows(row() + row(audio_path="c.wav")), ok, ["c.wav", "2"]),
        "unreadable_audio": (audio(b"no audio at all" * 99), ok, ["b.wav", "2"]),
        "empty_audio": (audio(b""), ok, ["b.wav"]),
        "zero_length_audio": (samples([]), ok, ["b.wav"]),
        "empty_transcript": (rows(row() + row(audio_path="b.wav", text=" ")), ok, ["text", "2"]),
        "path_leaves_folder": (rows(row() + row(audio_path="../b.wav")), ok, ["../b.wav", "2"]),
        "unknown_language": (rows(row() + row(audio_path="b.wav", language="xx")), ok, ["xx", "2"]),
        "unknown_model": (lambda: None, [*ok, "--model-id", folder/"no-model"], ["no-model"]),
        "not_a_voxtral": (made("bert/config.json", '{"model_type": "bert"}'), [*ok, "--model-id", folder/"bert"],
                          ["bert", "oxtral"]),
        "output_is_a_file": (made("run", "x"), ok, ["run"]),
        "output_holds_a_run": (made("run/training_config.json", "{}"), ok, ["run", "resume"]),
        "nothing_to_resume": (lambda: None, [*ok, "--resume", folder/"checkpoint-9"], ["checkpoint-9"]),
        "empty_dataset": (rows(""), ok, ["data.jsonl"]),
    }


@pytest.mark.parametrize("what", list(broken(Path("x"))))
def test_bad_input_is_one_clear_line(folder, what):
    change, args, words = broken(folder)[what]
    change()
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    r = command("voxtral-train", *SHORT, "--output-dir", folder/"run", *args, cwd=folder)
    err = r.stderr
    assert r.returncode == 2, err
    assert "Traceback" not in err
    message = err.strip().splitlines()[-1]
    assert message.startswith("voxtral-train: error: ")
    for w in words: assert w in message, f"{w!r} is not in: {message}"
    assert {p: p.read_bytes() for p in before} == before, "a file was changed"


def test_nan_samples_are_named_when_they_are_read(folder):
    sf.write(folder/"b.wav", np.full(16000, np.nan, "float32"), 16000, subtype="FLOAT")
    r = command("voxtral-train", *SHORT, "--output-dir", folder/"run", "--train-data", folder/"data.jsonl",
           "--eval-fraction", "0.5", cwd=folder)
    assert r.returncode == 2, r.stderr
    assert "b.wav" in r.stderr.strip().splitlines()[-1] and "Traceback" not in r.stderr, r.stderr


def test_on_bad_skip_counts_and_goes_on(folder):
    (folder/"data.jsonl").write_text("".join(row(audio_path=f"{n}.wav") for n in "ab"*4) + row(audio_path="gone.wav")
                                     + "{broken\n")
    r = command("voxtral-train", *SHORT, "--output-dir", folder/"run", "--train-data", folder/"data.jsonl",
           "--on-bad", "skip", "--eval-fraction", "0.3", cwd=folder, check=True)
    assert "2" in r.stdout and "skip" in r.stdout.lower(), r.stdout


@pytest.mark.parametrize("args,words", [
    (["no-such-folder", "data.jsonl"], ["no-such-folder"]),
    (["tiny", "none.jsonl"], ["none.jsonl"]),
    (["tiny", "data.jsonl", "--language", "auto"], ["auto"])])
def test_voxtral_eval_bad_input(folder, args, words):
    r = command("voxtral-eval", *args, cwd=folder)
    message = r.stderr.strip().splitlines()[-1]
    assert r.returncode == 2 and "Traceback" not in r.stderr and message.startswith("voxtral-eval: error: "), r.stderr
    for w in words: assert w in message


def test_a_damaged_model_is_named(folder):
    shutil.copytree(tiny_path(), folder/"model")
    (folder/"model"/"model.safetensors").write_bytes(b"x"*100)
    r = command("voxtral-eval", "model", "data.jsonl", cwd=folder)
    assert r.returncode == 2, r.stderr
    assert "model" in r.stderr.strip().splitlines()[-1] and "Traceback" not in r.stderr, r.stderr


def test_dry_run_says_what_a_run_would_be_and_leaves_nothing(folder):
    cache = dict(VOXTRAL_NB_CACHE=str(folder/"cache"), TRACKIO_DIR=str(folder/"trackio"))
    args = ["--model-id", "tiny", "--train-data", folder/"data.jsonl", "--eval-fraction", "0.5",
            "--max-new-tokens", "4", "--cache", "mel", "--epochs", "7", "--output-dir", folder/"run"]
    before = sorted(folder.rglob("*"))
    r = command("voxtral-train", *args, "--dry-run", cwd=folder, env=cache, check=True)
    for w in ("data", "an epoch", "the run", "cache", "memory", "peak of a step", "time"):
        assert f"\n{w}" in r.stdout or f"  {w}" in r.stdout, w
    d = json.loads(r.stdout.strip().splitlines()[-1])
    assert (d["clips"], d["eval_clips"], d["steps"], d["epochs"]) == (1, 1, 7, 7)
    assert 0 < d["step_seconds"] < d["seconds"]
    assert d["cache_bytes"] > 0 < d["memory_gb"]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("what", ["missing_audio", "output_holds_a_run"])
def test_dry_run_fails_as_the_run_would(folder, what):
    change, args, _ = broken(folder)[what]
    change()
    args = ["voxtral-train", *SHORT, "--output-dir", folder/"run", *args]
    real, dry = command(*args, cwd=folder), command(*args, "--dry-run", cwd=folder)
    assert (dry.returncode, dry.stderr.strip().splitlines()[-1]) == (2, real.stderr.strip().splitlines()[-1])


@pytest.mark.parametrize("settings", [
    "", "--max-train-clips 100 --method full --label-smoothing 0.1 --no-train-projector --train-audio-tower"],
    ids=["defaults", "many"])
def test_the_command_on_a_card_repeats_the_run(tmp_path, settings):
    import shlex
    from voxtral_nb.share.cards import read_run, repeat_command
    command("voxtral-train", *SHORT, *settings.split(), "--max-eval-clips", "4", "--output-dir", "run", cwd=tmp_path,
       check=True)
    run = read_run(tmp_path/"run")
    shown = command("voxtral-train", *shlex.split(repeat_command(run))[1:], "--show-config", cwd=tmp_path,
               check=True).stdout
    (tmp_path/"shown.yaml").write_text(shown)
    was, again = run.config, RunConfig.load(tmp_path/"shown.yaml")
    not_repeated = {"learning_rate", "train_data", "eval_data", "output_dir", "tracking", "logging_steps", "cache"}
    assert {n for n in config_fields() if getattr(again, n) != getattr(was, n)} <= not_repeated
    for n in ("effective_learning_rate", "train_data", "eval_data"): assert getattr(again, n) == getattr(was, n), n
