"""How long an evaluation takes: batches of like length, the next one prepared ahead, and a KV cache, each against doing
without.

    python benchmarks/evaluation.py [--repeats 7] [--batch-size 8] [--model tiny] [--data FILE]

The variants take turns in one process and must give the same transcripts. Medians and quartiles of wall and CPU time,
decoding steps, and the machine are printed as JSON."""
import argparse, json, platform, statistics, time
from unittest import mock

import torch, transformers

from voxtral_nb.measure import evaluation
from voxtral_nb.model.models import base_voxtral, load_voxtral
from voxtral_nb.data.sources import load_speech
from voxtral_nb.core.assets import sample_speech

as_is = evaluation._batches
patched = lambda **kw: mock.patch.multiple(evaluation, **kw)


def without_cache(model):
    "Make `generate` read the whole text again for each token."
    generate = model.generate
    return mock.patch.object(model, "generate", lambda **kw: generate(**kw | dict(use_cache=False)))


def any_length(windows, seconds, size):
    "Batches that do not group clips by length."
    return as_is(windows, [0]*len(windows), size)


def variants(model):
    "Name -> context in which `evaluate` does without something."
    return {"ours": patched(_batches=as_is),
            "any length in a batch": patched(_batches=any_length),
            "nothing prepared ahead": patched(_prefetched=lambda make, items: ((o, make(o)) for o in items)),
            "no KV cache": without_cache(model)}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--repeats", type=int, default=7)
    p.add_argument("--batch-size", type=int, default=8)
    p.add_argument("--model", default="tiny")
    p.add_argument("--data", default=str(sample_speech("accent_eval")))
    p.add_argument("--device", default="auto")
    a = p.parse_args()
    transformers.utils.logging.disable_progress_bar()
    model, processor = load_voxtral(a.model, device=a.device, verbose=False)
    data, steps = load_speech(a.data), [0]
    base_voxtral(model).model.language_model.register_forward_pre_hook(lambda *args: steps.__setitem__(0, steps[0] + 1))
    texts, times = {}, {}
    for k in range(a.repeats + 1):  # the first round warms up
        for name in variants(model):
            with variants(model)[name]:
                steps[0], wall, cpu = 0, time.perf_counter(), time.process_time()
                r = evaluation.evaluate(model, processor, data, batch_size=a.batch_size, verbose=False)
            if k: times.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu, steps[0]))
            texts[name] = r.table.hypothesis.tolist()
    assert all(o == texts["ours"] for o in texts.values()), "the transcripts differ"
    def of(ts):
        return dict(wall=[round(o, 2) for o in statistics.quantiles([t[0] for t in ts], n=4)],
                    cpu=round(statistics.median(t[1] for t in ts), 2), steps=ts[0][2])
    print(json.dumps(dict(clips=r.n_clips, audio_seconds=round(r.audio_seconds, 1), batch_size=a.batch_size,
                          repeats=a.repeats, seconds={k: of(v) for k,v in times.items()},
                          wer=round(r.rates["wer"], 4), device=str(next(model.parameters()).device),
                          threads=torch.get_num_threads(), machine=platform.machine(), torch=torch.__version__)))


if __name__ == "__main__": main()
