"""Data as people have it, end to end: odd files, a real speaker, a writer that is killed, data and models from a Hub in
another process."""
import json, signal, subprocess, sys, time

import numpy as np, pytest, soundfile as sf

from browser import wait_for
from conftest import warm
from voxtral_nb.data.audio import read_audio, resample
from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.dataset import DatasetError, SpeechDataset
from voxtral_nb.data.formats import FORMATS, Doc, Listing, convert, kind_of
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
        write_test_audio(tmp_path/"long.wav", np.tile(speech, 40*16_000//len(speech)+1)[:40*16_000])
        f.write(json.dumps(dict(audio_path="long.wav", text="more than a window")) + "\n")
    data = load_speech(tmp_path, on_bad="skip")  # decodes every clip
    assert len(data) == len(KINDS) + 1 and data.skipped == []
    for r in data.dataset:
        x = read_audio(r["audio"])
        assert x.dtype == np.float32 and x.ndim == 1 and abs(len(x)/16_000 - r["duration"]) < .06
        if r["id"] == "long.wav": assert len(x) == 40*16_000
        else: assert likeness(speech, x) > .95, r["id"]
    r = train(RunConfig(model_id="tiny", train_data=tmp_path, eval_data=tmp_path, batch_size=len(data), max_steps=1,
                        max_new_tokens=2, tracking="none", output_dir=tmp_path/"run"), verbose=False)
    # all of them, the long one whole, in one batch
    assert r.steps == 1 and r.after.n_clips == len(data) and r.after.audio_seconds > 40


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
        wait_for(lambda: there() > n + 3*i, "rows of this writer", .01)
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
        hub.python = warm.python
        first = hub.run(RUN)
        assert "train: 5 clips" in first and "eval: 2 clips" in first
        assert hub.run(RUN).splitlines()[-1] == first.splitlines()[-1]  # from the cache, the same data
        assert hub.run(MODEL).split()[0] == "VoxtralProcessor"
        # `datasets` asks its viewer, and nobody else
        assert {r.path.split("?")[0].split("/")[-1] for r in hub.escaped} <= {"info", "parquet"}, hub.escaped


def test_a_hub_that_refuses(tmp_path):
    (tmp_path/"x").mkdir()
    with FakeHub(datasets={"me/digits": tmp_path/"x"}) as hub:
        hub.python = warm.python
        hub.fail("me/digits", status=403, times=1000, message="ask for access first")
        out = hub.run("from voxtral_nb.data.sources import load_speech\n"
                      "from voxtral_nb.data.dataset import DatasetError\n"
                      "try: load_speech('me/digits')\n"
                      "except DatasetError as e: print('DatasetError:', e)")
        assert out.startswith("DatasetError: me/digits"), out
        assert "could not be downloaded from the Hub" in out, out
        assert "403" in out, out


ODD = 'she said "no, é|' # a quotation mark that is never closed, a comma, an accent, a bar
FORMS = {  # format -> its files, as other tools write them
    "folder": {"one.txt": "hello\r\nyou\n"},
    "csv": {"list.csv": '\ufeffAudio;Sentence;Lang\r\none.wav;"a ""b"" \r\nc";sv-SE\r\n'},
    "tsv": {"list.tsv": f"speaker_id\ttranscript\tfile\nana\t{ODD}\tone.wav\n"},
    "jsonl": {"all.jsonl": json.dumps(dict(clip="one.wav", said=ODD, start_ms=500, end_ms=1500)) + "\r"},
    "json": {"rows.json": json.dumps([dict(audio="one.wav", text=ODD, start=.5, end=1.5)], indent=1)},
    "dataset": {"data.jsonl": json.dumps(dict(audio_path="one.wav", text=ODD, language="en", speaker="ana")) + "\n"},
    "commonvoice": {"train.tsv": "client_id\tpath\tsentence\tup_votes\tlocale\n"
                                 f"ab12\tone.wav\t{ODD}\t2\tsv-SE\n"},
    "ljspeech": {"metadata.csv": 'one|in, the "only sense|in, the "only sense\n'},
    "librispeech": {"84/1/84-1.trans.txt": "84-1-0000 GO ON\n"},
    "nemo": {"manifest.json": '{"audio_filepath": "one.wav", "offset": 0.5, "duration": 1.0, "text": "in part"}\n'},
    "kaldi": {"wav.scp": "rec one.wav\n", "segments": "u1 rec 0 0.5\nu2 rec 0.5 -1\n", "text": f"u1 first\nu2 {ODD}\n",
              "utt2spk": "u1 ana\nu2 ana\n", "utt2lang": "u1 de\nu2 de\n"},
    "lhotse": {"cuts.jsonl": json.dumps(dict(
        id="a", start=.25, duration=1., channel=0, type="MonoCut", recording=dict(
            id="one", sources=[dict(type="file", channels=[0], source="one.wav")], sampling_rate=16_000,
            num_samples=32_000, duration=2.), supervisions=[dict(
                id="s", recording_id="one", start=0., duration=.5, channel=0, text=ODD, language="en", speaker="ana",
                alignment=dict(word=[["no", .125, .25, None]]))])) + "\n"},
    "coqui": {"train.csv": 'wav_filename,wav_filesize,transcript\none.wav,64044,"hello, ""you"""\n'},
    "dsalign": {"one.aligned": '[{"start": 500, "end": 1500, "transcript": "helo", "aligned": "hello"}]'},
    "audacity": {"one.txt": f"0.25\t0.75\t{ODD}\n\\\t100\t200\n1,0\t1,5\tseven\n"},
    "textgrid": {"one.TextGrid": """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "ana"
        xmin = 0
        xmax = 2
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 2
            text = "she said ""no"
    item [2]:
        class = "IntervalTier"
        name = "ben"
        xmin = 0
        xmax = 2
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "yes"
"""},
    "elan": {"one.eaf": """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/x/one.wav"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="250"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="750"/></TIME_ORDER>
<TIER TIER_ID="a" PARTICIPANT="ana"><ANNOTATION><ALIGNABLE_ANNOTATION TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2">
<ANNOTATION_VALUE>she said "no &amp; yes</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""},
    "srt": {"one.srt": "1\r\n00:00:00,250 --> 00:00:00,500\r\nshe <u>said</u>\r\n\r\n2\r\n00:00:00,500 --> 00:00:00,750"
                       "\r\n<u>she</u> said\r\n\r\n3\r\n00:00:01,000 --> 00:00:01,500\r\n<i>seven</i>\r\nnine\r\n"},
    "vtt": {"one.vtt": "WEBVTT\n\n00:00.250 --> 00:00.750\n<v Ana>a &amp; <00:00.500>b\n"},
    "ctm": {"one.ctm": ";; a comment\none 1 0.10 0.40 hello 0.98\none 1 0.60 0.30 you 0.5\n"},
    "text": {"list.txt": "one.wav: hello\n"}}
WANT = { # format -> (transcript, language, speaker, s) of each row
    "folder": [("hello you", None, None, 2)], "csv": [('a "b" \r\nc', "sv", None, 2)], "tsv": [(ODD, None, "ana", 2)],
    "jsonl": [(ODD, None, None, 1)], "dataset": [(ODD, "en", "ana", 2)], "commonvoice": [(ODD, "sv", "ab12", 2)],
    "ljspeech": [('in, the "only sense', None, None, 2)], "librispeech": [("GO ON", None, "84", 2)],
    "json": [(ODD, None, None, 1)], "nemo": [("in part", None, None, 1)],
    "kaldi": [("first", "de", "ana", .5), (ODD, "de", "ana", 1.5)],
    "lhotse": [(ODD, "en", "ana", .5)], "coqui": [('hello, "you"', None, None, 2)],
    "dsalign": [("hello", None, None, 1)], "audacity": [(ODD, None, None, .5), ("seven", None, None, .5)],
    "textgrid": [('she said "no', None, "ana", 1.5), ("yes", None, "ben", 1)],
    "elan": [('she said "no & yes', None, "ana", .5)],
    "srt": [("she said", None, None, .5), ("seven nine", None, None, .5)],
    "vtt": [("a & b", None, "Ana", .5)], "ctm": [("hello you", None, None, .85)], "text": [("hello", None, None, 2)]}


def test_each_format_has_an_example(): assert {*FORMS} == {*WANT} == {*FORMATS}


@pytest.mark.parametrize("name", FORMS)
def test_each_format_is_read_written_and_read(tmp_path, name):
    audio = {"ljspeech": "wavs/one.flac", "librispeech": "84/1/84-1-0000.flac", "commonvoice": "clips/one.wav"}
    write_test_audio(tmp_path/"in"/audio.get(name, "one.wav"), np.arange(32_000)/64_000)
    for file, text in FORMS[name].items():
        (tmp_path/"in"/file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/"in"/file).write_text(text, newline="")
    keys = dict(audio_key="clip", text_key="said") if name == "jsonl" else {}
    form = Listing(tmp_path/"in", **keys).format # of a folder, or of the list in it
    if form is FORMATS["folder"]: assert kind_of(Doc(tmp_path/"in"/file)) == (name if name != "folder" else "text")
    else: assert form is FORMATS[name]
    def rows(source, **keys):
        data = load_speech(source, **{k.replace("_key", "_column"): v for k, v in keys.items()})
        return [(*(r[k] for k in ("text", "language", "speaker")), round(r["duration"], 3),
                 read_audio(r["audio"])[[0, -1]].tolist()) for r in data.dataset]
    first = rows(tmp_path/"in", **keys)
    assert [o[:4] for o in first] == WANT[name]
    to = name if FORMATS[name].write else "jsonl"
    convert(tmp_path/"in", tmp_path/"out", to, **keys)
    assert sorted(rows(tmp_path/"out"), key=str) == sorted(first, key=str)


BAD = {  # fault -> (list, its lines as they stand there, transcripts that can be read, line -> what is said of it)
    "paths": ("list.csv", b"file,text\n../out.wav,x\nwavs/../../out.wav,x\n/nowhere/a.wav,x\nC:\\a.wav,x\n"
              b"https://x.org/a.wav,x\nfile:///a.wav,x\n..\\out.wav,x\na.wav,good\n", ["good"],
              {2: "leaves", 3: "leaves", 4: "no audio file", 5: "no audio file", 6: "a URL", 7: "a URL", 8: "leaves"}),
    "own paths": ("data.jsonl", b'{"audio_path": "/etc/passwd", "text": "x"}\n{"audio_path": "../a.wav", "text": "x"}\n'
                  b'{"audio_path": "a.wav", "text": "good"}\n', ["good"], {1: "leaves", 2: "leaves"}),
    "links": ("list.csv", b"file,text\nloop.wav,x\nround/round/a.wav,good\nout.wav,x\nround,x\n", ["good"],
              {2: "no audio file", 4: "by a symbolic link", 5: "is a folder"}),
    "quotes": ("list.csv", b'file,text\na.wav,"one"two\na.wav,good\na.wav,"never closed\na.wav,"a ""b"" c"\n',
               ["good", 'a "b" c'], {2: "quotation mark", 4: "quotation mark"}),
    "encoding": ("list.csv", "file,text\na.wav,été\n".encode() + b"a.wav,caf\xe9\na.wav,o\0e\na.wav,good\n",
                 ["été", "good"], {3: "not UTF-8", 4: "zero bytes"}),
    "encoding, rows": ("m.jsonl", b'{"audio": "a.wav", "text": "caf\xe9"}\n{"audio": "a.wav", "text": "good"}\n',
                       ["good"], {1: "not UTF-8"}),
    "line ends": ("list.csv", b"file,text\ra.wav,1\r\na.wav,2\n\ra.wav,3\ra.wav,4", list("1234"), {}),
    "line ends, rows": ("m.jsonl", b'{"audio": "a.wav", "text": "1"}\r{"audio": "a.wav", "text": "2"}\r\n\r'
                        b'{"audio": "a.wav", "text": "3"}\n{"audio"\r{"audio": "a.wav", "text": "4"}', list("1234"),
                        {5: "not JSON"}),
    "types": ("m.jsonl", b'[1]\n7\nnull\n{"audio": 7, "text": "x"}\n{"audio": "a.wav", "text": null}\n'
              b'{"audio": "a.wav", "text": ["x"]}\n{"audio": "a.wav", "text": "x", "language": 3}\n'
              b'{"audio": "a.wav", "text": "x", "speaker": {}}\n{"audio": "a.wav", "text": "x", "offset": "soon"}\n'
              b'{"audio": "a.wav", "text": "x", "offset": 0.5, "duration": 1e308}\n'
              b'{"audio": "a.wav", "text": "good"}\n', ["good"], {i: "" for i in range(1, 11)}),
    "cells": ("list.csv", b"file,text\na.wav\n,x\na.wav,x,y\na.wav,\na.wav,good\n", ["good"],
              {2: "no transcript", 3: "path is empty", 4: "3 cells", 5: "transcript is empty"})}


@pytest.mark.parametrize("fault", BAD)
def test_bad_rows_are_named_and_the_rest_is_read(tmp_path, fault):
    name, data, good, bad = BAD[fault]
    (here := tmp_path/"in").mkdir()
    for o in (here/"a.wav", tmp_path/"out.wav"): write_test_audio(o, .1*np.ones(16_000))
    for link, to in (("loop.wav", "loop.wav"), ("round", "."), ("out.wav", "../out.wav")): (here/link).symlink_to(to)
    (here/name).write_bytes(data)
    before = sorted(tmp_path.rglob("*"))
    read = load_speech(here/name, on_bad="skip")
    assert read.dataset["text"][:] == good
    assert [o.line for o in read.skipped] == [*bad] and {o.file for o in read.skipped} <= {str(here/name)}
    for o, why in zip(read.skipped, bad.values()): assert why in o.reason, o
    if bad:
        with pytest.raises(DatasetError, match=f"{name} line {next(iter(bad))}: "): load_speech(here/name)
    assert len(convert(here/name, tmp_path/"made", on_bad="skip").skipped) == len(bad)
    left = {o for o in tmp_path.rglob("*") if tmp_path/"made" not in (o, *o.parents)}
    assert left == {*before} and len(list((tmp_path/"made"/"wavs").iterdir())) == len(good)


def test_a_line_of_a_gigabyte(tmp_path): # of zeros, which a file system stores as a hole
    row = b'{"audio": "a.wav", "text": "%s"}\n'
    write_test_audio(tmp_path/"a.wav", np.ones(1600))
    with open(tmp_path/"m.jsonl", "wb") as f:
        f.write(row % b"first" + b'{"audio": "')
        f.seek(1 << 30, 1)
        f.write(b'"}\n' + row % b"last")
    read = load_speech(tmp_path/"m.jsonl", on_bad="skip")
    assert read.dataset["text"][:] == ["first", "last"]
    assert [(o.line, o.reason) for o in read.skipped] == [(2, 'a line of more than 16 MB is not a row: {"audio": "')]


def lying(path, x, at, value): # a file whose header says another length
    write_test_audio(path, x)
    data = bytearray(path.read_bytes())
    data[at:at + len(value)] = value
    path.write_bytes(data)


def test_audio_that_lies_about_its_length_and_odd_shapes(tmp_path):
    x = .1*np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    for name, said in (("zero", 0), ("less", 1000), ("unknown", 0xffffffff), ("more", 2*64_000)):
        lying(tmp_path/f"{name}.wav", x, 40, said.to_bytes(4, "little"))
    for name, said in (("none", 0), ("half", 16_000), ("twice", 64_000)):
        lying(tmp_path/f"{name}.flac", x, 22, said.to_bytes(4, "big"))
    sf.write(tmp_path/"high.wav", resample(x, 16_000, 192_000), 192_000)
    sf.write(tmp_path/"eight.wav", np.stack([0*x]*7 + [x], 1), 16_000)
    for name in ("a.mp3", "a.ogg", "a.opus"): # joined, and cut off
        write_test_audio(tmp_path/name, x)
        data = (tmp_path/name).read_bytes()
        (tmp_path/f"joined {name}").write_bytes(2*data)
        (tmp_path/f"cut {name}").write_bytes(data[:len(data)//2])
    files = sorted(o.name for o in tmp_path.iterdir())
    (tmp_path/"m.jsonl").write_text("".join(json.dumps(dict(audio=o, text=o)) + "\n" for o in files))
    read = load_speech(tmp_path/"m.jsonl", on_bad="skip")
    bad = [o for o in files if o.startswith("cut") or o in ("more.wav", "twice.flac")]
    assert [o.text for o in read.skipped] == bad and all("cut off" in o.reason for o in read.skipped)
    assert [o.line for o in read.skipped] == [files.index(o) + 1 for o in bad]
    for r in read.dataset:
        seconds, y = 4 if r["text"].startswith("joined") else 2, read_audio(r["audio"])
        assert abs(len(y)/16_000 - seconds) < .06 and abs(r["duration"] - len(y)/16_000) < .06, r["text"]
        assert .05 < y.std() < .15, r["text"] # one channel of eight is as loud as it was


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
