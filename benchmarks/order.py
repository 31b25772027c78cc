"""What a step is made of: a plain shuffle against clips of similar length in one step, and whole windows.

    python benchmarks/order.py [--task accent] [--pools 0 4 16] [--seeds 0 1 2]

A pool of 16 means: the clips of 16 steps are sorted by length and cut into steps, which are shuffled; 0 is the plain
shuffle that `train` uses. LoRA in the language model of the tiny model, three epochs, evaluated in whole windows on
clips that it was not trained on (presets.py). All runs of a seed have the same steps otherwise; `none` is a run in
whole windows (`packing="none"`)."""
import argparse, statistics

import numpy as np

from measure import RESULTS, setting, table, write
from presets import one_run


def grouped(pool, size, lengths): # in place of `_shuffled`
    "Steps of clips of similar length."
    def order(clips, seed, k):
        rng, n = np.random.default_rng((seed, k)), clips - clips%size
        plain, parts = rng.permutation(clips), []
        for i in range(0, n, pool*size):
            some = plain[i:min(i + pool*size, n)]
            steps = some[np.argsort(lengths[some], kind="stable")].reshape(-1, size)
            parts.append(steps[rng.permutation(len(steps))].ravel())
        return np.concatenate([*parts, plain[n:]])
    return order


def run(pool, task, seed): # a line of the results
    "Train and evaluate with one order."
    from voxtral_nb.training import order, trainer
    plain = trainer.training_stream
    def stream(cfg, ds, rows=None, change=None):
        lengths = np.array(ds["duration"][:])
        draw = lambda k: grouped(pool, cfg.step_clips, lengths)(len(ds), cfg.seed, k)
        return order.ClipStream(ds if rows is None else rows, draw, lengths.tolist(), change)
    if pool not in (0, "none"): trainer.training_stream = stream
    try: r = one_run("tiny", task, "lora lm" + " packing=none"*(pool == "none"), seed)
    finally: trainer.training_stream = plain
    return dict(pool=pool, task=task, seed=seed, **{k: r[k] for k in ("wer", "nll", "loss", "cpu", "steps")})


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--task", default="accent")
    p.add_argument("--pools", nargs="+", default=["0", "4", "16", "none"])
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--out", default=RESULTS)
    a = p.parse_args()
    rows, where = [], setting()
    for seed in a.seeds:
        for pool in a.pools:
            rows.append(run(pool if pool == "none" else int(pool), a.task, seed))
            print(rows[-1], flush=True)
            write("order.json", dict(where, rows=rows), a.out)
    mean = lambda pool, key: statistics.mean(o[key] for o in rows if o["pool"] == pool)
    pools = list(dict.fromkeys(o["pool"] for o in rows))
    print(table(["steps of similar length from", "nll", "WER", "CPU s"],
                [[o, *(round(mean(o, k), 4) for k in ("nll", "wer", "cpu"))] for o in pools]))


if __name__ == "__main__": main()
