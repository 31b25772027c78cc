"""Arithmetic of a clip at the sizes of Voxtral-Mini-3B, counted on tensors without data: no GPU, no weights.

    python benchmarks/count.py [--seconds 1 3 10 28 mix] [--batch-size 8] [--passes 3] [--overhead 32]

TFLOP a clip of a run of LoRA, forward and backward: the recipe (LoRA in the encoder too, whole windows, logits
everywhere), its two peers (recipe.py), and ours with and without the cache of the encoder's output; `times` compares
the cheaper of ours. The mix is the clips of 16 steps in the order of a plain shuffle; each step is computed in parts of
clips of similar length, padded to their longest, of which each counts as `overhead` tokens (32 as on a CPU; 256, as on
a GPU, makes fewer parts with more padding). The cache is filled with all clips sorted by length."""
import argparse, functools, json, tempfile
from pathlib import Path

import numpy as np

from full_size import shape as model_config
from measure import RESULTS, mixed, setting, table, write
from recipe import TARGETS
from voxtral_nb.core.config import RunConfig
from voxtral_nb.model.collator import cheapest_batches
from voxtral_nb.training.estimate import BatchShape, clip_flops


@functools.cache
def counted(cfg, seconds, all_logits=False): # TFLOP of a clip
    "One step of a run on clips of that length."
    return clip_flops(cfg, seconds, all_logits)/1e12


def encoding(cfg, seconds): # TFLOP of a clip
    "What the frozen encoder costs: a step with it less one whose audio is cached."
    return counted(cfg.replace(cache="none"), seconds) - counted(cfg.replace(cache="encoder"), seconds)


def theirs(cfg, seconds, passes):
    "TFLOP a clip of a run of the recipe and its peers: whole windows, so that only the transcript's length matters."
    everywhere = cfg.replace(packing="none", lora_targets=",".join(TARGETS), train_audio_tower=True, cache="none")
    lm = cfg.replace(packing="none", cache="none")
    return dict(recipe=passes*counted(everywhere, seconds, True), lm=passes*counted(lm, seconds, True),
                lm_logits=passes*counted(lm, seconds))


def ours(cfg, seconds, passes):
    "TFLOP a clip of our run, without a cache and with one."
    cached, encoder = counted(cfg.replace(cache="encoder"), seconds), encoding(cfg, seconds)
    return dict(uncached=passes*(cached+encoder), cached=passes*cached+encoder)


KNOTS = [1., 2., 3., 5., 8., 11., 15.] # s; between them the count is nearly linear

def mix(cfg, config, passes, overhead):
    "TFLOP a clip of our run on the mix."
    lengths = mixed(16*cfg.batch_size)
    cached = [counted(cfg.replace(cache="encoder"), o) for o in KNOTS]
    encoder = [encoding(cfg, o) for o in KNOTS]
    tokens = [BatchShape.assumed(cfg, config, o).length for o in KNOTS]
    at = lambda values, s: float(np.interp(s, KNOTS, values))
    learning = encoded = 0.
    for i in range(0, len(lengths), cfg.batch_size):
        step = lengths[i:i + cfg.batch_size]
        for part in cheapest_batches({k: at(tokens, s) for k,s in enumerate(step)}, 10**9, overhead):
            learning += len(part)*at(cached, step[part[0]])
            encoded += len(part)*at(encoder, step[part[0]])
    once, n = sum(at(encoder, s) for s in lengths), len(lengths)
    return dict(uncached=passes*(learning + encoded)/n, cached=(passes*learning + once)/n)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--seconds", nargs="+", default=["1", "3", "10", "28", "mix"])
    p.add_argument("--batch-size", type=int, default=8)
    p.add_argument("--passes", type=int, default=3)
    p.add_argument("--layers", type=int, default=30)
    p.add_argument("--encoder-layers", type=int, default=32)
    p.add_argument("--overhead", type=int, default=32, help="tokens that another part of a step costs")
    p.add_argument("--out", type=Path, default=RESULTS)
    a = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        config = model_config(a.layers, a.encoder_layers)
        config.save_pretrained(tmp)
        cfg = RunConfig(model_id=tmp, train_data="x", eval_fraction=0, device="cpu", precision="bf16",
                        attention="eager", batch_size=a.batch_size)
        for s in a.seconds:
            mean = sum(lengths := mixed(16*a.batch_size))/len(lengths) if s == "mix" else float(s)
            row = theirs(cfg, mean, a.passes) # grows with a line: the mean's is the mean
            row |= mix(cfg, config, a.passes, a.overhead) if s == "mix" else ours(cfg, mean, a.passes)
            best = min(row["cached"], row["uncached"])
            row = {k: round(v, 2) for k,v in row.items()}
            times = {k: round(row[k]/best, 2) for k in ("recipe", "lm", "lm_logits")}
            rows.append(dict(seconds=s, **row, times=times))
            print(json.dumps(rows[-1]), flush=True)
    print(table(["clips, s", "recipe", "LoRA in LM", "and logits_to_keep", "ours, no cache", "ours, cached", "times"],
                [[*(r[k] for k in ("seconds", "recipe", "lm", "lm_logits", "uncached", "cached")),
                  f"{r['times']['recipe']}x"] for r in rows]))
    write("count.json", dict(setting(batch_size=a.batch_size, passes=a.passes, overhead=a.overhead), rows=rows), a.out)


if __name__ == "__main__": main()
