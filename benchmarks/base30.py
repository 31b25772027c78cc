"""A tiny Voxtral whose windows last 30 s, as the real one's do: the model that `quality.py` fine-tunes.

    python benchmarks/base30.py [--folder benchmarks/out/base30] [--minutes 60] [--smoke]

The tiny Voxtral that ships has windows of 8 s. Its weights are put into a model of the same sizes with 1,500 encoder
positions (Whisper's sinusoids) and 375 audio tokens a window, and its language model is adapted on digits that
espeak-ng says in the voices that the tiny model was made from (not the accent of the benchmark). It is given whole 30 s
windows only, with one clip or several, as Voxtral itself was trained: never a window cut short, which would favour our
method. Needs espeak-ng and some ten minutes."""
import argparse, json, random, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, torch
from measure import DIGITS

from voxtral_nb.model.collator import AudioWindows, TranscriptionPrompt
from voxtral_nb.measure.evaluation import evaluate
from voxtral_nb.model.models import load_voxtral
from voxtral_nb.data.sources import load_speech
from voxtral_nb.testing.speech import espeak
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.model.tiny import make_processor, make_tiny_model, write_tekken

BASE30 = Path(__file__).parent/"out"/"base30"
ACCENTS = ["en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]
VARIANTS = ["", "+m1", "+m3", "+m7", "+f1", "+f2", "+f3", "+f5", "+klatt2", "+Andy", "+linda", "+max"]


def say_digits(
    n:int, # clips
    seed:int, # of text, voice, rate and pitch
) -> tuple[list[np.ndarray],list[str]]: # samples at 16 kHz, transcripts
    "Strings of one to five digits in the voices of make_tiny.ipynb."
    rng = random.Random(seed)
    text = lambda: " ".join(rng.choice(DIGITS["en"]) for _ in range(rng.choice([1, 1, 2, 2, 3, 3, 4, 5])))
    specs = [dict(text=text(), voice=rng.choice(ACCENTS)+rng.choice(VARIANTS), rate=rng.randint(110, 230),
                  pitch=rng.randint(20, 80), gap=rng.choice([0, 0, 0, 2, 5])) for _ in range(n)]
    def say(spec):
        x = espeak(**spec)
        loud = np.flatnonzero(np.abs(x) > 1e-3)
        x = x[max(0, loud[0]-800):loud[-1]+800]
        return (.7*x/np.abs(x).max()).astype(np.float32)
    with ThreadPoolExecutor(2) as ex: return list(ex.map(say, specs)), [o["text"] for o in specs]


def with_longer_windows(
    folder:Path, # where the tokenizer is written
    seconds:int=30, # of a window
): # model in float32, processor
    "The tiny Voxtral's weights in a model with longer windows."
    write_tekken(folder, window_seconds=seconds)
    model, (small, _) = make_tiny_model(window_seconds=seconds), load_voxtral("tiny", device="cpu", verbose=False)
    # the positions stay: they are sinusoids
    model.load_state_dict({k: v for k,v in small.state_dict().items() if "embed_positions" not in k}, strict=False)
    return model, make_processor(folder)


def make_window(
    rng, # numpy's
    clips:list[np.ndarray], texts:list[str], # to draw from
    samples:int, # of a window
    single:float, # share of windows with one clip
    most:int, # clips in one of the others
) -> tuple[np.ndarray,str]:
    "One window's audio and text."
    k = 1 if rng.random() < single else int(rng.integers(2, most+1))
    parts, said, n = [], [], 0
    for _ in range(k):
        i, gap = int(rng.integers(len(clips))), int(rng.uniform(0, .5)*16000)*(k > 1)
        if n+gap+len(clips[i]) > samples: break
        parts += [np.zeros(gap, np.float32), clips[i]]
        said.append(texts[i])
        n += gap+len(clips[i])
    return np.concatenate(parts), " ".join(said)


@torch.no_grad()
def encoded_windows(
    model, prompt, windows, # of `make_window`
    say=print,
): # yields (tokens of the window, width) of the encoder and projector, in float16
    "What the language model is given of whole windows: all of their audio tokens."
    for i in range(0, len(windows), 8):
        if i%400 == 0: say(f"encoding window {i} of {len(windows)}")
        mel = torch.cat([prompt.features(x) for x,_ in windows[i:i+8]])
        yield from model.model.get_audio_features(mel).pooler_output.view(len(mel), prompt.windows.tokens, -1).half()


def make_batch(
    model, prompt,
    rows, # (from `encoded_windows`, transcript)
    shift:int, # added to the positions of what follows the audio; 0: as they are
) -> dict:
    "Whole windows only."
    ids, labels, given = [], [], prompt.ids("en")
    after = len(given) - given[::-1].index(prompt.audio_id) # where the text begins
    for _,text in rows:
        learned = prompt.transcript_ids(text)
        ids.append(given+learned)
        labels.append([-100]*len(given)+learned)
    n = max(map(len, ids))
    pad = lambda seqs, v: torch.tensor([s+[v]*(n-len(s)) for s in seqs])
    x, position = pad(ids, prompt.pad_id), torch.arange(n) + shift*(torch.arange(n) >= after)
    e = model.get_input_embeddings()(x)
    e = e.masked_scatter((x == prompt.audio_id)[...,None], torch.cat([h for h,_ in rows]).to(e.dtype))
    return dict(inputs_embeds=e, attention_mask=pad([[1]*len(s) for s in ids], 0), labels=pad(labels, -100),
                position_ids=position[None].expand(len(rows), -1))


def adapt(
    model, processor, # from `with_longer_windows`
    clips:list[np.ndarray], texts:list[str], # to learn from
    held, # rows of single clips, to measure on
    minutes=60., # at most
    n_windows=1600, single=.6, # to make of the clips, and the share of them with one clip
    move=400, settle=300, # steps: see below
    batch_size=12, lr=5e-4, seed=0,
    every=50, # steps between reports
    say=print,
) -> list[dict]: # what was measured
    """Fine-tune the language model on whole windows.

    The encoder hears as well in long windows as in short ones; the language model has to learn that its text is 275
    tokens further from the speech, and it learns that only step by step: at first the positions of the text are those
    of the short window, then they move out to their place in `move` steps. There it stays for `settle` steps, with a
    falling learning rate."""
    prompt, rng, began = TranscriptionPrompt(processor), np.random.default_rng(seed), time.perf_counter()
    seen, losses = [], []
    windows = [make_window(rng, clips, texts, prompt.windows.samples, single, 8) for _ in range(n_windows)]
    rows = list(zip(encoded_windows(model.eval(), prompt, windows, say), (t for _,t in windows)))
    model.requires_grad_(False)
    model.model.language_model.requires_grad_(True)
    model.lm_head.requires_grad_(True)
    ps = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(ps, lr=lr, betas=(.9, .98), weight_decay=.01)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1, (s+1)/20, max(.01, (move+settle-s)/settle)))
    far = AudioWindows(load_voxtral("tiny", device="cpu", verbose=False)[1]).tokens - prompt.windows.tokens # -275
    for step in range(1, move+settle+1):
        model.train()
        shift = round(far*max(0, 1-step/move))
        drawn = [rows[i] for i in rng.integers(len(rows), size=batch_size)]
        loss = model(**make_batch(model, prompt, drawn, shift)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ps, 1.)
        opt.step()
        sched.step()
        opt.zero_grad()
        losses.append(loss.item())
        late = time.perf_counter()-began > 60*minutes
        if step % every and step < move+settle and not late: continue
        wer = None
        if step >= move or late:
            report = evaluate(model, processor, held, batch_size=8, max_new_tokens=60, verbose=False)
            wer = round(report.rates["wer"], 4)
        loss, took = float(np.mean(losses[-20:])), time.perf_counter()-began
        seen.append(dict(step=step, seconds=round(took, 1), shift=shift, loss=round(loss, 4), wer=wer))
        say(f"step {step}, {took:.0f} s, text {shift} tokens from its place: loss {loss:.3f}"
            + (f", WER of held-out single clips {wer:.1%}" if wer is not None else ""))
        if late and step < move+settle:
            say(f"stopped after {minutes} minutes")
            break
    return seen


def make(
    folder=BASE30, # of the model
    minutes=60., # at most
    n_clips=1500, # to make windows of
    seed=0,
    most=None, # clips to measure on; None: all
    say=print,
    **sizes, # of `adapt`
) -> Path:
    "Make the base once; a folder that holds it is left as it is."
    folder = Path(folder)
    if (folder/"made.json").exists(): return folder
    torch.manual_seed(seed)
    model, processor = with_longer_windows(folder)
    clips, texts = say_digits(n_clips, seed+10)
    rows = {part: list(load_speech(str(sample_speech(part))).dataset)[:most] for part in ("base", "accent_eval")}
    wer = lambda part: round(evaluate(model, processor, rows[part], batch_size=8, max_new_tokens=60,
                                      verbose=False).rates["wer"], 4)
    before = wer("base")
    say(f"weights of the 8 s model in 30 s windows: WER {before:.1%} on single clips")
    seen = adapt(model, processor, clips, texts, rows["base"], minutes, seed=seed, say=say, **sizes)
    made = dict(wer_untrained=before, wer_base=seen[-1]["wer"], wer_accent=wer("accent_eval"), curve=seen,
                n_clips=n_clips, seed=seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder/"made.json").write_text(json.dumps(made, indent=1)+"\n")
    say(f"{folder}: WER {made['wer_base']:.1%} on the voices it knows, {made['wer_accent']:.1%} on the accent")
    return folder


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--folder", default=BASE30)
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--smoke", action="store_true", help="two steps of two windows, to see that it works")
    a = p.parse_args()
    small = dict(n_clips=6, n_windows=4, move=1, settle=1, batch_size=2, most=2) if a.smoke else {}
    make(a.folder, a.minutes, say=lambda s: print(s, flush=True), **small)


if __name__ == "__main__": main()
