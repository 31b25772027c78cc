"""How long an evaluation takes, loss and transcripts: as `train` does it, against transformers' `generate` on whole
windows with a pass for the loss (the baseline), and against doing without each of its parts.

    python benchmarks/evaluation.py [--repeats 5] [--batch-size 8] [--model tiny] [--data FILE] [--clips N]

The variants take turns in one process. In whole windows the transcripts must be those of the baseline; without most
of the silence, how many are the same is told. Medians of wall and CPU seconds, their ratio to the baseline, and the
machine are written to results/evaluation.json, a row for each model."""
import argparse, json, statistics, time
from pathlib import Path

import torch, transformers

from measure import RESULTS, setting, write
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.sources import load_speech
from voxtral_nb.measure.evaluation import decode_clips
from voxtral_nb.model.cache import cache_rows
from voxtral_nb.model.collator import VoxtralDataCollator
from voxtral_nb.model.models import load_voxtral
from voxtral_nb.model.prepare import prepare_model


@torch.no_grad()
def plain(model, processor, ds, size, most):
    "Transcripts by `generate`, batches of `size` clips of like length, and the loss by its own pass."
    collate, out = VoxtralDataCollator(processor), [None]*len(ds)
    order, end, losses = sorted(range(len(ds)), key=lambda i: -ds[i]["duration"]), collate.prompt.eos_id, []
    for k in range(0, len(order), size):
        ids = order[k:k+size]
        b = {k: v.to(model.device) for k,v in collate.prompt_batch([ds[i] for i in ids]).items()}
        said = model.generate(**b, max_new_tokens=most, do_sample=False, eos_token_id=end,
                              pad_token_id=collate.prompt.pad_id)[:, b["input_ids"].shape[1]:].tolist()
        for i,o in zip(ids, said): out[i] = collate.prompt.decode(o[:o.index(end)] if end in o else o).strip()
        b = {k: v.to(model.device) for k,v in collate([ds[i] for i in ids]).items()}
        losses.append(model(**{k: b[k] for k in ("input_ids", "attention_mask", "labels", "input_features")}).loss)
    return out


def ours(model, processor, ds, size, most, packing="split", rows=None, draft=True):
    "Transcripts and losses by `decode_clips`."
    collate = VoxtralDataCollator(processor, packing=packing)
    how = dict(batch_size=size, max_new_tokens=most)
    run = lambda **kw: decode_clips(model, collate, rows or ds, ds["duration"][:], range(len(ds)), **how, **kw)
    out = run(learn=draft)
    if not draft: run(learn=True, write=[]) # the loss takes its own pass
    return [collate.prompt.decode(out[i].tokens).strip() for i in range(len(ds))]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--batch-size", type=int, default=8)
    p.add_argument("--model", default="tiny")
    p.add_argument("--data", default=str(sample_speech("accent_eval")))
    p.add_argument("--clips", type=int)
    p.add_argument("--device", default="auto")
    p.add_argument("--out", type=Path, default=RESULTS)
    a = p.parse_args()
    transformers.utils.logging.disable_progress_bar()
    model, processor = load_voxtral(a.model, device=a.device, verbose=False)
    ds = load_speech(a.data, max_clips=a.clips).dataset
    prepared = prepare_model(load_voxtral(a.model, device=a.device, verbose=False)[0], RunConfig(), verbose=False)
    cached = cache_rows(ds, prepared, processor, RunConfig(model_id=a.model, train_data=a.data, device=a.device),
                        passes=9, verbose=False, log=lambda o: None)
    both = dict(processor=processor, ds=ds, size=a.batch_size, most=64)
    variants = {"generate and loss (baseline)": lambda: plain(model, **both),
                "ours, whole windows": lambda: ours(model, packing="none", **both),
                "ours, without a draft": lambda: ours(model, draft=False, **both),
                "ours": lambda: ours(model, **both),
                "ours, encoder cached (as train)": lambda: ours(prepared, rows=cached, **both)}
    texts, times = {}, {}
    for k in range(a.repeats + 1):  # the first round warms up
        for name,f in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            texts[name] = f()
            if k: times.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))
    first = texts["generate and loss (baseline)"]
    assert texts["ours, whole windows"] == first, "the transcripts differ"
    seconds = {k: [round(statistics.median(o), 3) for o in zip(*v)] for k,v in times.items()}
    base = seconds["generate and loss (baseline)"]
    row = dict(model=Path(a.model).name, clips=len(ds), audio_seconds=round(sum(ds["duration"]), 1),
               batch_size=a.batch_size, repeats=a.repeats, device=str(next(model.parameters()).device), variants=[
                   dict(name=k, wall=v[0], cpu=v[1], times=round(base[1]/v[1], 2),
                        same=sum(x == y for x,y in zip(texts[k], first))) for k,v in seconds.items()])
    done = json.loads(f.read_text())["rows"] if (f := a.out/"evaluation.json").exists() else []
    write(f.name, setting(rows=[o for o in done if o["model"] != row["model"]] + [row]), a.out)
    print(json.dumps(row))


if __name__ == "__main__": main()
