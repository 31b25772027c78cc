"""How long it takes to the same word error rate (WER): the public recipe (recipe.py) against `voxtral_nb.train`.

    python benchmarks/quality.py [--method lora] [--steps 150] [--seeds 0 1 2] [--base benchmarks/out/base30] [--fresh]
    [--smoke]

The model is the tiny Voxtral with 30 s windows (base30.py creates it if missing), the task an accent that it
never heard: 300 clips of about a second. Both see the same clips in the same order, 12 a step, and do the same steps at
the same learning rate. At intervals the clock is stopped and 80 single clips are transcribed through the unmodified
processor, each in its own 30 s window. Loading the model and the data, and making the feature cache, are on the clock;
importing Python's libraries is not. Each run has its own process, recipe and ours take turns. What is done is
written after each run, and an interrupted benchmark continues with the runs that are missing."""
import argparse, json, statistics, tempfile, time
from pathlib import Path

from base30 import BASE30
from measure import RESULTS, answer_parent, child, peak, reset_peak, setting, table, write


class OffTheClockWER:
    "Transcribes clips from time to time, off the clock."
    def __init__(self, processor, manifest, every, batch_size=16, most=None):
        from voxtral_nb.data.audio import read_audio
        from voxtral_nb.model.collator import processor_kwargs
        rows = [json.loads(l) for l in Path(manifest).read_text().splitlines()][:most]
        self.p, self.every, self.refs, self.curve, self.away = processor, every, [r["text"] for r in rows], [], 0.
        clips, kw = [read_audio(Path(manifest).parent/r["audio_path"]) for r in rows], processor_kwargs(processor)
        kw |= dict(model_id="voxtral", language="en", sampling_rate=16000)
        ask = lambda x: processor.apply_transcription_request(x, format=["wav"]*len(x), **kw)
        self.batches = [ask(clips[i:i+batch_size]) for i in range(0, len(clips), batch_size)]

    def start(self): self.began = time.perf_counter()

    def wer(self, model):
        import jiwer, torch
        hyps, was = [], model.training
        state = torch.get_rng_state()
        model.eval()
        with torch.no_grad():
            for b in self.batches:
                out = model.generate(**b, max_new_tokens=48, do_sample=False)
                hyps += self.p.batch_decode(out[:, b["input_ids"].shape[1]:], skip_special_tokens=True)
        model.train(was)
        torch.set_rng_state(state)
        return jiwer.wer(self.refs, [h.strip() for h in hyps])

    def __call__(self, model, step, last=False):
        "Note the WER after `step`, if it is its turn."
        if step % self.every and not last: return
        stopped = time.perf_counter()
        self.curve.append(dict(step=step, seconds=round(stopped-self.began-self.away, 2),
                               wer=round(self.wer(model), 4)))
        self.away += time.perf_counter()-stopped


# -- in their own processes

def recipe(base, train_data, eval_data, method, steps, batch_size, lr, seed, every, most):
    "One run of the recipe."
    import torch, transformers
    from recipe import recipe_model, recipe_steps
    from measure import read_data
    from transformers import AutoProcessor, VoxtralForConditionalGeneration
    transformers.set_seed(seed)
    meter = OffTheClockWER(AutoProcessor.from_pretrained(base), eval_data, every, most=most)
    reset_peak()
    meter.start()
    model = VoxtralForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    meter(model, 0)
    model, processor = recipe_model(model, method), AutoProcessor.from_pretrained(base)
    clips, texts = read_data(train_data)
    losses = []
    for loss,_ in recipe_steps(model, processor, clips, texts, steps=steps, batch_size=batch_size, lr=lr, seed=seed):
        losses.append(round(loss, 4))
        meter(model, len(losses), last=len(losses) == steps)
    return dict(curve=meter.curve, loss=losses[-10:], peak=round(peak()))


def ours(base, train_data, eval_data, method, steps, batch_size, lr, seed, every, most, **settings):
    "One run of `voxtral_nb.train`."
    from transformers import AutoProcessor, TrainerCallback
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.training.trainer import train
    meter = OffTheClockWER(AutoProcessor.from_pretrained(base), eval_data, every, most=most)
    class MeasureWER(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs): meter(model, 0)
        def on_step_end(self, args, state, control, model=None, **kwargs):
            meter(model, state.global_step, last=state.global_step == state.max_steps)
    with tempfile.TemporaryDirectory() as tmp:
        cfg = RunConfig(**dict(model_id=base, train_data=train_data, eval_fraction=0, method=method, max_steps=steps,
                               batch_size=batch_size, learning_rate=lr, seed=seed, device="cpu", tracking="none",
                               logging_steps=10, save_total_limit=1, output_dir=f"{tmp}/run",
                               cache_dir=f"{tmp}/cache") | settings)
        reset_peak()
        meter.start()
        result = train(cfg, verbose=False, callbacks=[MeasureWER()])
    return dict(curve=meter.curve, loss=result.train_loss, peak=round(peak()))


# -- figures

def reached(
    curve, # of a run
    wer, # wanted
    stays=False, # and never worse afterwards
): # s; None: never
    "When a run was first measured at `wer` or below."
    good = [o["wer"] <= wer+1e-9 for o in curve]
    return next((o["seconds"] for i,o in enumerate(curve) if (all(good[i:]) if stays else good[i])), None)

def mean_curve(
    curves, # of the same steps
) -> list[dict]:
    "The curve of all seeds together."
    return [dict(step=points[0]["step"], **{k: statistics.mean(o[k] for o in points) for k in ("seconds", "wer")})
            for points in zip(*curves)]

def summary(runs):
    "What the curves say, seed by seed and on the whole."
    by = {(r["who"], r["seed"]): r["curve"] for r in runs}
    seeds = [s for s in dict.fromkeys(r["seed"] for r in runs) if ("recipe", s) in by and ("ours", s) in by]
    if not seeds: return {}
    rows = []
    for s in seeds:
        r, o = by["recipe", s], by["ours", s]
        goal, end = r[-1]["wer"], r[-1]["seconds"]
        t, t2 = reached(o, goal), reached(o, goal, stays=True)
        rows.append(dict(seed=s, recipe_wer=goal, recipe_seconds=end, recipe_reached=reached(r, goal),
                         ours_wer=o[-1]["wer"], ours_seconds=o[-1]["seconds"], ours_reached=t,
                         ours_stays=t2, share=None if t is None else round(t/end, 3)))
    mean = lambda k: round(statistics.mean(r[k] for r in rows), 4)
    goal = mean("recipe_wer")
    t = next((o["seconds"] for o in mean_curve([by["ours", s] for s in seeds]) if o["wer"] <= goal+1e-9), None)
    return dict(seeds=rows, recipe_wer=goal, recipe_seconds=mean("recipe_seconds"), ours_wer=mean("ours_wer"),
                ours_seconds=mean("ours_seconds"), ours_seconds_to_recipe_wer=t and round(t, 1),
                share_of_time=t and round(t/mean("recipe_seconds"), 3), wer_before=by["recipe", seeds[0]][0]["wer"])

def show(result):
    s = result.get("summary")
    if not s: return "no pair of runs yet"
    pc = lambda v: f"{v:.1%}"
    head = ["seed", "recipe WER", "s", "ours WER", "s", "ours at the recipe's WER after s", "for good after s",
            "share of the recipe's time"]
    line = lambda name, r, *more: [name, pc(r["recipe_wer"]), f"{r['recipe_seconds']:.0f}", pc(r["ours_wer"]),
                                   f"{r['ours_seconds']:.0f}", *more]
    rows = [line(r["seed"], r, r["ours_reached"] or "never", r["ours_stays"] or "never", r["share"] or "-")
            for r in s["seeds"]]
    rows.append(line("mean", s, s["ours_seconds_to_recipe_wer"] or "never", "", s["share_of_time"] or "-"))
    w = result["what"]
    return (f"WER before: {pc(s['wer_before'])}; {w['method']}, {w['steps']} steps of {w['batch_size']} clips\n\n"
            + table(head, rows))

def plot(result, file):
    "WER against seconds, and against steps."
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, PercentFormatter
    plt.rcParams.update({"font.size": 10.5})
    fig, axs = plt.subplots(2, 1, figsize=(4.5, 6.2), sharey=True, layout="constrained") # narrow: for phones too
    colors = dict(recipe="#7b8794", ours="#2d6cdf")
    for ax,x in zip(axs, ("seconds", "step")):
        for who,color in colors.items():
            # on the axis of seconds not what was before the first step
            curves = [r["curve"][x == "seconds":] for r in result["runs"] if r["who"] == who]
            for c in curves: ax.plot([o[x] for o in c], [o["wer"] for o in c], color=color, lw=.8, alpha=.45)
            if curves:
                ax.plot(*([o[k] for o in mean_curve(curves)] for k in (x, "wer")), "o-", ms=3, color=color, lw=2,
                        label=who)
        ax.set(xlabel=dict(seconds="seconds of training", step="optimizer steps")[x], yscale="log")
        ax.spines[["top", "right"]].set_visible(False)
    axs[0].set_xscale("log")
    axs[0].set_xticks([10, 20, 50, 100, 200, 500])
    axs[0].xaxis.set_major_formatter("{x:g}")
    axs[0].xaxis.set_minor_formatter("")
    for f in (axs[0].yaxis.set_major_formatter, axs[0].yaxis.set_minor_formatter): f(PercentFormatter(1, decimals=0))
    axs[0].yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5, 7)))
    if s := result.get("summary"):
        axs[0].axhline(s["recipe_wer"], color=colors["recipe"], lw=.8, ls=":")
        if t := s["ours_seconds_to_recipe_wer"]:
            axs[0].axvline(t, color=colors["ours"], lw=.8, ls=":")
            axs[0].annotate(f"recipe's final WER\nin {s['share_of_time']:.0%} of its time", (t, s["wer_before"]),
                            xytext=(5, 0), textcoords="offset points", fontsize=10, va="top", color=colors["ours"])
    for ax in axs: ax.set(ylabel="WER of single clips")
    axs[1].legend(frameon=False)
    fig.savefig(file, dpi=120)
    plt.close(fig)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--method", default="lora", choices=["lora", "full"])
    p.add_argument("--steps", type=int, default=150)
    p.add_argument("--batch-size", type=int, default=12, help="clips a step")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--every", type=int, default=15, help="steps between measurements")
    p.add_argument("--base", type=Path, default=BASE30, help="folder of the model; base30.py makes it")
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--only", nargs="+", default=["recipe", "ours"], choices=["recipe", "ours"])
    p.add_argument("--fresh", action="store_true", help="do again what has been done")
    p.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of our runs, to try others")
    p.add_argument("--smoke", action="store_true",
                   help="the smallest of everything, with the 8 s model: a check of the code, the figures mean nothing")
    a = p.parse_args()
    say = lambda s: print(s, flush=True)
    from voxtral_nb.core.config import config_fields
    from voxtral_nb.core.assets import sample_speech, tiny_path
    most = None
    if a.smoke: a.base, a.steps, a.batch_size, a.seeds, a.every, most = tiny_path(), 2, 2, [0], 1, 2
    else:
        from base30 import make
        make(a.base, say=say)
    made = json.loads((a.base/"made.json").read_text()) if (a.base/"made.json").exists() else None
    settings = {k: config_fields()[k].parse(v) for k,v in (o.split("=", 1) for o in a.set)}
    what = dict(method=a.method, steps=a.steps, batch_size=a.batch_size, lr=a.lr, every=a.every, settings=settings,
                base=made)
    name = "quality" + ("" if a.method == "lora" else f"-{a.method}") + "".join(f"-{k}-{v}" for k,v in settings.items())
    file, runs = a.out/f"{name}.json", []
    if file.exists() and not a.fresh:
        old = json.loads(file.read_text())
        if old["what"] == json.loads(json.dumps(what)):
            runs = old["runs"]
            say(f"{file.name}: {len(runs)} runs are done")
        else: say(f"{file.name} has other settings: starting again")
    result = dict(setting(), what=what, runs=runs)
    for k,seed in enumerate(a.seeds):
        for who in [w for w in ("recipe", "ours")[::1 if k%2 == 0 else -1] if w in a.only]:
            if any(r["who"] == who and r["seed"] == seed for r in runs): continue
            r = child(dict(recipe=recipe, ours=ours)[who], timeout=7200, inline=a.smoke, base=str(a.base),
                      train_data=str(sample_speech("accent_train")), eval_data=str(sample_speech("accent_eval")),
                      method=a.method, steps=a.steps, batch_size=a.batch_size, lr=a.lr, seed=seed, every=a.every,
                      most=most, **(settings if who == "ours" else {}))
            runs.append(dict(who=who, seed=seed, commit=setting()["commit"], **r))
            result["summary"] = summary(runs)
            write(file.name, result, a.out)
            first, last = r["curve"][0], r["curve"][-1]
            say(f"{who}, seed {seed}: WER {first['wer']:.1%} -> {last['wer']:.1%} in {last['seconds']:.0f} s; "
                + " ".join(f"{o['step']}:{o['wer']:.1%}" for o in r["curve"]))
    result["summary"] = summary(runs)
    write(file.name, result, a.out)
    plot(result, file.with_suffix(".png"))
    if len(commits := {r["commit"] for r in runs}) > 1:
        say(f"these runs are of different commits ({', '.join(sorted(commits))}): --fresh does all of them again")
    say(show(result))
    say(f"written: {file}")
    return result


if __name__ == "__main__":
    if not answer_parent([recipe, ours]): main()
