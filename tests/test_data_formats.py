"""Data as people have it, end to end: odd files, a real speaker, a writer that is killed, data and models from a Hub in
another process."""
import json, signal, subprocess, sys, time

import numpy as np, pytest, soundfile as sf

from browser import wait_for
from voxtral_nb.data.audio import read_audio, resample
from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.dataset import DatasetError, SpeechDataset
from voxtral_nb.data.sources import load_run_data, load_speech
from voxtral_nb.testing.fake_hub import FakeHub
from voxtral_nb.testing.speech import asterisk_prompts, espeak, write_test_audio
from voxtral_nb.core.assets import tiny_path
from voxtral_nb.training.trainer import train

KINDS = {"field.flac": dict(to_sr=44_100, channels=2), "phone.wav": dict(to_sr=8_000), "web.mp3": dict(to_sr=44_100),
         "game.ogg": dict(to_sr=22_050), "chat.opus": dict(to_sr=48_000),
         "studio.wav": dict(to_sr=48_000, channels=2, subtype="FLOAT"),
         "mu-law.wav": dict(to_sr=8_000, subtype="ULAW")}


@pytest.fixture(scope="module")
def speech(): return espeak("three seven one, nine nine two", voice="fr")


def likeness(x, y):
    "Correlation of the two signals below 3.4 kHz, at the best of a few small delays (coders delay)."
    x, y = (resample(resample(o, 16_000, 8_000), 8_000, 16_000) for o in (x, y))
    n = min(len(x), len(y)) - 1200
    return max(np.corrcoef(x[:n], y[d:d+n])[0, 1] for d in range(0, 1200, 2))


def test_files_of_every_kind(tmp_path, speech):
    with open(tmp_path/"data.jsonl", "w") as f:
        for name,kw in KINDS.items():
            write_test_audio(tmp_path/name, speech, **kw)
            f.write(json.dumps(dict(audio_path=name, text="three seven one nine nine two")) + "\n")
        write_test_audio(tmp_path/"long.wav", np.tile(speech, 75*16_000//len(speech)+1)[:75*16_000])
        f.write(json.dumps(dict(audio_path="long.wav", text="a minute and more")) + "\n")
    data = load_speech(tmp_path, on_bad="skip")  # decodes every clip
    assert len(data) == len(KINDS) + 1 and data.skipped == []
    for r in data.dataset:
        x = read_audio(r["audio"])
        assert x.dtype == np.float32 and x.ndim == 1 and abs(len(x)/16_000 - r["duration"]) < .06
        if r["id"] == "long.wav": assert len(x) == 75*16_000
        else: assert likeness(speech, x) > .95, r["id"]
    r = train(RunConfig(model_id="tiny", train_data=tmp_path, eval_data=tmp_path, batch_size=len(data), max_steps=1,
                        max_new_tokens=8, tracking="none", output_dir=tmp_path/"run"), verbose=False)
    # all of them, the long one whole, in one batch
    assert r.steps == 1 and r.after.n_clips == len(data) and r.after.audio_seconds > 75


def test_files_of_every_kind_appended(tmp_path, speech):
    ds = SpeechDataset.create(tmp_path/"ds")
    for name,kw in KINDS.items():
        row = ds.append(write_test_audio(tmp_path/name, speech, **kw), name, language="en")
        assert row["sampling_rate"] == kw["to_sr"]  # kept as it came
        assert sf.info(ds.audio_file(row)).subtype == "PCM_16"
    assert [r["text"] for r in ds] == list(KINDS)
    assert len(ds.validate().good) == len(KINDS)


def test_one_persons_voice(tmp_path):
    ps = asterisk_prompts("en")
    assert len(ps) > 500 and all(r == "not speech" for _,_,r in ps.dropped if r != "no audio file")
    assert not any(c in t for _,t in ps for c in "[]<>()")
    assert {p.stem: t for p,t in ps}["spy-iax2"] == "IAX"
    rows = [dict(audio_filepath=str(p), text=t, speaker="allison") for p,t in ps]
    (tmp_path/"prompts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    learned, held = load_run_data(RunConfig(train_data=tmp_path/"prompts.jsonl", language="en", on_bad="skip"),
                                  verbose=False)
    assert len(learned) + len(held) == len(ps) - len(learned.skipped) and len(learned.skipped) < 5
    assert max(learned.stats().durations.max(), held.stats().durations.max()) > 30  # beyond one window


WRITER = """import sys, numpy as np
from voxtral_nb.data.dataset import SpeechDataset
ds = SpeechDataset.open(sys.argv[1])
print("ready", flush=True)
while True: ds.append(np.full(8000, .1), "x"*200, 16000, recorded=True)"""


def test_killed_while_writing(tmp_path):
    folder, n = SpeechDataset.create(tmp_path/"ds").folder, 0
    for i in range(4):
        p = subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE)
        p.stdout.readline()
        there = lambda: len((folder/"data.jsonl").read_bytes().splitlines())
        wait_for(lambda: there() > n + 3*i, 60, "rows of this writer", .01)
        time.sleep(.005*i) # at another place of a write each time
        p.send_signal(signal.SIGKILL)
        p.wait()
        ds = SpeechDataset.open(folder)
        assert len(ds) > n, "a later session continues"
        n = len(ds)
        assert len(ds.validate().orphans) <= i + 1  # at most the audio that each kill caught before its row
    SpeechDataset.open(folder).append(np.full(800, .1), "the last", 16_000, recorded=True)
    rows, recorded = ([json.loads(o) for o in (folder/f).read_text().splitlines()]
                      for f in ("data.jsonl", "recorded_data.jsonl"))
    assert len({r["audio_path"] for r in rows}) == len(rows) == n + 1
    assert {r["audio_path"] for r in recorded} == {r["audio_path"] for r in rows}


def test_a_writer_waits_for_the_other(tmp_path):
    ds = SpeechDataset.create(tmp_path/"ds")
    with ds._writing(), pytest.raises(DatasetError, match="locked by another process"):
        with SpeechDataset.open(ds.folder)._writing(timeout=.2): pass


RUN = """from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.sources import load_run_data
from voxtral_nb.data.audio import read_audio
train, held = load_run_data(RunConfig(train_data="me/digits", eval_split="test"))
assert [r["text"] for r in held.dataset] == ["test 0", "test 1"], held.dataset["text"]
assert all(len(read_audio(r["audio"])) == 16000 for d in (train, held) for r in d.dataset)
print(train.fingerprint)"""

MODEL = """from transformers import AutoProcessor, VoxtralForConditionalGeneration
p = AutoProcessor.from_pretrained("me/tiny"); m = VoxtralForConditionalGeneration.from_pretrained("me/tiny")
print(type(p).__name__, m.num_parameters())"""


def test_data_and_model_from_a_hub(tmp_path):
    rng = np.random.default_rng(0)
    for split,n in (("train", 5), ("test", 2)):
        for i in range(n): write_test_audio(tmp_path/f"digits/{split}/{i}.mp3", .1*rng.standard_normal(16_000))
        rows = [dict(file_name=f"{i}.mp3", text=f"{split} {i}") for i in range(n)]
        (tmp_path/f"digits/{split}/metadata.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    with FakeHub(datasets={"me/digits": tmp_path/"digits"}, models={"me/tiny": tiny_path()}) as hub:
        first = hub.run(RUN)
        assert "train: 5 clips" in first and "eval: 2 clips" in first
        assert hub.run(RUN).splitlines()[-1] == first.splitlines()[-1]  # from the cache, the same data
        assert hub.run(MODEL).split()[0] == "VoxtralProcessor"
        # `datasets` asks its viewer, and nobody else
        assert {r.path.split("?")[0].split("/")[-1] for r in hub.escaped} <= {"info", "parquet"}, hub.escaped


def test_a_hub_that_refuses(tmp_path):
    (tmp_path/"x").mkdir()
    with FakeHub(datasets={"me/digits": tmp_path/"x"}) as hub:
        hub.fail("me/digits", status=403, times=1000, message="ask for access first")
        out = hub.run("from voxtral_nb.data.sources import load_speech\n"
                      "from voxtral_nb.data.dataset import DatasetError\n"
                      "try: load_speech('me/digits')\n"
                      "except DatasetError as e: print('DatasetError:', e)")
        assert out.startswith("DatasetError: me/digits"), out
        assert "could not be downloaded from the Hub" in out, out
        assert "403" in out, out


FORMS = {  # what people have, as other tools write it -> rows that come of it
    "cv": {"train.tsv": "client_id\tpath\tsentence\tup_votes\tlocale\nab12\tone.wav\tshe said \"no\t2\tsv-SE\n"},
    "lj": {"metadata.csv": 'one|printing, in the "only sense|printing, in the "only sense\n'},
    "libri": {"84/1/84-1.trans.txt": "84-1-0000 GO ON\n"},
    "nemo": {"manifest.json": '{"audio_filepath": "one.wav", "offset": 0.5, "duration": 1.0, "text": "in part"}\n'},
    "kaldi": {"wav.scp": "rec one.wav\n", "segments": "u1 rec 0 0.5\nu2 rec 0.5 -1\n", "text": "u1 first\nu2 last\n",
              "utt2spk": "u1 ana\nu2 ana\n"},
    "coqui": {"train.csv": "wav_filename,wav_filesize,transcript\none.wav,64044,hello\n"},
    "beside": {"one.txt": "hello\nyou\n"},
    "labels": {"one.txt": "0.25\t0.75\tseven\n"},
    "crlf": {"list.csv": "\ufeffAudio;Sentence\r\none.wav;\"a \"\"b\"\"\r\nc\"\r\n"}}
WANT = {"cv": [('she said "no', "sv", "ab12", 2)], "lj": [('printing, in the "only sense', None, None, 2)],
        "libri": [("GO ON", None, "84", 2)], "nemo": [("in part", None, None, 1)],
        "kaldi": [("first", None, "ana", .5), ("last", None, "ana", 1.5)], "coqui": [("hello", None, None, 2)],
        "beside": [("hello you", None, None, 2)], "labels": [("seven", None, None, .5)],
        "crlf": [('a "b"\r\nc', None, None, 2)]}


@pytest.mark.parametrize("name", FORMS)
def test_lists_of_other_tools(tmp_path, name):
    audio = {"lj": "wavs/one.flac", "libri": "84/1/84-1-0000.flac", "cv": "clips/one.wav"}.get(name, "one.wav")
    write_test_audio(tmp_path/audio, np.arange(32_000)/64_000)
    for file,text in FORMS[name].items():
        (tmp_path/file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/file).write_text(text, newline="")
    data = load_speech(tmp_path)
    assert [(r["text"], r["language"], r["speaker"], r["duration"]) for r in data.dataset] == WANT[name]
    if name == "kaldi": assert [round(read_audio(r["audio"])[0], 3) for r in data.dataset] == [0, .125]


def test_a_long_manifest_is_streamed(tmp_path):
    from voxtral_nb.data.formats import Listing
    with open(tmp_path/"m.csv", "w") as f:
        f.write("path,sentence\n")
        for i in range(3_000): f.write(f"{i}.wav,row {i}\n")
        f.write("x.wav,\"" + "x"*(200 << 20) + "\n0.wav,last\n")  # 200 MB in one line
    import resource
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path/"0.wav").touch()
    rows, bad = 0, []
    for r in Listing(tmp_path/"m.csv").rows("skip", bad): rows += 1
    assert rows == 3_001 and [b.line for b in bad] == [3_002]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
