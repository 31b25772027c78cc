"""How exact the ways to find word ends are, and what a streaming model learns from each.

    python benchmarks/align.py [--parts errors training digits] [--kinds exact noise self ctc energy prompt ...]
                               [--seeds 0 1 2] [--steps 300] [--languages en it] [--sounds FOLDER] [--smoke]

errors: mean absolute error of the ends that energy, the tiny Voxtral Realtime itself and a CTC model find, where the
exact ends are known: the sample speech of the base's voices and of an accent that it never heard (espeak-ng says the
words), and digits of a real speaker, joined (Debian's asterisk-core-sounds-en-wav). The CTC model is a small Wav2Vec2
over log-mel, trained here on the base's kind of speech and saved in the cache of voxtral_nb.
training: LoRA on the tiny Voxtral Realtime at 480 ms, on 300 clips of the accent, with the same steps for exact ends,
ends with Gaussian noise of 120 or 60 ms, or with 120 ms of it that only make them later, those of self-alignment, of
the CTC model and of energy, and the whole text right after the prompt; word error rate (WER) on 80 other clips.
self_twice: the model that self-alignment has trained finds the ends again at 480 ms, and a new LoRA learns from them.
digits: the real speakers' joined digits, without word times, before and after LoRA at 480 ms with self-alignment.
What is done is written after each model, and an interrupted benchmark goes on."""
import argparse, json, random, shutil, statistics, tempfile
from pathlib import Path

import numpy as np
from measure import DIGITS, RESULTS, setting, table, write

KINDS = ("exact", "noise", "noise_60", "later", "self", "self_twice", "ctc", "energy", "prompt")
PLANTED = ("exact", "noise", "noise_60", "later", "prompt") # made from the exact ends
NOISE = dict(noise=.12, noise_60=.06, later=.12) # s: standard deviation; later: none of it makes an end earlier
SOUNDS = "/usr/share/asterisk/sounds"


def sample(part, limit=None):
    "The sample speech, as rows with absolute paths and the times of words."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.data.dataset import SpeechDataset
    ds = SpeechDataset.open(sample_speech(part))
    return [dict(audio_path=str(ds.audio_file(o)), text=o["text"], duration=o["duration"], language="en",
                 words=o["words"]) for o in [*ds][:limit]]


def recorded(lang, sounds):
    "A real speaker's digits, from Debian's asterisk-core-sounds-LANG-wav."
    from voxtral_nb.data.audio import read_audio
    folders = [*Path(sounds).glob(f"{lang}_*_?_*/digits"), *Path(sounds).glob(f"{lang}/digits")]
    if not folders: raise SystemExit(f"no digits in {sounds}: apt-get install asterisk-core-sounds-{lang}-wav")
    return {k: read_audio(folders[0]/f"{k}.wav") for k in "0123456789"}


def joined_digits(folder, n, seed, lang="en", sounds=SOUNDS):
    "Strings of a real speaker's digits, each a little slower or faster, softer or louder, with the times of words."
    import soxr
    from voxtral_nb.data.dataset import SpeechDataset
    rng, ds, said = random.Random(seed), SpeechDataset.create(folder), recorded(lang, sounds)
    for i in range(n):
        parts, words, at = [], [], 0
        for k in [rng.randrange(10) for _ in range(rng.choice([1, 1, 2, 3, 4]))]:
            x = soxr.resample(said[str(k)], 16000, 16000*rng.uniform(.9, 1.1))*rng.uniform(.3, 1)
            loud = np.flatnonzero(np.abs(x) > .01*np.abs(x).max())
            words.append(dict(word=DIGITS[lang][k], start=(at + loud[0])/16000, end=(at + loud[-1] + 1)/16000))
            parts += [x, np.zeros(int(rng.uniform(0, .3)*16000), np.float32)]
            at += len(parts[-2]) + len(parts[-1])
        x = np.concatenate(parts)
        ds.append(x + .002*np.random.default_rng((seed, i)).standard_normal(len(x)), " ".join(w["word"] for w in words),
                  sampling_rate=16000, language=lang, words=words)
    return [dict(o, audio_path=str(ds.audio_file(o))) for o in ds]


def as_data(rows):
    "Rows as a `datasets.Dataset` without times."
    from voxtral_nb.data.dataset import rows_to_hf
    return rows_to_hf([{k: v for k,v in o.items() if k != "words"} | dict(audio=dict(path=o["audio_path"], bytes=None))
                       for o in rows], ".")


def found(rows, methods, cache):
    "The word times that methods find, one list of `Alignment` or None."
    from voxtral_nb.model.word_times import find_word_times
    f = find_word_times(as_data(rows), methods, cache)
    return [f.found.get(i) or f.doubted.get(i) for i in range(len(rows))]


# -- how exact

def tiny_ctc(folder, steps, seed=0):
    "Train a small CTC model on the base's kind of speech: what `align='ctc:FOLDER'` takes."
    import torch
    from transformers import (SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC,
                              Wav2Vec2CTCTokenizer)
    from voxtral_nb.testing.speech import timed_speech
    if (folder/"model.safetensors").exists(): return str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *sorted({c for w in DIGITS["en"] for c in w})]
    (folder/"vocab.json").write_text(json.dumps({c: i for i,c in enumerate(letters)}))
    Wav2Vec2CTCTokenizer(folder/"vocab.json").save_pretrained(folder)
    extract = SeamlessM4TFeatureExtractor(feature_size=40, num_mel_bins=40, stride=2)
    extract.save_pretrained(folder)
    torch.manual_seed(seed)
    model = Wav2Vec2BertForCTC(Wav2Vec2BertConfig(
        vocab_size=len(letters), hidden_size=96, num_hidden_layers=3, num_attention_heads=4, intermediate_size=192,
        feature_projection_input_dim=80, pad_token_id=0, add_adapter=False, layerdrop=0., apply_spec_augment=False,
        output_hidden_size=96, conv_depthwise_kernel_size=15))
    rng, voices = random.Random(seed), ("en", "en-us", "en-gb-scotland", "en-us+f3", "en+m3", "de", "en-029")
    clips = [timed_speech(" ".join(rng.choices(DIGITS["en"], k=rng.randint(1, 4))), voice=rng.choice(voices),
                          rate=rng.randint(120, 200), pitch=rng.randint(30, 70)) for _ in range(max(40, 3*steps))]
    opt = torch.optim.AdamW(model.parameters(), 2e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 2e-3, total_steps=steps)
    for step in range(steps):
        some = rng.sample(clips, 12)
        batch = extract([o["audio"] for o in some], sampling_rate=16000, return_tensors="pt", padding=True)
        ids = [[letters.index("|" if c == " " else c) for c in o["text"]] for o in some]
        labels = torch.tensor([o + [-100]*(max(map(len, ids)) - len(o)) for o in ids])
        loss = model(**batch, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        opt.step()
        plan.step()
        opt.zero_grad()
        if not (step + 1)%100: print(f"CTC step {step + 1}: loss {loss.item():.3f}", flush=True)
    model.save_pretrained(folder)
    return str(folder)


def errors(result, a, cache, save):
    "Mean absolute errors."
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.model.word_times import align_methods
    model, processor = load_voxtral("tiny-realtime", device="cpu", verbose=False)
    speech = {"base voices": sample("base", a.limit), "accent": sample("accent_train", a.limit)}
    speech["a real speaker's digits"] = joined_digits(Path(cache)/"real", a.limit or 100, 2, sounds=a.sounds)
    ways = dict(energy="energy", self="self", ctc=f"ctc:{tiny_ctc(a.ctc, a.ctc_steps)}")
    for way,align in ways.items():
        for name,rows in speech.items():
            made = found(rows, align_methods(align, model, processor, device="cpu"), cache)
            off = [1000*abs(x["end"] - y["end"]) for f,o in zip(made, rows) if f
                   for x,y in zip(f.words, o["words"], strict=True)]
            trusted = statistics.mean(bool(f and not f.doubt) for f in made)
            result["errors"].setdefault(name, {})[way] = dict(
                mean=round(statistics.mean(off), 1), p90=round(float(np.quantile(off, .9)), 1), words=len(off),
                trusted=round(trusted, 3))
            save()
    print(show_errors(result), flush=True)


def show_errors(result):
    ways = [k for k in ("energy", "self", "ctc") if any(k in o for o in result["errors"].values())]
    return table(["speech", "words", *(f"{k}, ms" for k in ways)], [[n, o["energy"]["words"],
                 *(f"{o[k]['mean']:.0f} (90%: {o[k]['p90']:.0f})" if k in o else "-" for k in ways)]
                 for n,o in result["errors"].items()])


# -- what is learned

def with_ends(rows, kind, seed, methods, cache):
    "The rows, with ends of one kind."
    rng, out = np.random.default_rng(seed), []
    made = found(rows, methods, cache) if methods else [None]*len(rows)
    for o,f in zip(rows, made):
        ends = np.array([w["end"] for w in o["words"]])
        if f: ends = np.array([w["end"] for w in f.words])
        elif methods: continue
        if kind in NOISE:
            off = NOISE[kind]*rng.standard_normal(len(ends))
            ends = np.sort(np.clip(ends + (np.abs(off) if kind == "later" else off), .01, o["duration"]))
        if kind == "prompt": ends = np.full(len(ends), .01)
        out.append(dict(o, words=[dict(word=w["word"], end=float(min(e, o["duration"])))
                                  for w,e in zip(o["words"], ends)]))
    return out


def trained(train_rows, eval_rows, a, seed, cache, before=False, into=None, **more):
    "WER before and after a training; `into` keeps the model."
    from voxtral_nb.core.assets import with_tiny_defaults
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.training.trainer import train
    with tempfile.TemporaryDirectory() as tmp:
        for name,rows in (("train", train_rows), ("eval", eval_rows)):
            (Path(tmp)/f"{name}.jsonl").write_text("".join(json.dumps(o) + "\n" for o in rows))
        cfg = RunConfig(model_id="tiny-realtime", train_data=f"{tmp}/train.jsonl", eval_data=f"{tmp}/eval.jsonl",
                        max_steps=a.steps, eval_every=a.steps, eval_before=before, batch_size=12, seed=seed,
                        delay_ms=480, device="cpu", tracking="none", num_workers=0, cache_dir=cache, save_total_limit=1,
                        output_dir=f"{tmp}/run", **more)
        r = train(with_tiny_defaults(cfg, verbose=False), verbose=False)
        record = json.loads((Path(r.run_dir)/"training_config.json").read_text())
        if into: shutil.copytree(Path(r.run_dir)/"final-model", into)
    return r.rates_before["wer"] if before else None, r.rates_after["wer"], record["data"]["train"].get("word_times")


def trained_twice(rows, held, methods, a, seed, cache):
    "WER after training on the word ends found by a model that `methods` have trained."
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.model.word_times import align_methods
    with tempfile.TemporaryDirectory() as tmp:
        trained(with_ends(rows, "self", seed, methods, cache), held, a, seed, cache, into=f"{tmp}/first")
        model, processor = load_voxtral(f"{tmp}/first", device="cpu", verbose=False)
        again = align_methods("self", model, processor, device="cpu", delay_ms=480)
        return trained(with_ends(rows, "self", seed, again, cache), held, a, seed, cache)[1]


def training(result, a, cache, save):
    "WER of each kind of ends."
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.model.word_times import align_methods
    model, processor = load_voxtral("tiny-realtime", device="cpu", verbose=False)
    rows, held = sample("accent_train", a.limit), sample("accent_eval", a.limit)
    for seed in a.seeds:
        for kind in a.kinds:
            mine = result["training"].setdefault(kind, {})
            if str(seed) in mine: continue
            way = f"ctc:{tiny_ctc(a.ctc, a.ctc_steps)}" if kind == "ctc" else kind.removesuffix("_twice")
            methods = align_methods(way, model, processor, device="cpu") if way not in PLANTED else None
            if kind == "self_twice": mine[str(seed)] = trained_twice(rows, held, methods, a, seed, cache)
            else: mine[str(seed)] = trained(with_ends(rows, kind, seed, methods, cache), held, a, seed, cache)[1]
            print(f"seed {seed}, {kind}: {mine[str(seed)]:.1%}", flush=True)
            save()


def digits(result, a, cache, save):
    "A real speaker, without word times."
    for lang in a.languages:
        rows, held = (joined_digits(Path(cache)/f"{lang}{k}", n, k, lang, a.sounds)
                      for k,n in ((0, a.limit or 200), (1, a.limit or 40)))
        bare = [{k: v for k,v in o.items() if k != "words"} for o in rows]
        for seed in a.seeds:
            for name,some,more in (("self", bare, dict(align="self")), ("exact", rows, {})):
                mine = result["digits"].setdefault(f"{lang}, {name}", {})
                if str(seed) in mine: continue
                before, after, times = trained(some, held, a, seed, cache, before=True, **more)
                mine[str(seed)] = dict(before=before, after=after, falls=round(1 - after/before, 3), word_times=times)
                print(f"real digits, {lang}, seed {seed}, {name}: {before:.1%} before, {after:.1%} after", flush=True)
                save()


def show(result):
    out = [show_errors(result)] if result["errors"] else []
    if t := result["training"]:
        mean = {k: statistics.mean(v.values()) for k,v in t.items()}
        out.append(table(["ends", "WER, mean", "each seed", "of exact ends'"],
                         [[k, f"{m:.1%}", ", ".join(f"{o:.1%}" for o in t[k].values()),
                           f"{m/mean['exact']:.2f}x" if mean.get("exact") else "-"] for k,m in mean.items()]))
    if d := result["digits"]:
        out.append(table(["real digits, ends", "seed", "WER before", "after", "falls by"],
                         [[k, s, f"{o['before']:.1%}", f"{o['after']:.1%}", f"{o['falls']:.0%}"]
                          for k,v in d.items() for s,o in v.items()]))
    return "\n\n".join(out)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("errors", "training", "digits")
    p.add_argument("--parts", nargs="+", default=[*parts], choices=parts)
    p.add_argument("--kinds", nargs="+", default=[*KINDS], choices=KINDS)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--ctc-steps", type=int, default=400)
    p.add_argument("--ctc", type=Path, help="folder of the CTC model, trained if missing; "
                   "default: in the cache of voxtral_nb")
    p.add_argument("--languages", nargs="+", default=["en"], choices=[*DIGITS])
    p.add_argument("--sounds", default=SOUNDS, help="where Debian's telephone prompts are")
    p.add_argument("--limit", type=int, help="clips of each kind, at most")
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--smoke", action="store_true", help="the least that shows that the code works")
    a = p.parse_args()
    if a.smoke: a.seeds, a.steps, a.ctc_steps, a.limit, a.kinds = [0], 1, 1, 4, ["self", "prompt"]
    if a.ctc is None: # made once
        from voxtral_nb.model.cache import cache_folder
        a.ctc = cache_folder().parent/"benchmarks"/f"ctc-{a.ctc_steps}"
    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out/"align.json"
    result = json.loads(file.read_text()) if file.exists() else dict(errors={}, training={}, digits={})
    result["setting"] = setting(steps=a.steps, ctc_steps=a.ctc_steps, smoke=a.smoke)
    def save(): write(file.name, result, a.out)
    with tempfile.TemporaryDirectory() as cache:
        for part in a.parts: globals()[part](result, a, cache, save)
    save()
    print(show(result))


if __name__ == "__main__": main()
