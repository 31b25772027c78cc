"""What fine-tuning Voxtral Realtime costs, and what delays and joined streams do to its word error rate (WER).

    python benchmarks/realtime.py [--parts speed count delays joined] [--seeds 0 1 2] [--steps 120] [--smoke]

speed: whole runs of three epochs, as in train.py: one clip a stream, encoder and all logits in every epoch, against
`voxtral_nb.train`, which loads the model, checks the data and fills its cache on the clock. Random weights, 15.6 M
parameters (256 wide, four layers each, a vocabulary of 32,768 tokens), noise with two words a second, steps of 8 clips;
in CPU seconds of one thread. The plain runs have their adapters on all layers of these names, encoder included, as
published scripts do, or in the language model only, as ours.
count: the same, as arithmetic at the sizes of Voxtral-Mini-4B-Realtime, on tensors without data.
delays: the tiny Voxtral Realtime fine-tuned to the accent with random delays, and with each of some fixed ones; WER of
80 clips at delays from 80 ms to 2.4 s, as a table and `realtime_delays.png`.
joined: WER at 480 ms after training with single clips, and with joined streams.
What is done is written after each model, and an interrupted benchmark goes on."""
import argparse, json, statistics, tempfile, time
from pathlib import Path

import numpy as np, torch

from align import as_data, sample
from measure import RESULTS, answer_parent, child, cut_tekken, make_data, peak, reset_peak, setting, table, write
from train import compared, ours
from voxtral_nb.core.assets import tiny_path, with_tiny_defaults
from voxtral_nb.core.config import RunConfig
from voxtral_nb.measure.delay import delay_curve
from voxtral_nb.model.collator import ClipAudio
from voxtral_nb.model.models import load_voxtral
from voxtral_nb.model.realtime import RealtimeCollator
from voxtral_nb.model.targets import StreamLayout, stream_targets
from voxtral_nb.model.tiny_realtime import make_realtime_processor, make_tiny_realtime
from voxtral_nb.training.estimate import BatchShape, clip_flops
from voxtral_nb.training.trainer import train

EPOCHS = 3 # of a usual run
CLIPS = {"1": 256, "3": 128, "1-3": 128} # of each length, s: some minutes of audio
PEERS = {"everywhere": {}, "language model": dict(lm_only=True)} # where the adapters of the plain run are


def spoken(folder, name, n):
    "Noise with two words a second, and their ends: a manifest. 1-3: lengths in between, evenly spread."
    low, _, high = name.partition("-")
    lengths = np.linspace(int(low), int(high or low), n).round(2)
    file = make_data(folder, n, np.random.default_rng(0).permutation(lengths).tolist(), tokens_a_second=2)
    rows = [json.loads(o) for o in file.read_text().splitlines()]
    for row in rows:
        said = row["text"].split()
        ends = np.linspace(0, row["duration"], len(said) + 1)[1:].round(3).tolist()
        row["words"] = [dict(word=w, end=o) for w,o in zip(said, ends)]
    file.write_text("".join(json.dumps(o) + "\n" for o in rows))
    return file


def save_streaming(folder, smoke):
    "A Voxtral Realtime of random weights, as wide and deep as the other family's in train.py: number of parameters."
    size = dict(hidden_size=64) if smoke else dict(hidden_size=256, encoder_layers=4, decoder_layers=4)
    vocab = 2048 if smoke else 32_768
    cut_tekken(folder, vocab, streaming=True)
    model = make_tiny_realtime(vocab_size=vocab, **size)
    model.save_pretrained(folder)
    make_realtime_processor(folder).save_pretrained(folder)
    return model.num_parameters()


def plain(model_dir, data, batch_size, steps, lm_only=False):
    """Seconds of the steps that a user writes: the processor's batch, each clip a stream filled up to the longest, its
    tokens at their frames, LoRA, transformers' own loss, AdamW. One step before them is not counted."""
    import transformers
    from recipe import order_of, recipe_model
    from voxtral_nb.data.audio import read_audio
    transformers.set_seed(42)
    base, began = reset_peak(), time.process_time()
    model = transformers.VoxtralRealtimeForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32)
    model = recipe_model(model, lm_only=lm_only)
    processor = transformers.AutoProcessor.from_pretrained(model_dir)
    layout, rows = StreamLayout.of(processor), [json.loads(o) for o in Path(data).read_text().splitlines()]
    order, params = order_of(len(rows), 42), [p for p in model.parameters() if p.requires_grad]
    opt, times = torch.optim.AdamW(params, lr=2e-4), [time.process_time() - began]
    for _ in range(1 + steps):
        began = time.process_time()
        some = [rows[next(order)] for _ in range(batch_size)]
        audio = [read_audio(str(Path(data).parent/o["audio_path"]), 16_000) for o in some]
        longest = max(map(len, audio))
        made = processor([np.pad(x, (0, longest - len(x))) for x in audio], sampling_rate=16_000, return_tensors="pt")
        n, learned = made["input_features"].shape[-1]//8, []
        for x,row in zip(audio, some):
            t = stream_targets(layout, len(x), row["words"], 480, row["text"])
            learned.append((t.input_ids + [layout.pad]*(n - len(t.input_ids)), t.labels + [-100]*(n - len(t.labels))))
        ids, labels = map(torch.tensor, zip(*learned))
        model(input_ids=ids, input_features=made["input_features"], num_delay_tokens=6, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.)
        opt.step()
        opt.zero_grad()
        times.append(time.process_time() - began)
    return dict(ready=times[0], first=times[1], steps=times[2:], peak=peak(), over=peak() - base)


def speed(a, result, save):
    "Audio-seconds a CPU second of whole runs, with loading and the cache: plain ones, and ours."
    with tempfile.TemporaryDirectory() as tmp:
        model_dir = str(Path(tmp)/"model")
        made = dict(parameters=save_streaming(model_dir, a.smoke), epochs=EPOCHS, batch_size=a.batch_size, rows=[])
        for name in a.seconds:
            n, got = 4 if a.smoke else CLIPS[name], {k: [] for k in (*PEERS, "ours")}
            data = str(spoken(Path(tmp)/name, name, n))
            args = dict(model_dir=model_dir, data=data, batch_size=a.batch_size)
            for k in range(a.rounds):
                for who in [*got][::1 if k%2 == 0 else -1]:
                    how = dict(steps=1 if a.smoke else 3, **PEERS[who]) if who in PEERS else dict(method="lora",
                                                                                                delay_ms=480)
                    got[who].append(child(plain if who in PEERS else ours, inline=a.smoke, **how, **args))
            heard = sum(json.loads(o)["duration"] for o in Path(data).read_text().splitlines())
            row = compared(dict(recipe=got.pop("everywhere")) | got, heard, heard/n*a.batch_size, -(-n//a.batch_size))
            made["rows"].append(dict(seconds=name, clips=n) | row)
            result["speed"] = made
            save()
            print(name, json.dumps(row), flush=True)
    head = ["clips, s", "LoRA everywhere", "in the language model", "ours", "later epochs", "ratio", "later", "to LM",
            "to LM, later"]
    of = lambda r, who, k="run": r[who][k]["median"]
    print(table(head, [[r["seconds"], of(r, "recipe"), of(r, "language model"), of(r, "ours"), of(r, "ours", "steady"),
                        r["times"]["run"], r["times"]["steady"], of(r, "ours")/of(r, "language model"),
                        of(r, "ours", "steady")/of(r, "language model", "steady")] for r in made["rows"]]), flush=True)


def step_shape(seconds, clips):
    "The batch that a run makes of clips of one length, their audio cached."
    _, processor = load_voxtral(str(tiny_path("tiny-realtime")), verbose=False)
    collate, ends = RealtimeCollator(processor), np.arange(.5, seconds + .01, .5)
    n = 16_000*seconds
    row = dict(audio=ClipAudio(kind="embeds", data=torch.zeros(collate.layout.positions(n, 6), 1), samples=n),
               text=" ".join(["seven"]*len(ends)), words=[dict(word="seven", end=float(o)) for o in ends])
    batch, = collate.micro_batches([row]*clips, clips=clips)
    return BatchShape.of(batch), collate.shared/collate.layout.positions(n, 6)


def count(a, result, save):
    "TFLOP of a clip in three epochs: alone with all logits, and in a step of ours with a cached encoder."
    from recipe import TARGETS
    from transformers import VoxtralRealtimeConfig
    result["count"] = []
    with tempfile.TemporaryDirectory() as tmp:
        (make_tiny_realtime().config if a.smoke else VoxtralRealtimeConfig()).save_pretrained(tmp)
        cfg = RunConfig(model_id=tmp, train_data="x", eval_fraction=0, device="cpu", precision="bf16", batch_size=1,
                        attention="eager", cache="none")
        everywhere = cfg.replace(lora_targets=",".join(TARGETS), train_audio_tower=True)
        for seconds in (1,) if a.smoke else (1, 2, 3):
            shape, silence = step_shape(seconds, a.batch_size)
            cached = cfg.replace(cache="encoder")
            lm = clip_flops(cfg, seconds, True)
            fill = (clip_flops(cfg, seconds) - clip_flops(cached, seconds))*(1 - silence) # silence: once for all
            step = clip_flops(cached, shape=shape)*shape.rows/a.batch_size
            row = dict(seconds=seconds, everywhere=EPOCHS*clip_flops(everywhere, seconds, True)/1e12,
                       language_model=EPOCHS*lm/1e12, fill=fill/1e12, steps=EPOCHS*step/1e12)
            ours = row["fill"] + row["steps"]
            row |= dict(ratio=row["everywhere"]/ours, ratio_cached=row["everywhere"]/row["steps"],
                        lm_ratio=row["language_model"]/ours, lm_ratio_cached=row["language_model"]/row["steps"])
            result["count"].append(row)
            save()
    print(table(["clip, s", "LoRA everywhere, TFLOP", "in the language model", "our cache", "our steps", "ratio",
                 "ratio, cache there", "to LM", "to LM, cache there"],
                [list(o.values()) for o in result["count"]]), flush=True)


# -- what is learned

DELAYS = (80, 240, 480, 960, 2400) # ms
SETTINGS = dict(random=dict(delays="random"), **{f"{o} ms": dict(delay_ms=o) for o in (240, 480, 960)})
SETTINGS["random, 5x the steps"] = dict(delays="random", times=5)


def fine_tuned(a, seed, at, times=1, **how):
    "WER on the accent at some delays, after `times` as many training steps."
    with tempfile.TemporaryDirectory() as tmp:
        rows = sample("accent_train", a.limit)
        (Path(tmp)/"train.jsonl").write_text("".join(json.dumps(o) + "\n" for o in rows))
        cfg = RunConfig(model_id="tiny-realtime", train_data=f"{tmp}/train.jsonl", eval_fraction=0,
                        max_steps=times*a.steps, batch_size=12, seed=seed, device="cpu", tracking="none", num_workers=0,
                        cache_dir=f"{tmp}/cache", output_dir=f"{tmp}/run", **how)
        r = train(with_tiny_defaults(cfg, verbose=False), verbose=False)
        model, processor = load_voxtral(str(Path(r.run_dir)/"final-model"), device="cpu", verbose=False)
        curve = delay_curve(model, processor, as_data(sample("accent_eval", a.limit)), at, batch_size=40, verbose=False)
    return {str(o["delay_ms"]): o["rates"]["wer"] for o in curve}


def runs(a, result, save, part, settings, delays):
    "Each setting with each seed."
    for seed in a.seeds:
        for name,how in settings.items():
            mine = result.setdefault(part, {}).setdefault(name, {})
            if str(seed) in mine: continue
            mine[str(seed)] = fine_tuned(a, seed, delays, **how)
            said = ", ".join(f"{k} ms {v:.1%}" for k,v in mine[str(seed)].items())
            print(f"seed {seed}, {name}: {said}", flush=True)
            save()


def means(part): # setting -> delay -> mean WER
    return {k: {d: statistics.mean(o[d] for o in v.values()) for d in next(iter(v.values()))} for k,v in part.items()}


def delays(a, result, save):
    runs(a, result, save, "delays", {k: SETTINGS[k] for k in a.settings}, DELAYS)
    mean = means(result["delays"])
    print(table(["trained with", *(f"{o} ms" for o in DELAYS)],
                [[k, *(f"{v[str(o)]:.1%}" for o in DELAYS)] for k,v in mean.items()]), flush=True)
    draw(result["delays"], a.out/"realtime_delays.png")


def draw(part, file):
    "WER over the delay: mean of the seeds as a line, each seed as a dot; in letters that a telephone shows."
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    fig, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
    for (name, mean),color in zip(means(part).items(), ("#999999", "#e45756", "#4c78a8", "#54a24b", "#222222")):
        x, drawn = [int(o) for o in mean], name.startswith("random")
        ax.plot(x, [100*o for o in mean.values()], marker="o", label=name, color=color, lw=3 if drawn else 2,
                ls="-" if drawn else "--")
        for o in part[name].values(): ax.plot(x, [100*v for v in o.values()], ".", color=color, alpha=.45)
    ax.set(xscale="log", xticks=x, xticklabels=x, ylim=(0, None))
    ax.minorticks_off()
    ax.set_xlabel("delay at which it transcribes, ms", fontsize=13)
    ax.set_ylabel("WER on the accent, %", fontsize=13)
    ax.tick_params(labelsize=12)
    fig.legend(loc="outside upper center", ncols=4, fontsize=11, frameon=False, handlelength=1.3, columnspacing=1.)
    ax.grid(alpha=.25)
    ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(file, dpi=110, metadata=dict(Software=None))
    plt.close(fig)


def joined(a, result, save):
    runs(a, result, save, "joined", {"single clips": {}, "joined": dict(stream_seconds=20)}, (480,))
    print(table(["trained with", "WER at 480 ms, mean", "each seed"],
                [[k, f"{statistics.mean(o['480'] for o in v.values()):.1%}",
                  ", ".join(f"{o['480']:.1%}" for o in v.values())] for k,v in result["joined"].items()]), flush=True)


def main():
    p, parts = argparse.ArgumentParser(description=__doc__.splitlines()[0]), ("speed", "count", "delays", "joined")
    p.add_argument("--parts", nargs="+", default=[*parts], choices=parts)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--settings", nargs="+", default=[*SETTINGS], choices=[*SETTINGS], help="of the part delays")
    p.add_argument("--steps", type=int, default=120)
    p.add_argument("--seconds", nargs="+", default=[*CLIPS], choices=[*CLIPS], help="of the part speed")
    p.add_argument("--rounds", type=int, default=1, help="of the part speed")
    p.add_argument("--batch-size", type=int, default=8, help="clips a step, of the part speed")
    p.add_argument("--limit", type=int, help="clips to learn from, and to transcribe, at most")
    p.add_argument("--smoke", action="store_true", help="the least that shows that the code works")
    p.add_argument("--out", type=Path, default=RESULTS)
    a = p.parse_args()
    if a.smoke: a.seeds, a.steps, a.limit, a.settings, a.seconds, a.batch_size = [0], 1, 4, ["random"], ["1-3"], 2
    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out/"realtime.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    def save(): write(file.name, result | setting(steps=a.steps), a.out)
    for part in a.parts: globals()[part](a, result, save)
    save()


if __name__ == "__main__":
    if not answer_parent([plain]): main()
