"""Which settings win for which purpose: a grid of settings, tasks and seeds, against the published recipe.

    python benchmarks/presets.py --tasks digits-fr accent --settings "lora lm" "lora everywhere lora_r=64" "recipe lora"
    python benchmarks/presets.py --table                # what has been measured so far
    python benchmarks/presets.py --smoke

All runs share one process and go through `train` as a user's run does. A setting is a method, what LoRA reaches (`lm`,
the `projector` too, or `everywhere`; else what the defaults say), and settings of `RunConfig`. `recipe` is recipe.py
with the adapter of the best-known script: on q, k, v and o, in the encoder too, rank 8, alpha 32, no dropout, 8 clips a
step; its learning rate is one for a model of this size. Times are CPU seconds of one thread, from the start of a run
to its trained model, caches included and evaluation excluded. Each model is then evaluated on clips that it was not
trained on, in whole windows. A line is appended for each run, and what is there is not run again.

Tasks: `digits-VOICE` is one speaker's single digits through a room and a telephone, 400 clips (`digits-fr@50`: 50);
`prompts` a real speaker's digits, joined to strings (`prompts-fr`, `prompts-it`, `prompts-es`: other speakers and
languages, from the Debian packages asterisk-core-sounds-fr-wav and so on; all of them under "en", which is what the
tiny model knows); `accent` the sample speech of the package; `words` twelve words that the tiny model never heard, in a
voice that it knows; `noise` known voices at 0 to 10 dB.

`--model ear` is the ear of ear.py, with tasks of open vocabulary: `recorded`, a real speaker's telephone prompts; the
texts of such prompts, others to train on than to evaluate on, read by espeak-ng's German voice (`read-de`, or another
language: an accent) or by voices that the ear knows at 0 to 10 dB (`read-noise`); and `names`, twelve surnames that it
never heard, in short requests and a voice that it knows. `recorded@50` and so on: 50 clips."""
import argparse, json, random, statistics, tempfile, time
from pathlib import Path

import numpy as np, soxr

from measure import DIGITS, HERE, setting, table, read_data

OUT = HERE/"out"/"presets"
SOUNDS = Path("/usr/share/asterisk/sounds")
WORDS = "window river garden yellow mountain paper silver candle bottle hammer doctor winter".split()
EAR_TASKS = ("recorded", "read-de", "read-noise", "names")
NAMES = "oyelaran brzezinski quintanilla thibodeaux achterberg szymanowski featherstonehaugh vandermeulen "\
    "papadimitriou nakasone zabriskie okonkwo".split()
REQUESTS = dict(train="call {}|please ask {} for the number|is {} in the office|send it to {} today".split("|"),
                eval="please call {} today|the number is in the office of {}|ask {}".split("|"))
# voice and variants of espeak-ng, pitch, words a minute, room (s until the echo is 60 dB down), speech over noise (dB)
SPEAKERS = dict(es=("es", ("f2", "steph"), 60, 160, .3, 20), fr=("fr-fr", ("m3", "m5"), 45, 150, .2, 20),
                hi=("hi", ("f4", "f5"), 55, 150, .3, 20), it=("it", ("m1", "m4"), 40, 150, .2, 20))


# -- speech

def spoken(text, voice, pitch, rate, rng, far=1.):
    "A clip, faster or slower, higher or lower each time (`far` times as much); without the silence around it."
    from voxtral_nb.testing.speech import espeak
    varied = lambda share: 1+far*rng.uniform(-share, share)
    x = espeak(text, voice, round(rate*varied(.15)), min(99, max(0, round(pitch*varied(.2)))))
    x = soxr.resample(x, 16000, 16000*varied(.05))
    heard = np.flatnonzero(np.abs(x) > .01)
    return x[heard[0]:heard[-1]+1]


def disturbed(x, rng, room=0., noise=None, telephone=False):
    "A clip in a room, with noise, through a telephone."
    g = np.random.default_rng(rng.getrandbits(32))
    if room:
        n = int(room*16000)
        echo = g.standard_normal(n)*10**(-3*np.arange(n)/n)*.05
        echo[0] = 1.
        x = np.convolve(x, echo)[:len(x)+n//3]
    if telephone: x = soxr.resample(soxr.resample(x, 16000, 8000), 8000, 16000)
    if noise is not None:
        x = x + g.standard_normal(len(x))*np.sqrt((x**2).mean())*10**(-noise/20)
    return (x/np.abs(x).max()*rng.uniform(.2, .9)).astype(np.float32)


def recorded_digits(lang): # samples of 0 to 9
    "One speaker's digits, of Debian's telephone prompts."
    from voxtral_nb.data.audio import read_audio
    folder = next(iter(sorted(SOUNDS.glob(f"{lang}_*_*/digits"))), None)
    if folder is None: raise SystemExit(f"no recorded digits: apt-get install asterisk-core-sounds-{lang}-wav")
    return [read_audio(next(o for o in (folder/f"{k}.wav", folder/f"{k}M.wav") if o.exists())) for k in range(10)]


def recorded_prompts(n, part, rng): # yields samples and text
    "Other clips to train on than to evaluate on; of up to 6 s."
    from ear_make import prompts
    clips = [c for c in prompts("held" if part == "eval" else "train") if len(c.audio) <= 6*16000]
    if len(clips) < n: raise SystemExit(f"there are {len(clips)} recorded prompts, not {n}")
    for c in rng.sample(clips, n): yield c.audio, c.text


def read_clips(kind, n, part, rng): # yields samples and text
    "Names in requests, or the texts of recorded prompts, in voices of espeak-ng; for the ear."
    from ear_make import prompts
    texts = [] if kind == "names" else [
        c.text for c in prompts("held" if part == "eval" else "train") if 2 <= len(c.text.split()) <= 8]
    for _ in range(n):
        if kind == "names":
            text = rng.choice(REQUESTS[part]).format(rng.choice(NAMES))
            yield disturbed(spoken(text, "en-us", 50, 150, rng), rng, noise=35), text
        else:
            noisy, text = kind == "noise", rng.choice(texts)
            voice = rng.choice(["en", "en-us", "en-us-nyc"]) if noisy else kind
            x = spoken(text, voice, 50, 150, rng)
            yield disturbed(x, rng, .3*noisy, rng.uniform(0, 10) if noisy else 35, telephone=noisy), text


def clips_of(task, n, seed): # yields samples and text
    "The clips of a task."
    rng, (kind, _, lang) = random.Random(f"{task}{seed}"), task.partition("-")
    if task == "recorded": return (yield from recorded_prompts(n, seed, rng))
    if kind in ("read", "names"): return (yield from read_clips(lang or kind, n, seed, rng))
    if kind == "prompts": recorded, names = recorded_digits(lang or "en"), DIGITS[lang or "en"]
    for _ in range(n):
        if kind == "prompts":
            ks, parts = [rng.randrange(10) for _ in range(rng.choice([1, 1, 2, 3, 4]))], []
            for k in ks:
                x = soxr.resample(recorded[k], 16000, 16000*rng.uniform(.9, 1.1))
                parts += [x*rng.uniform(.3, 1), np.zeros(int(rng.uniform(0, .3)*16000), np.float32)]
            yield disturbed(np.concatenate(parts), rng, noise=rng.uniform(25, 40)), " ".join(names[k] for k in ks)
        elif task == "words":
            text = rng.choice(WORDS)
            yield disturbed(spoken(text, "en-us", 50, 150, rng), rng, noise=35), text
        elif task == "noise":
            text = " ".join(rng.choices(DIGITS["en"], k=rng.choice([1, 2, 3])))
            x = spoken(text, rng.choice(["en", "en-us", "en-gb-scotland"]), 50, 150, rng)
            yield disturbed(x, rng, room=.3, noise=rng.uniform(0, 10), telephone=True), text
        else:
            voice, variants, pitch, rate, room, noise = SPEAKERS[task.removeprefix("digits-")]
            text = rng.choice(DIGITS["en"])
            x = spoken(text, f"{voice}+{rng.choice(variants)}", pitch, rate, rng, far=1.6)
            yield disturbed(x, rng, room, noise+rng.uniform(-5, 5), True), text


def data_of(task, folder=OUT/"data", few=None): # manifests to train and to evaluate on
    "The speech of a task, made the first time."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.data.dataset import SpeechDataset
    if task == "accent": return sample_speech("accent_train"), sample_speech("accent_eval")
    name, _, size = task.partition("@")
    made = []
    for part,n in (("train", few or int(size or 400)), ("eval", few or (60 if name in EAR_TASKS else 150))):
        at = folder/f"{name}-{part}-{n}"
        if not (at/"done").exists():
            ds = SpeechDataset.create(at)
            for x,text in clips_of(name, n, part): ds.append(x, text, sampling_rate=16000, language="en", speaker=name)
            (at/"done").touch()
        made.append(at/"data.jsonl")
    return made


# -- runs

def recipe(model_id, manifest, seed, method="lora", lr=2e-3, epochs=3., batch_size=8, r=8, alpha=32):
    "The best-known script, and how many steps it took."
    import torch, transformers
    from transformers import AutoProcessor, VoxtralForConditionalGeneration
    from recipe import recipe_model, recipe_steps
    import recipe as published
    transformers.set_seed(seed)
    model = VoxtralForConditionalGeneration.from_pretrained(model_id, dtype=torch.float32)
    published.TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
    model = recipe_model(model, method, r=r, alpha=alpha, dropout=0.)
    processor = AutoProcessor.from_pretrained(model_id)
    clips, texts = read_data(manifest)
    steps = round(epochs*-(-len(clips)//batch_size))
    losses = [l for l,_ in recipe_steps(model, processor, clips, texts, steps=steps, batch_size=batch_size, lr=lr,
                                        seed=seed)]
    return model, processor, steps, statistics.mean(losses[-10:])


def ours(model_id, manifest, seed, **settings):
    "A run of `train`, without evaluation."
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.training.trainer import train
    with tempfile.TemporaryDirectory() as tmp:
        r = train(RunConfig(**dict(model_id=model_id, train_data=str(manifest), eval_fraction=0, seed=seed,
                                   device="cpu", tracking="none", save_total_limit=1, output_dir=f"{tmp}/run",
                                   cache_dir=f"{tmp}/cache") | settings), verbose=False)
        took = time.process_time()
        return *load_voxtral(str(r.final_model), device="cpu", verbose=False), r.steps, r.train_loss, took


REACH = dict(lm=(False, False), projector=(True, False), everywhere=(True, True)) # the projector, the encoder

def parsed(words):
    "Settings written as NAME=VALUE, or a name of `REACH`."
    from voxtral_nb.core.config import config_fields
    reach = [o for o in words if o in REACH]
    return {k: v for o in reach for k,v in zip(("train_projector", "train_audio_tower"), REACH[o])} | {
        k: config_fields()[k].parse(v) if k in config_fields() else float(v) if "." in v or "e" in v else int(v)
        for k,v in (o.split("=", 1) for o in words if o not in reach)}


def one_run(model_id, task, how, seed, folder=OUT/"data", few=None, max_new_tokens=64): # a line of the results
    "Train on a task with some settings, and evaluate."
    name, model_id = Path(model_id).name, ear_folder() if model_id == "ear" else model_id
    who, *words = how.split()
    train_data, eval_data = data_of(task, folder, few)
    began, took = time.process_time(), None
    if who == "base":
        from voxtral_nb.model.models import load_voxtral
        model, processor, steps, loss = *load_voxtral(model_id, device="cpu", verbose=False), 0, 0.
    elif who == "recipe":
        method, *words = words
        model, processor, steps, loss = recipe(_folder(model_id), train_data, seed, method, **parsed(words))
    else: model, processor, steps, loss, took = ours(model_id, train_data, seed, method=who, **parsed(words))
    took = (took or time.process_time())-began
    return dict(model=name, task=task, how=how, seed=seed, cpu=round(took, 1), steps=steps,
                loss=round(loss, 4), **judged(model, processor, eval_data, max_new_tokens))


def judged(model, processor, manifest, max_new_tokens): # wer, nll of a token
    "Texts and losses of clips in whole windows, as others will use the model."
    from voxtral_nb.data.audio import read_audio
    from voxtral_nb.measure.evaluation import decode_clips, score
    from voxtral_nb.model.collator import VoxtralDataCollator
    from voxtral_nb.model.models import base_voxtral
    from voxtral_nb.model.prepare import read_batches
    read_batches(base_voxtral(model.eval()))
    collate, (files, texts) = VoxtralDataCollator(processor, packing="none", language="en"), read_data(manifest)
    rows = [dict(audio=read_audio(f), text=t) for f,t in zip(files, texts)]
    out = decode_clips(model, collate, rows, [len(o["audio"])/16000 for o in rows], range(len(rows)), batch_size=16,
                       max_new_tokens=max_new_tokens, learn=True, write=range(len(rows)), verbose=False)
    said = [collate.prompt.decode(out[i].tokens).strip() for i in range(len(rows))]
    losses = [x for o in out.values() for x in o.losses]
    return dict(wer=round(score(texts, said).rates["wer"], 4), nll=round(statistics.mean(losses), 4))


def ear_folder(folder=OUT/"ear"): # where `from_pretrained` finds it
    "The ear as a model like any other."
    from ear_model import CONTROL, VOCABULARY, load_ear
    from measure import cut_tekken
    from voxtral_nb.model.tiny import make_processor
    if not (folder/"processor_config.json").exists():
        load_ear()[0].save_pretrained(folder)
        cut_tekken(folder/"tekken", VOCABULARY+CONTROL, n_mels=80, n_control=CONTROL)
        make_processor(folder/"tekken").save_pretrained(folder)
    return str(folder)


def _folder(model_id):
    from voxtral_nb.core.assets import tiny_path
    return str(tiny_path()) if model_id == "tiny" else model_id


# -- figures

def show(rows): # text
    "WER of the seeds and CPU seconds, a line for each setting, a column for each task."
    tasks, hows = (list(dict.fromkeys(r[k] for r in rows)) for k in ("task", "how"))
    def cell(how, task):
        rs = [r for r in rows if (r["how"], r["task"]) == (how, task)]
        if not rs: return ""
        wer = [100*r["wer"] for r in rs]
        return (f"{statistics.mean(wer):.1f}" + (f" ({min(wer):.1f}-{max(wer):.1f})" if len(wer) > 1 else "")
                + f", {statistics.mean(r['cpu'] for r in rs):.0f} s")
    return table(["settings", *tasks], [[h, *(cell(h, t) for t in tasks)] for h in hows])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--model", default="tiny")
    p.add_argument("--tasks", nargs="+", default=["digits-fr"])
    p.add_argument("--settings", nargs="+", default=["recipe lora lr=2e-3", "lora"])
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--out", type=Path, default=OUT/"presets.jsonl", help="lines are appended to it")
    p.add_argument("--sounds", type=Path, default=SOUNDS, help="where Debian's telephone prompts are")
    p.add_argument("--table", action="store_true", help="show what has been measured")
    p.add_argument("--smoke", action="store_true", help="four clips and two steps, to see that it works")
    a = p.parse_args()
    globals()["SOUNDS"] = a.sounds
    if a.smoke: a.tasks, a.settings, a.seeds = ["prompts"], ["recipe lora", "lora lm max_steps=2"], [0]
    a.out.parent.mkdir(parents=True, exist_ok=True)
    read = lambda: [json.loads(l) for l in a.out.read_text().splitlines()] if a.out.exists() else []
    done = {(r["model"], r["task"], r["how"], r["seed"]) for r in read()}
    where = setting() if not a.table else {}
    for seed in a.seeds:
        for task in a.tasks:
            for how in a.settings:
                if a.table or (Path(a.model).name, task, how, seed) in done: continue
                row = one_run(a.model, task, how, seed, *([a.out.parent/"data", 4] if a.smoke else []))
                row |= dict(date=where["date"], commit=where["commit"])
                with a.out.open("a") as f: f.write(json.dumps(row)+"\n")
                print(row, flush=True)
    print(show(read()))


if __name__ == "__main__": main()
