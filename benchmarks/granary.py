"""A manifest of Granary with ten million rows, streamed: rows a second, and the memory it takes.

    python benchmarks/granary.py [--rows 10000000] [--smoke]

A Hub on this machine serves the manifest. A separate process draws 1,000 rows by the hash of their ids, as
`granary_speech(n=1000, audio=...)` does, once from the first tenth and once from all rows; the most memory that each
ever had in use, less what it had before, must not grow with the rows."""
import argparse, json, tempfile
from pathlib import Path

from measure import RESULTS, setting, table, write

READ = """
import json, re, sys, time
from voxtral_nb.data.granary import _asked
def peak(): return int(re.search("VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])/1024 # of this program alone
ask = dict(language="sv", corpus=None, seed=42, limit=None, min_chars=1, max_chars=None, min_seconds=.1,
           max_seconds=None, repo="me/granary", text_column=None)
_asked(ask | dict(n=10, limit=100)) # what is loaded at first counts as before
before, began, rows = peak(), time.perf_counter(), int(sys.argv[1])
_asked(ask | dict(n=1000, limit=rows))
print(json.dumps(dict(rows=rows, seconds=round(time.perf_counter() - began, 1), before_mb=round(before),
                      grown_mb=round(peak() - before))))
"""


def make(folder, rows):
    "A manifest as Granary's card describes it."
    (folder/"sv/voxpopuli").mkdir(parents=True)
    with open(folder/"sv/voxpopuli/sv_asr.jsonl", "w") as f:
        for i in range(rows):
            f.write(f'{{"utt_id": "sv-{i}", "audio_filepath": "sv/voxpopuli/{i:08d}.wav", "text": "tack så mycket herr '
                    f'talman {i}", "duration": {2 + i%200/10}, "dataset_source": "voxpopuli"}}\n')


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rows", type=int, default=10_000_000)
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--smoke", action="store_true", help="the least that shows that the code works")
    a = p.parse_args()
    if a.smoke: a.rows = 20_000
    from voxtral_nb.testing.fake_hub import FakeHub
    with tempfile.TemporaryDirectory() as tmp:
        make(Path(tmp)/"hub", a.rows)
        size = (Path(tmp)/"hub/sv/voxpopuli/sv_asr.jsonl").stat().st_size
        runs = []
        with FakeHub(datasets={"me/granary": Path(tmp)/"hub"}) as hub:
            for k,rows in enumerate((a.rows//10, a.rows)):
                out = hub.run(READ, str(rows), timeout=3600, VOXTRAL_NB_CACHE=f"{tmp}/cache{k}")
                runs.append(json.loads(out.splitlines()[-1]))
                print(runs[-1], flush=True)
    write("granary.json", dict(setting=setting(), bytes=size, runs=runs), a.out)
    print(table(["rows", "s", "rows a second", "MB before", "MB more"],
                [[o["rows"], o["seconds"], round(o["rows"]/o["seconds"]), o["before_mb"], o["grown_mb"]]
                 for o in runs]))


if __name__ == "__main__": main()
