"""How fast a run trains, and in how much memory: the public recipe (recipe.py) against `voxtral_nb.train`, on the same
model and the same clips.

    python benchmarks/train.py [--only throughput scaling equal] [--seconds 1 3 10 28 mix] [--methods lora full]
    [--rounds 3] [--smoke]

The model: a Voxtral of random weights of some 24 M parameters, vocabulary of 32,768 tokens, windows of 30 s; the clips:
noise, with transcripts of four tokens a second; "mix" are clips of 1 to 15 s, 5 s on average. With LoRA two peers run
too: the recipe with LoRA in the language model only (`lm`), and that with `logits_to_keep` (`lm-logits`). Each figure
comes from its own process; they take turns, and change order each round. All do the same number of clips a step
and the same steps; all load the model, and ours also makes its feature cache, on the clock.

A run's time is counted in CPU seconds of one thread, so that it depends little on what else the machine does, from the
call to the end of its last step. The recipe does the same work each step, so some of its steps are timed and the others
are estimated; ours runs all three epochs. Peak memory is that of the process from before the model is loaded; "over" is
what it is more than the process held then (Python and its libraries)."""
import argparse, json, statistics, tempfile, time
from pathlib import Path

from measure import (RESULTS, answer_parent, child, make_data, mixed, peak, read_data, reset_peak, save_model,
                     setting, spread, table, write)

EPOCHS = 3 # of a usual run
PEERS = {"recipe": {}, "lm": dict(lm_only=True), "lm-logits": dict(lm_only=True, few_logits=True)} # see recipe.py
CLIPS = {1: 96, 3: 64, 10: 32, 28: 16, "mix": 32} # clips of each length, s: some minutes of audio for all


# -- in their own processes

def recipe(model_dir, data, method, batch_size, steps, warm=1, lm_only=False, few_logits=False):
    "Seconds of `steps` steps of the recipe, after `warm` that are not counted."
    import torch, transformers
    from recipe import recipe_model, recipe_steps
    from transformers import AutoProcessor, VoxtralForConditionalGeneration
    transformers.set_seed(42)
    base, began = reset_peak(), time.process_time()
    model = recipe_model(VoxtralForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32), method,
                         lm_only=lm_only)
    processor = AutoProcessor.from_pretrained(model_dir)
    clips, texts = read_data(data)
    ready = time.process_time()-began
    times = [t for _,t in recipe_steps(model, processor, clips, texts, steps=warm+steps, batch_size=batch_size,
                                       few_logits=few_logits, clock=time.process_time)]
    return dict(ready=ready, first=times[0], steps=times[warm:], peak=peak(), over=peak()-base)


def ours(model_dir, data, method, batch_size, epochs=EPOCHS, **settings):
    "Seconds of a run: until its first step, and of each step."
    from transformers import TrainerCallback
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.training.trainer import train
    class Clock(TrainerCallback):
        ends = []
        def on_train_begin(self, *args, **kwargs): self.ends.append(time.process_time())
        def on_step_end(self, *args, **kwargs): self.ends.append(time.process_time())
    with tempfile.TemporaryDirectory() as tmp:
        cfg = RunConfig(**dict(model_id=model_dir, train_data=data, eval_fraction=0, method=method, epochs=epochs,
                               batch_size=batch_size, device="cpu", tracking="none", logging_steps=1000,
                               save_total_limit=1, output_dir=f"{tmp}/run", cache_dir=f"{tmp}/cache") | settings)
        base, began = reset_peak(), time.process_time()
        result = train(cfg, verbose=False, callbacks=[Clock()])
    ready, *ends = [t-began for t in Clock.ends]
    assert len(ends) == result.steps
    return dict(ready=ready, ends=ends, steps=[b-a for a,b in zip([ready, *ends], ends)], peak=peak(), over=peak()-base)


def equal(model_dir, data, clips, targets="language_model"):
    """Largest difference of one step's loss and gradients: ours through `train`, the recipe's through its own collator
    and the model's own loss."""
    import torch
    from recipe import RecipeCollator, TARGETS, recipe_model
    from transformers import AutoProcessor, TrainerCallback, VoxtralForConditionalGeneration
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.training.trainer import train
    torch.manual_seed(0)
    noise, grabbed = {}, {}
    plain = lambda n: n.replace("base_model.model.", "").replace("module.", "")
    learns = lambda model: {plain(n): p for n,p in model.named_parameters() if p.requires_grad}
    class Grab(TrainerCallback): # an adapter begins with B = 0, and would have no gradient in A: give it other weights
        def on_train_begin(self, *args, model=None, **kwargs):
            for n,p in learns(model).items():
                noise[n] = .05*torch.randn_like(p)
                p.data.copy_(noise[n])
        def on_pre_optimizer_step(self, *args, model=None, **kwargs):
            grabbed.update({n: p.grad.clone() for n,p in learns(model).items()})
        def on_log(self, *args, logs=None, **kwargs):
            if "loss" in logs: grabbed.setdefault("loss", logs["loss"])
    both = targets == "everywhere" # the recipe's own placement, encoder included
    with tempfile.TemporaryDirectory() as tmp:
        train(RunConfig(model_id=model_dir, train_data=data, eval_fraction=0, max_steps=1, batch_size=clips,
                        max_train_clips=clips, lora_dropout=0, max_grad_norm=0, packing="none", cache="none",
                        lora_targets=",".join(TARGETS), train_audio_tower=both, train_projector=False, device="cpu",
                        tracking="none", logging_steps=1, output_dir=f"{tmp}/run"),
              verbose=False, callbacks=[Grab()])
    model = VoxtralForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32)
    model = recipe_model(model, dropout=0, lm_only=not both)
    theirs = learns(model)
    loss_ours = grabbed.pop("loss")
    assert sorted(theirs) == sorted(grabbed), "the adapters do not sit on the same layers"
    for n,p in theirs.items(): p.data.copy_(noise[n])
    collate = RecipeCollator(AutoProcessor.from_pretrained(model_dir))
    rows = [dict(audio=a, text=t) for a,t in zip(*read_data(data))]
    loss = model(**collate(rows[:clips])).loss
    loss.backward()
    largest = max(p.grad.abs().max().item() for p in theirs.values())
    apart = max((p.grad-grabbed[n]).abs().max().item() for n,p in theirs.items())
    return dict(targets=targets, tensors=len(theirs), loss_recipe=loss.item(), loss_ours=loss_ours,
                loss_difference=abs(loss.item()-loss_ours), largest_gradient=largest, largest_difference=apart)


# -- the benchmarks

def throughput(model_dir, work, seconds, methods, rounds, batch_size, steps, clips, say, inline=False,
               keep=lambda rows: None):
    "Rows of figures, one for each clip length and method; `keep` is given them after each round."
    rows = []
    for s in seconds:
        n = clips[s]
        data = str(make_data(work/f"clips-{s}", n, s))
        per_epoch = -(-n//batch_size)
        audio = sum(mixed(n)) if s == "mix" else n*s
        for method in methods:
            got = {who: [] for who in (*PEERS, "ours")} if method == "lora" else dict(recipe=[], ours=[])
            for k in range(rounds):
                for who in [*got][::1 if k%2 == 0 else -1]:
                    args = dict(model_dir=str(model_dir), data=data, method=method, batch_size=batch_size)
                    timed = dict(steps=per_epoch if s == "mix" else steps, **PEERS[who]) if who != "ours" else {}
                    r = child(recipe if timed else ours, inline=inline, **timed, **args)
                    got[who].append(r)
                    rate = batch_size*audio/n/statistics.mean(r["steps"])
                    say(f"{method}, clips of {s} s, round {k+1}: {who:9} {rate:8.2f} audio-s/s, "
                        f"ready after {r['ready']:.1f} s, peak {r['peak']:.0f} MB")
                row = dict(method=method, seconds=s, clips=n, clips_a_step=batch_size)
                row |= compared(got, audio, batch_size*audio/n, per_epoch)
                rows = [r for r in rows if (r["method"], r["seconds"]) != (method, s)] + [row]
                keep(rows)
    return rows


def compared(
    got, # results of `recipe` for each peer, and of `ours`
    audio, step_audio, per_epoch, # seconds of all clips and of a step's, steps of an epoch
) -> dict:
    "Audio-seconds trained per second: in later epochs, in the first, in a run; memory; ours over the others'."
    def plain(rs):
        step = [statistics.mean(r["steps"]) for r in rs] # of the mix all steps of an epoch are timed
        until = lambda n: [r["ready"] + r["first"] + (n-1)*t for r,t in zip(rs, step)]
        return dict(steady=[step_audio/t for t in step], first_pass=[audio/t for t in until(per_epoch)],
                    run=[EPOCHS*audio/t for t in until(EPOCHS*per_epoch)])
    one = {who: plain(rs) for who,rs in got.items() if who != "ours"}
    one["ours"] = dict(steady=[(EPOCHS-1)*audio/(r["ends"][-1]-r["ends"][per_epoch-1]) for r in got["ours"]],
                       first_pass=[audio/r["ends"][per_epoch-1] for r in got["ours"]],
                       run=[EPOCHS*audio/r["ends"][-1] for r in got["ours"]])
    for who,rs in got.items():
        rest = {k: [r[k] for r in rs] for k in ("peak", "over", "ready")}
        one[who] = {k: spread(v) for k,v in (one[who] | rest).items()}
    ratio = lambda what, digits, who="recipe": round(one["ours"][what]["median"]/one[who][what]["median"], digits)
    return one | dict(times={k: ratio(k, 2) for k in ("steady", "first_pass", "run")},
                      memory={k: ratio(k, 3) for k in ("peak", "over")},
                      peers={who: ratio("run", 2, who) for who in got if who not in ("recipe", "ours")})


def scaling(work, counts, say, batch_size=32, inline=False, keep=lambda rows: None):
    "Time and memory of two epochs of more and more clips of 1 s, with a small model."
    save_model(work/"small", vocab_size=4096, hidden_size=64, layers=2)
    rows = []
    for n in counts:
        data = make_data(work/f"many-{n}", n, 1)
        r = child(ours, inline=inline, model_dir=str(work/"small"), data=str(data), method="lora",
                  batch_size=batch_size, epochs=2)
        per_epoch = -(-n//batch_size)
        rows.append(dict(clips=n, until_first_step=round(r["ready"], 2), seconds=round(r["ends"][-1], 2),
                         ms_a_clip=round(1000*r["ends"][-1]/(2*n), 3),
                         steady_ms_a_clip=round(1000*(r["ends"][-1]-r["ends"][per_epoch-1])/n, 3),
                         peak=round(r["peak"]), over=round(r["over"])))
        say(f"{n} clips: {json.dumps(rows[-1])}")
        keep(rows)
    return rows


def show(result): # text
    "The figures as tables."
    out = []
    if rows := result.get("throughput"):
        head = ["method", "clip s", "recipe, a run", "ours, a run", "first epoch", "later epochs", "faster, a run",
                "later", "LoRA in the LM only", "and logits_to_keep", "recipe MB", "ours MB", "share"]
        cell = lambda o: f"{o['median']:.1f} ({o['low']:.1f}-{o['high']:.1f})"
        out += [f"audio-seconds trained per CPU second, median (range); a run: {EPOCHS} epochs, with loading and cache",
                table(head, [[r["method"], r["seconds"], cell(r["recipe"]["run"]),
                              *(cell(r["ours"][k]) for k in ("run", "first_pass", "steady")),
                              f"{r['times']['run']:.1f}x", f"{r['times']['steady']:.1f}x",
                              *(f"{r['peers'][w]:.1f}x" if w in r.get("peers", {}) else "" for w in [*PEERS][1:]),
                              *(f"{r[w]['peak']['median']:.0f}" for w in ("recipe", "ours")),
                              f"{r['memory']['peak']:.2f}"] for r in rows])]
    if rows := result.get("scaling"):
        out += ["two epochs of clips of 1 s, small model", table(list(rows[0]), [list(r.values()) for r in rows])]
    if rows := result.get("equal"):
        def cell(k, v):
            if k in ("loss_recipe", "loss_ours"): return f"{v:.6f}"
            return f"{v:.1e}" if isinstance(v, float) else v
        out += ["one step of ours (unpacked, no cache) and of the recipe",
                table(list(rows[0]), [[cell(k, v) for k,v in r.items()] for r in rows])]
    return "\n\n".join(out)


COLORS = dict(recipe="#9aa3ad", ours="#2d6cdf")

def bars(ax, rows, value, labels, title):
    "Recipe and ours side by side; `value` gives median, low and high."
    for who,shift in (("recipe", -.2), ("ours", .2)):
        v = [value(r, who) for r in rows]
        ax.bar([i+shift for i in range(len(rows))], [m for m,_,_ in v], .38, color=COLORS[who], label=who,
               error_kw=dict(lw=.8), yerr=[[m-lo for m,lo,_ in v], [hi-m for m,_,hi in v]])
    ax.set(xticks=range(len(rows)), xticklabels=labels, title=title)


def plot(result, file):
    "Throughput, memory, and cost against the number of clips."
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    rows, many = result.get("throughput", []), result.get("scaling", [])
    methods = list(dict.fromkeys(r["method"] for r in rows))
    n = len(methods) + bool(rows) + bool(many)
    if not n: return
    plt.rcParams.update({"font.size": 10.5, "axes.titlesize": 11})
    fig, axs = plt.subplots(n, 1, figsize=(4.5, 2.6*n), squeeze=False, layout="constrained") # narrow: for phones too
    fig.get_layout_engine().set(hspace=.08)
    axs, of = list(axs.flat), lambda k, scale=1: lambda r, who: [r[who][k][o]/scale for o in ("median", "low", "high")]
    for method in methods:
        ax, rs = axs.pop(0), [r for r in rows if r["method"] == method]
        labels = ["mix" if r["seconds"] == "mix" else f"{r['seconds']} s" for r in rs]
        bars(ax, rs, of("run"), labels, f"{method}: audio-s per CPU s")
        for i,r in enumerate(rs):
            ax.annotate(f"{r['times']['run']:.1f}×", (i+.2, r["ours"]["run"]["high"]), ha="center", va="bottom",
                        fontsize=10, xytext=(0, 1), textcoords="offset points")
        ax.set(yscale="log", xlabel="length of the clips")
        ax.margins(y=.2)
        ax.legend(frameon=False, fontsize=10, loc="upper left")
    if rows:
        ax = axs.pop(0)
        first = {m: next(i for i,r in enumerate(rows) if r["method"] == m) for m in methods}
        labels = [f"{r['seconds']}" + (f"\n{r['method']}" if i in first.values() else "") for i,r in enumerate(rows)]
        bars(ax, rows, of("peak", 1024), labels, "peak memory, GiB")
        ax.set(xlabel="length of the clips, s")
    if many:
        ax = axs.pop(0)
        ax.loglog([r["clips"] for r in many], [r["seconds"] for r in many], "o-", color=COLORS["ours"])
        ax.set(xlabel="clips of 1 s", ylabel="s", title="two epochs: time, peak memory")
        ax.margins(x=.5, y=.2)
        for r in many:
            ax.annotate(f"{r['peak']} MB", (r["clips"], r["seconds"]), xytext=(-6, 6), textcoords="offset points",
                        fontsize=10, ha="right")
    for ax in fig.axes: ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(file, dpi=120)
    plt.close(fig)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--only", nargs="+", default=["throughput", "scaling", "equal"],
                   choices=["throughput", "scaling", "equal"])
    p.add_argument("--seconds", nargs="+", type=lambda o: o if o == "mix" else int(o), default=list(CLIPS))
    p.add_argument("--methods", nargs="+", default=["lora", "full"])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--batch-size", type=int, default=8)
    p.add_argument("--steps", type=int, default=3, help="steps of the recipe that are timed")
    p.add_argument("--counts", nargs="+", type=int, default=[100, 1000, 10_000])
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--smoke", action="store_true",
                   help="the smallest of everything, to see that it works: the figures mean nothing")
    a = p.parse_args()
    say = lambda s: print(s, flush=True)
    clips, size = CLIPS | {s: 32 for s in a.seconds if s not in CLIPS}, {}
    if a.smoke:
        a.seconds, a.rounds, a.batch_size, a.steps, a.counts, a.methods = ["mix"], 1, 2, 1, [8], ["lora"]
        clips = dict(mix=4)
        size = dict(vocab_size=2048, hidden_size=64, layers=1)
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        n = save_model(work/"model", **size)
        result = dict(setting(parameters=n, epochs=EPOCHS, smoke=a.smoke))
        say(f"{n:,} parameters; {result['cpu']}, {result['cores']} cores, {result['threads']} threads")
        def keep(part):
            "Write what there is so far: a benchmark that is stopped loses nothing."
            return lambda rows: (result.update({part: rows}), write("train.json", result, a.out))
        if "equal" in a.only:
            data = str(make_data(work/"equal", 3, 1))
            where = ("language_model", "everywhere")
            result["equal"] = [child(equal, inline=a.smoke, model_dir=str(work/"model"), data=data, clips=3,
                                     targets=t) for t in where]
            for r in result["equal"]:
                say(f"equal, {r['targets']}: loss {r['loss_recipe']:.6f} and {r['loss_ours']:.6f}; "
                    f"{r['tensors']} gradients, "
                    f"largest difference {r['largest_difference']:.1e} of {r['largest_gradient']:.1e}")
            write("train.json", result, a.out)
        if "throughput" in a.only:
            result["throughput"] = throughput(work/"model", work, a.seconds, a.methods, a.rounds, a.batch_size, a.steps,
                                              clips, say, a.smoke, keep("throughput"))
        if "scaling" in a.only:
            result["scaling"] = scaling(work, a.counts, say, 2 if a.smoke else 32, a.smoke, keep("scaling"))
    say(show(result))
    say(f"written: {write('train.json', result, a.out)}")
    plot(result, a.out/"train.png")
    return result


if __name__ == "__main__":
    if not answer_parent([recipe, ours, equal]): main()
