"""How long a batch takes: `VoxtralDataCollator` against `VoxtralProcessor.apply_transcription_request`, the named
baseline.

    python benchmarks/collator.py [--repeats 7] [--clips 8] [--seconds 3]

Both make the prompt batch of the same clips, in turn, in one process; what they return is compared bit for bit first.
Medians, quartiles and the machine are printed as JSON."""
import argparse, json, platform, statistics, time

import numpy as np, torch

from voxtral_nb.model.collator import VoxtralDataCollator, processor_kwargs
from voxtral_nb.model.models import load_voxtral


def quartiles(ts): return [round(1000*q, 1) for q in statistics.quantiles(ts, n=4)]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--repeats", type=int, default=7)
    p.add_argument("--clips", type=int, default=8)
    p.add_argument("--seconds", type=float, default=3)
    a = p.parse_args()
    _, processor = load_voxtral("tiny", device="cpu", verbose=False)
    rng = np.random.default_rng(0)
    clips = [(.1*rng.standard_normal(int(a.seconds*16000))).astype(np.float32) for _ in range(a.clips)]
    collate, kw = VoxtralDataCollator(processor), processor_kwargs(processor)
    ours = lambda: collate.prompt_batch([dict(audio=x, language="en") for x in clips])
    request = dict(model_id="tiny", language="en", sampling_rate=16000, format=["wav"]*len(clips), **kw)
    theirs = lambda: processor.apply_transcription_request(clips, **request)
    x, y = ours(), theirs()
    assert all(torch.equal(x[k], y[k]) for k in ("input_ids", "attention_mask", "input_features"))
    times = {"ours": [], "processor": []}
    for _ in range(a.repeats):
        for name, f in dict(ours=ours, processor=theirs).items():
            start = time.perf_counter()
            f()
            times[name].append(time.perf_counter() - start)
    print(json.dumps(dict(clips=a.clips, seconds_each=a.seconds, repeats=a.repeats,
                          ms_quartiles={k: quartiles(v) for k,v in times.items()},
                          ratio=round(statistics.median(times["processor"])/statistics.median(times["ours"]), 2),
                          threads=torch.get_num_threads(), machine=platform.machine(), torch=torch.__version__)))


if __name__ == "__main__": main()
