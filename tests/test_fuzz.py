"""Inputs that nobody thought of. Whatever comes in, the answer is a result or an error of this package, in words:
never a traceback of another library, and nothing that is read wrongly without a word.

VOXTRAL_NB_FUZZ=600 looks for ten minutes instead of two."""
import functools, io, json, math, os, string, tempfile, time
from pathlib import Path

import numpy as np, pytest, soundfile as sf
from hypothesis import HealthCheck, example, given, settings, strategies as st

from voxtral_nb.core.config import ConfigError, RunConfig, VoxtralNBError, config_fields
from voxtral_nb.data.audio import audio_info, read_audio
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.data.sources import load_speech
from voxtral_nb.record.recorder import Recorder
from voxtral_nb.record.uploads import Uploads

SECONDS = float(os.environ.get("VOXTRAL_NB_FUZZ", 120))/6 # for each of the tests below
SR = 16_000
TONE = (.3*np.sin(np.arange(SR)/9)).astype(np.float32)


def fuzz(test):
    "Examples drawn for a share of the time; they are the same in each run, so that a failure is found again."
    end = []
    @functools.wraps(test)
    def timed(*args, **kwargs):
        if not end: end.append(time.monotonic() + SECONDS)
        if time.monotonic() < end[0]: test(*args, **kwargs)
    return timed


OFTEN = settings(max_examples=150, deadline=None, derandomize="VOXTRAL_NB_FUZZ" not in os.environ, database=None,
                 suppress_health_check=list(HealthCheck))

text = st.text(max_size=40) | st.sampled_from(["", " ", "\u200b", "\ufeff", "\ud800", "a\x00b", "one two", "1e400",
                                               "../../x"])
plain = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | text, lambda o: st.lists(o, max_size=3)
                     | st.dictionaries(text, o, max_size=3), max_leaves=6)


def sound(kind):
    b = io.BytesIO()
    sf.write(b, TONE, SR, **kind)
    return b.getvalue()


FILES = {k: sound(v) for k, v in dict(wav=dict(format="WAV"), flac=dict(format="FLAC"), ogg=dict(format="OGG"),
                                      mp3=dict(
    format="MP3"), opus=dict(format="OGG", subtype="OPUS"), float=dict(format="WAV", subtype="FLOAT")).items()}


@OFTEN
@given(kind=st.sampled_from(sorted(FILES)),
       cuts=st.lists(st.tuples(st.sampled_from(["set", "cut", "drop", "twice", "put"]),
       st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
@example(kind="mp3", cuts=[("put", .5, bytes(6)), *[("twice", .602860956531491, b"\0")]*2,
                           ("set", .2541690770733949, b"\x88\0")])
@fuzz
def test_audio(kind, cuts):
    b = bytearray(FILES[kind])
    for what, at, some in cuts:
        i = min(int(at*len(b)), max(0, len(b) - 1))
        if what == "set": b[i:i+len(some)] = some
        if what == "put": b[i:i] = some
        if what == "drop": del b[i:i+len(some)]
        if what == "cut": del b[i:]
        if what == "twice": b += b[:i]
    try: x = read_audio(bytes(b), SR)
    except VoxtralNBError as e:
        assert str(e)
        return
    assert x.dtype == np.float32 and x.ndim == 1 and len(x) and np.isfinite(x).all()
    assert math.isclose(audio_info(bytes(b)).duration, len(x)/SR, abs_tol=.08) # two frames of an MP3 are 72 ms


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    sf.write(folder/"a.wav", TONE, SR)
    return folder


keys = st.sampled_from(
    "audio_path audio audio_filepath file_name text sentence language speaker duration offset".split())
row = st.dictionaries(keys | text, plain | st.sampled_from(["a.wav", "./a.wav", "en", "one"]), max_size=6)


@OFTEN
@given(found=st.lists(row | plain, max_size=4), end=st.sampled_from(["\n", "\r\n", "\r", ",\n", ""]),
       junk=st.binary(max_size=6))
@example(found=[dict(audio_path="a.wav", text="one", duration=1e300)], end="\n", junk=b"")
@fuzz
def test_manifests(clips, found, end, junk):
    lines = "".join(json.dumps(o) + end for o in [dict(audio_path="a.wav", text="one")] + found)
    (clips/"m.jsonl").write_bytes(lines.encode("utf-8", "surrogatepass") + junk)
    for on_bad in ("skip", "error"):
        try: ds = load_speech(clips/"m.jsonl", on_bad=on_bad).dataset
        except VoxtralNBError as e:
            assert str(e)
            continue
        for r in ds:
            assert isinstance(r["text"], str) and r["text"].strip() and r["text"].encode()
            assert len(read_audio(r["audio"], SR)) == pytest.approx(r["duration"]*SR, abs=.02*SR)


@OFTEN
@given(found=st.lists(row, max_size=3), end=st.sampled_from(["\n", "\r", ",", ""]))
@fuzz
def test_a_dataset_keeps_its_rows_when_one_is_added(found, end):
    with tempfile.TemporaryDirectory() as d:
        own = Path(d)/"data.jsonl"
        sf.write(Path(d)/"a.wav", TONE, SR)
        before = end.join(json.dumps(o) for o in [dict(audio_path="a.wav", text="kept")] + found) + end
        own.write_bytes(before.encode("utf-8", "surrogatepass"))
        try: SpeechDataset.open(d).append(TONE, "new", SR)
        except VoxtralNBError as e: assert str(e)
        assert '"kept"' in "".join(p.read_text(encoding="utf-8", errors="surrogateescape") for p in Path(d).glob("*")
                                   if p.is_file() and p.suffix != ".wav")


names = st.sampled_from(sorted(config_fields()))


@OFTEN
@given(d=st.dictionaries(names | text, plain, max_size=4))
@example(d=dict(max_steps=10**400))
@example(d=dict(run_name="\x85"))
@fuzz
def test_settings(d):
    try: cfg = RunConfig.from_dict(d)
    except ConfigError as e:
        assert str(e)
        return
    with tempfile.TemporaryDirectory() as tmp:
        for name in ("c.yaml", "c.json"): assert RunConfig.load(cfg.save(Path(tmp)/name)) == cfg


line = st.text(string.printable + "\u0e19\u200b\"'|;\t", max_size=60)


@OFTEN
@given(name=st.sampled_from(["list.txt", "metadata.csv", "list.tsv", "data.jsonl", "data.json", "a.txt", "text"]),
       lines=st.lists(line | st.sampled_from(["a one two", "a.wav\tone", "a|one|one", "path,sentence", "sep=;",
                                              "<s> one </s> (a)"]),
                      max_size=6), more=st.binary(max_size=4))
@fuzz
def test_lists_of_uploads(clips, name, lines, more):
    up = Uploads()
    up.add(clips/"a.wav")
    with tempfile.TemporaryDirectory() as d:
        (Path(d)/name).write_bytes("\n".join(lines).encode() + more)
        try: up.add(Path(d)/name)
        except VoxtralNBError as e: assert str(e)
    for o in up.items: assert o.text is None or o.text.strip()
    json.dumps(up.table())


@pytest.fixture(scope="module")
def recorder(tmp_path_factory): return Recorder(tmp_path_factory.mktemp("voice")/"v", language="en")


ops = st.sampled_from(
    """hello agree begin part end keep discard redo skip transcript speaker language prompts file_begin file_part
file_end uploads upload_paste upload_save remove audio undo restore state""".split()) | text
args = st.dictionaries(
    st.sampled_from("take rate version file name size offset text clip index id samples prompt".split()) | text,
                       plain, max_size=4)


@OFTEN
@given(op=ops, args=args | plain, id=plain, buffers=st.lists(st.binary(max_size=20), max_size=2))
@fuzz
def test_messages_to_the_recorder(recorder, op, args, id, buffers):
    answer, out = recorder.handle(dict(id=id, op=op, args=args), [memoryview(b) for b in buffers])
    json.dumps(answer)
    assert answer["ok"] or (answer["error"] and "should not happen" not in answer["error"]), answer
