"""How long it takes to check data, and how much memory: sound in real time, a report, a list of ten million rows.

    python benchmarks/data_check.py [--clips 10000] [--seconds 5] [--rows 10000000] [--parts sound list dataset report]
                                    [--smoke]

sound: a quality report of WAV clips, each with other speech-like sound, with and without decoding: seconds, times real
time, peak memory.
list: every row of a CSV that another tool wrote, one line in a million broken: named and skipped.
dataset: the same rows as JSON lines, opened and gone through as a dataset.
report: the report of these rows alone (`audio=False`).
Each part runs in its own process, and is written when it is done."""
import argparse, json, os, tempfile, time
from pathlib import Path

from measure import RESULTS, answer_parent, child, peak, reset_peak, setting, table, write

RATE = 16_000


def made_clips(folder, clips, seconds):
    "WAV files of noise in syllables with pauses, as `SpeechDataset` keeps them."
    import numpy as np
    from voxtral_nb.data.audio import write_wav
    rng, n = np.random.default_rng(0), round(seconds*RATE)
    hiss = rng.standard_normal(40*n).astype(np.float32)
    with open(folder/"data.jsonl", "w") as f:
        for i in range(clips):
            knots = rng.uniform(0, 1, round(seconds*5) + 2)*(rng.random(round(seconds*5) + 2) > .3)
            at = rng.integers(len(hiss) - n)
            x = hiss[at:at + n]*np.interp(np.linspace(0, len(knots) - 1, n), range(len(knots)), knots)
            write_wav(folder/f"wavs/{i:06d}.wav", .1*x.astype(np.float32) + 1e-4*hiss[:n])
            words = " ".join(f"w{o}" for o in rng.integers(2000, size=round(seconds*2)))
            f.write(json.dumps(dict(audio_path=f"wavs/{i:06d}.wav", text=words, language="en", speaker=f"s{i % 50}",
                                    duration=seconds)) + "\n")


def sound(folder, clips, seconds):
    from voxtral_nb.data.quality import report
    reset_peak()
    found = {}
    for name, audio in (("rows", False), ("with sound", True)):
        began, cpu = time.perf_counter(), time.process_time()
        r = report(folder, audio=audio)
        took = time.perf_counter() - began
        found[name] = dict(seconds=round(took, 1), cpu=round(time.process_time() - cpu, 1), megabytes=round(peak()),
                           light=r.light, real_time=round(clips*seconds/took))
    return found


def text_of(i): return f"row {i} says w{i*7 % 9973} w{i*11 % 8999} w{i*13 % 7993}"

def is_broken(i, rows): return i % max(10, rows//10) == 7

def made_list(file, rows):
    "A list of many rows over twenty files."
    import numpy as np
    from voxtral_nb.data.audio import write_wav
    for k in range(20): write_wav(file.parent/f"wavs/{k}.wav", np.full(RATE, .1, np.float32))
    with open(file, "w") as f:
        if file.suffix == ".csv": f.write("path,sentence,language\n")
        for i in range(rows):
            path = "../outside.wav" if is_broken(i, rows) else f"wavs/{i % 20}.wav"
            if file.suffix == ".csv": f.write(f"{path},{text_of(i)},en\n")
            else: f.write(f'{{"audio": "{path}", "text": "{text_of(i)}", "language": "en"}}\n')


def timed(f):
    reset_peak()
    began, cpu = time.perf_counter(), time.process_time()
    n, bad = f()
    return dict(seconds=round(time.perf_counter() - began, 1), cpu=round(time.process_time() - cpu, 1),
                megabytes=round(peak()), rows=n, bad=[f"{Path(o.file).name} line {o.line}: {o.reason}" for o in bad])

def list_rows(file):
    from voxtral_nb.data.formats import Listing
    def read():
        bad = []
        return sum(1 for _ in Listing(file).rows("skip", bad)), bad
    return timed(read)

def dataset_rows(file):
    from voxtral_nb.data.dataset import SpeechDataset
    def read():
        ds = SpeechDataset.open(file, on_bad="skip")
        return sum(1 for _ in ds), ds.bad
    return timed(read)

def report_rows(file):
    from voxtral_nb.data.quality import report
    def read():
        r = report(file, audio=False)
        return r.clips, []
    return timed(read)


PARTS = dict(list=(list_rows, "list.csv"), dataset=(dataset_rows, "list.jsonl"), report=(report_rows, "list.jsonl"))

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--clips", type=int, default=10_000)
    p.add_argument("--seconds", type=float, default=5., help="of each clip")
    p.add_argument("--rows", type=int, default=10_000_000)
    p.add_argument("--parts", nargs="+", default=["sound", *PARTS], choices=["sound", *PARTS])
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--smoke", action="store_true", help="the least that shows that the code works")
    a = p.parse_args()
    if a.smoke: a.clips, a.seconds, a.rows = 8, 1., 100
    name = a.out/"data_check.json"
    result = json.loads(name.read_text()) if name.exists() else {}
    for part in a.parts:
        with tempfile.TemporaryDirectory() as tmp:
            (Path(tmp)/"wavs").mkdir()
            if part == "sound":
                made_clips(Path(tmp), a.clips, a.seconds)
                found = dict(clips=a.clips, clip_seconds=a.seconds,
                             **child(sound, inline=a.smoke, folder=tmp, clips=a.clips, seconds=a.seconds))
            else:
                f, file = PARTS[part]
                made_list(Path(tmp)/file, a.rows)
                found = dict(asked=a.rows, file_megabytes=round((Path(tmp)/file).stat().st_size/1e6),
                             **child(f, timeout=7200, inline=a.smoke, file=str(Path(tmp)/file)))
        result[part] = dict(found, setting=setting(load=round(os.getloadavg()[0], 1)))
        write("data_check.json", result, a.out)
        print(part, json.dumps(found), flush=True)
    rows = [[k, o["asked"], o["seconds"], o["cpu"], o["megabytes"], len(o["bad"])] for k, o in result.items()
            if k != "sound"]
    if "sound" in result:
        print(table(["report of", "s", "CPU s", "MB", "times real time"],
                    [[f"{result['sound']['clips']} clips, {k}", o["seconds"], o["cpu"], o["megabytes"], o["real_time"]]
                     for k, o in result["sound"].items() if isinstance(o, dict) and "real_time" in o]))
    if rows: print(table(["rows", "asked", "s", "CPU s", "MB", "bad rows named"], rows))
    return result


if __name__ == "__main__":
    if not answer_parent([sound, list_rows, dataset_rows, report_rows]): main()
