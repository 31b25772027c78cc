"""Arithmetic of a clip at the sizes of Voxtral-Mini-3B, counted on tensors without data: no GPU, no weights.

    python benchmarks/count.py [--seconds 1 3 10 28 mix] [--batch-size 8] [--passes 3]

TFLOP a clip of a run of LoRA, forward and backward: the recipe (LoRA in the encoder too, whole windows, logits
everywhere), its two peers (recipe.py), and ours with and without the cache of the encoder's output; `times` compares
the cheaper of ours. A batch of the mix is padded to its longest clip, whose encoder frames it is given too."""
import argparse, functools, json, tempfile
from pathlib import Path

from full_size import shape as model_config
from measure import RESULTS, mixed, setting, table, write
from recipe import TARGETS
from voxtral_nb.core.config import RunConfig
from voxtral_nb.training.estimate import clip_flops


@functools.cache
def counted(cfg, seconds, all_logits=False): # TFLOP of a clip
    "One step of a run on clips of that length."
    return clip_flops(cfg, seconds, all_logits)/1e12


def encoding(cfg, seconds): # TFLOP of a clip
    "What the frozen encoder costs: a step with it less one whose audio is cached."
    return counted(cfg.replace(cache="none"), seconds) - counted(cfg.replace(cache="encoder"), seconds)


def of_length(cfg, seconds, passes):
    "TFLOP a clip of a run, each way."
    everywhere = cfg.replace(packing="none", lora_targets=",".join(TARGETS), train_audio_tower=True, cache="none")
    lm = cfg.replace(packing="none", cache="none")
    cached, encoder = counted(cfg.replace(cache="encoder"), seconds), encoding(cfg, seconds)
    return dict(recipe=passes*counted(everywhere, seconds, True), lm=passes*counted(lm, seconds, True),
                lm_logits=passes*counted(lm, seconds), uncached=passes*(cached+encoder), cached=passes*cached+encoder)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--seconds", nargs="+", default=["1", "3", "10", "28", "mix"])
    p.add_argument("--batch-size", type=int, default=8)
    p.add_argument("--passes", type=int, default=3)
    p.add_argument("--layers", type=int, default=30)
    p.add_argument("--encoder-layers", type=int, default=32)
    p.add_argument("--out", type=Path, default=RESULTS)
    a = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        model_config(a.layers, a.encoder_layers).save_pretrained(tmp)
        cfg = RunConfig(model_id=tmp, train_data="x", eval_fraction=0, device="cpu", precision="bf16",
                        attention="eager", batch_size=a.batch_size)
        for s in a.seconds:
            lengths = sorted(mixed(32))[a.batch_size-1::a.batch_size] if s == "mix" else [float(s)]
            parts = [of_length(cfg, o, a.passes) for o in lengths]
            row = {k: sum(o[k] for o in parts)/len(parts) for k in parts[0]}
            ours = min(row["cached"], row["uncached"])
            row = {k: round(v, 2) for k,v in row.items()}
            times = {k: round(row[k]/ours, 2) for k in ("recipe", "lm", "lm_logits")}
            rows.append(dict(seconds=s, **row, times=times))
            print(json.dumps(rows[-1]), flush=True)
    print(table(["clips, s", "recipe", "LoRA in LM", "and logits_to_keep", "ours, no cache", "ours, cached", "times"],
                [[*(r[k] for k in ("seconds", "recipe", "lm", "lm_logits", "uncached", "cached")),
                  f"{r['times']['recipe']}x"] for r in rows]))
    write("count.json", dict(setting(batch_size=a.batch_size, passes=a.passes), rows=rows), a.out)


if __name__ == "__main__": main()
