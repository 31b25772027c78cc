"""An ear to try approximations on: a trained Whisper encoder inside Voxtral, and a small language model that listens.

    python benchmarks/ear_make.py                       # once, on a machine with a GPU
    python benchmarks/ear.py silence frames company     # what leaving out silence does to states, loss and transcripts
    python benchmarks/ear.py tune parts [--jobs 14]     # fine-tuning with each scheme; which parts LoRA should reach
    python benchmarks/ear.py silence frames company tune parts --smoke

The encoder is Whisper base's (6 layers, real weights, frozen; ear_model.py). Around it are Voxtral's own classes: 80
mel bins, windows of 30 s, 1,500 frames, 375 audio tokens. The language model (18 M with the projector, a tekken cut
to 4,096 words) learned from nothing to transcribe English that espeak-ng, flite and hibari-tts say, in whole windows
only, with one clip or several (ear_make.py). It has never heard a recorded voice: Debian's telephone prompts are what
it is measured and fine-tuned on.

What it can show: what an approximation does to the states of a trained encoder, what a language model that was
trained on exact states makes of the difference, for clips of 1 to 15 s, and how fine-tuning with an approximation
compares to fine-tuning without. What it cannot show: Voxtral's own margins. Voxtral's encoder has 32 layers, and its
language model is 200 times this one's size and guesses words from their context, where this one mostly spells what it
hears. Most clips that this one learned from (86%) shared their window with others, so it hears clips with neighbors
better than alone: its levels for shared windows are no evidence for them. A scheme that fails here should not be a
default; one that passes still has to be verified on the real model."""
import argparse, copy, json, math, subprocess, sys, tempfile, time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np, torch
import torch.nn.functional as F

from ear_make import SR, UNHEARD, Clip, divided, find_text, held_out, prompts, synthesizers, test_clips, where
from ear_model import EAR, load_ear
from voxtral_nb.measure.evaluation import score
from voxtral_nb.model.collator import TranscriptionPrompt
from voxtral_nb.model.family import family_of
from voxtral_nb.model.models import base_voxtral
from voxtral_nb.model.prepare import add_lora


# ---- schemes -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Scheme:
    "What is left of a clip's silence."
    name:str
    tokens:int|None = 1 # the language model gets every n-th silent token; None: no silence
    head:int = 0 # silent tokens after the clip's own .3 s that are kept all
    last:int = 0 # and at the window's end
    frames:int|None = 1 # the encoder gets every n-th silent frame; None: none
    frame_head:int = 0 # as `head`, in frames
    frame_last:int = 0
    growth:float = 0. # above 0: steps of silent tokens grow by this factor from one to the next
    company:bool = False # the encoder hears the clip in a window with others
    bf16:bool = False # the encoder computes in bfloat16: what is taken for noise anyway
    delay:int = 0 # samples of silence before the clip: another measure of noise


def thin(
    first:int, # where silence begins
    end:int, # of the window
    step:int|None, # of what is kept; None: nothing
    head:int=0, last:int=0, # kept all, at both ends of the silence
    growth:float=0., # of the steps
) -> list[tuple[int,int]]: # place, and how many places it stands for
    "What is kept of a window: all of the clip, and of the silence the middle of each group."
    kept = [(i, 1) for i in range(first)]
    if step is None: return kept
    last = min(last, end-first)
    at, size = first, 1. if growth else step
    while at < end-last:
        n = 1 if at < first+head else min(round(size), end-last-at)
        if growth: size *= growth
        kept.append((at+n//2, n))
        at += n
    return kept+[(i, 1) for i in range(end-last, end)]


TAIL = .3 # s of silence after a clip that count as the clip's own


def plan(
    scheme:Scheme,
    prompt:TranscriptionPrompt,
    n_samples:int, # of a clip, at most a window
) -> tuple[list,list]: # kept tokens and frames, as `thin` gives them
    "What of a clip's window is computed, and what is given on."
    w = prompt.windows
    first = w.tokens_of(n_samples, w.tail(TAIL))
    return (thin(first, w.tokens, scheme.tokens, scheme.head, scheme.last, scheme.growth),
            thin(4*first, 4*w.tokens, scheme.frames, scheme.frame_head, scheme.frame_last))


@torch.no_grad()
def thinned_states(
    model, # a Voxtral
    mel:torch.Tensor, # (clips, 80, 3000)
    frames:list, # of each clip, from `plan`
    tokens:list, # of each clip
) -> list[torch.Tensor]: # (kept tokens, 4 x width) of each clip
    """The encoder's output for the kept tokens, from the kept frames alone. A frame has its place's position, and
    counts in the attention as often as it stands for others; a token that misses frames takes the nearest ones."""
    tower = family_of(model).module(base_voxtral(model), "audio_tower")
    x = F.gelu(tower.conv2(F.gelu(tower.conv1(mel)))).permute(0, 2, 1) + tower.embed_positions.weight
    n = max(map(len, frames))
    at, bias = torch.zeros(len(frames), n, dtype=torch.long), torch.full((len(frames), 1, 1, n), -math.inf)
    for i,kept in enumerate(frames):
        at[i, :len(kept)] = torch.tensor([f for f,_ in kept])
        bias[i, 0, 0, :len(kept)] = torch.tensor([math.log(k) for _,k in kept])
    x = x.gather(1, at.to(x.device)[..., None].expand(-1, -1, x.shape[2]))
    whole = n == x.shape[1] == tower.config.max_source_positions
    for layer in tower.layers: x = layer(x, None if whole else bias.to(x).expand(-1, -1, n, -1))
    x, out = tower.layer_norm(x), []
    for row,kept,given in zip(x, frames, tokens):
        here = np.array([f for f,_ in kept])
        slots = 4*np.array([t for t,_ in given])[:, None] + np.arange(4)
        right = np.searchsorted(here, slots.ravel()).clip(0, len(here)-1)
        left = (right-1).clip(0)
        near = np.where(np.abs(here[left]-slots.ravel()) <= np.abs(here[right]-slots.ravel()), left, right)
        out.append(row[torch.from_numpy(near).to(row.device)].reshape(len(given), -1))
    return out


@torch.no_grad()
def company_states(
    model, prompt, clips:list[Clip], tokens:list, # as `thinned_states`
    whole:list[torch.Tensor], # states of all tokens of the clips' own windows
) -> list[torch.Tensor]:
    "As many clips as a window holds, .3 s apart, at tokens' borders; more silence is that of the clip's own window."
    w, device, out, i = prompt.windows, next(model.parameters()).device, [], 0
    firsts = [w.tokens_of(len(c.audio), w.tail(TAIL)) for c in clips]
    while i < len(clips):
        k = i+1
        while k < len(clips) and sum(firsts[i:k+1]) <= w.tokens: k += 1
        x, at = np.zeros(w.samples, np.float32), np.cumsum([0, *firsts[i:k]])
        for c,a in zip(clips[i:k], at): x[a*w.token_samples:a*w.token_samples+len(c.audio)] = c.audio[:w.samples]
        states = family_of(model).encode(base_voxtral(model).model, dict(input_features=prompt.features(x).to(device)))
        for j in range(i, k):
            mixed = torch.cat([states[at[j-i]:at[j-i+1]], whole[j][firsts[j]:]])
            out.append(mixed[[t for t,_ in tokens[j]]])
        i = k
    return out


def features(
    prompt:TranscriptionPrompt, clips:list[Clip],
) -> torch.Tensor: # (clips, 80, 3000)
    "The mels of the clips' windows, each computed once."
    for c in clips:
        if c.mel is None: c.mel = prompt.mel(c.audio)
    return torch.cat([prompt.whole_windows(c.mel) for c in clips])


# ---- measuring -----------------------------------------------------------------------------------------------------
def layout(
    prompt:TranscriptionPrompt,
    tokens:list, # kept tokens of a clip
    text:list[int]=(), # tokens to learn
) -> tuple[list,list,list]: # ids, positions, log of how many tokens each stands for
    "A row for the language model; everything is in the place that it has when no silence is left out."
    head, tail = prompt.around("en")
    at, end = len(head), len(head)+prompt.windows.tokens
    ids = head + [prompt.audio_id]*len(tokens) + tail + list(text)
    positions = [*range(at), *(at+t for t,_ in tokens), *range(end, end+len(tail)+len(text))]
    return ids, positions, [0.]*at + [math.log(k) for _,k in tokens] + [0.]*(len(tail)+len(text))


def embedded(
    model, prompt,
    rows:list, # of `layout`
    states:list[torch.Tensor], # the encoder's output, of each row
    left:bool, # pad in front, to generate
) -> dict: # arguments of the language model, and the bias of each key
    "A batch."
    device, n = next(model.parameters()).device, max(len(o[0]) for o in rows)
    def pad(k, value, kind):
        x = torch.full((len(rows), n), value, dtype=kind)
        for i,o in enumerate(rows):
            x[i, slice(n-len(o[k]), n) if left else slice(len(o[k]))] = torch.tensor(o[k], dtype=kind)
        return x.to(device)
    ids, positions, bias = pad(0, prompt.pad_id, torch.long), pad(1, 0, torch.long), pad(2, -math.inf, torch.float)
    base = base_voxtral(model)
    e = base.get_input_embeddings()(ids)
    audio = base.model.multi_modal_projector(torch.cat(states).to(device))
    e = e.masked_scatter((ids == prompt.audio_id)[..., None], audio.to(e.dtype))
    causal = torch.ones(n, n, dtype=torch.bool, device=device).tril()
    mask = bias[:, None, None].expand(-1, 1, n, n).masked_fill(~causal, -math.inf)
    alone = torch.eye(n, dtype=torch.bool, device=device) & bias.isinf()[:, None, None] # padding attends to itself
    mask = mask.masked_fill(alone, 0.)
    return dict(inputs_embeds=e, position_ids=positions, attention_mask=mask.to(e.dtype)), bias


def lm_losses(
    model, prompt, tokens:list, states:list, texts:list[str], # one a clip
) -> list[torch.Tensor]: # nats of each token of the transcript, the end's last
    "The loss of a batch, token by token; with a graph, if gradients are on."
    learned = [prompt.transcript_ids(t) for t in texts]
    rows = [layout(prompt, t, l) for t,l in zip(tokens, learned)]
    batch, _ = embedded(model, prompt, rows, states, left=False)
    base = base_voxtral(model)
    h, at = base.model.language_model(**batch, use_cache=False).last_hidden_state, []
    for i,(row,l) in enumerate(zip(rows, learned)): at += [(i, len(row[0])-len(l)-1+j) for j in range(len(l))]
    at = torch.tensor(at, device=h.device)
    target = torch.tensor([o for l in learned for o in l], device=h.device)
    loss = F.cross_entropy(base.lm_head(h[at[:, 0], at[:, 1]]).float(), target, reduction="none")
    return loss.split([len(l) for l in learned])


@torch.no_grad()
def greedy(
    model, prompt, tokens:list, states:list, # one a clip
    limit:int=100, # tokens
) -> list[str]:
    "Greedy transcripts, with the silence that was left out counted in the attention."
    from transformers import DynamicCache
    base = base_voxtral(model)
    batch, bias = embedded(model, prompt, [layout(prompt, t) for t in tokens], states, left=True)
    cache, out, ended = DynamicCache(), [], torch.zeros(len(tokens), dtype=torch.bool, device=bias.device)
    position = batch["position_ids"][:, -1:]
    for _ in range(limit):
        h = base.model.language_model(**batch, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
        new = base.lm_head(h).argmax(-1).masked_fill(ended, prompt.eos_id)
        ended |= new == prompt.eos_id
        out.append(new)
        if ended.all(): break
        position = position+1
        bias = torch.cat([bias, torch.zeros_like(bias[:, :1])], 1)
        batch = dict(inputs_embeds=base.get_input_embeddings()(new[:, None]), position_ids=position,
                     attention_mask=bias[:, None, None].to(h.dtype))
    rows = torch.stack(out, 1).tolist() if out else []
    return [prompt.decode(r[:r.index(prompt.eos_id)] if prompt.eos_id in r else r).strip() for r in rows]


def wer(texts, hyps): return score(texts, hyps).rates["wer"]


def states_of(
    model, prompt,
    clips:list[Clip],
    scheme:Scheme,
    whole:list|None=None, # states of whole windows; None: not known
    batch_size:int=32,
) -> tuple[list,list]: # tokens and states of each clip
    "What the language model is given with `scheme`."
    device = next(model.parameters()).device
    if scheme.delay: clips = [Clip(audio=np.pad(c.audio, (scheme.delay, 0)), text=c.text, kind=c.kind) for c in clips]
    tokens, frames = zip(*(plan(scheme, prompt, len(c.audio)) for c in clips))
    if scheme.company: return tokens, company_states(model, prompt, clips, tokens, whole)
    if whole and scheme.frames == 1 and not scheme.bf16 and not scheme.delay:
        return tokens, [s[[t for t,_ in k]] for s,k in zip(whole, tokens)]
    order, out = sorted(range(len(clips)), key=lambda i: len(frames[i])), [None]*len(clips)
    for k in range(0, len(order), batch_size):
        part = order[k:k+batch_size]
        mel = features(prompt, [clips[i] for i in part]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=scheme.bf16):
            states = thinned_states(model, mel, [frames[i] for i in part], [tokens[i] for i in part])
        for i,s in zip(part, states): out[i] = s.float()
    return tokens, out


@torch.no_grad()
def judge(
    model, prompt, clips:list[Clip], tokens, states, # of `states_of`
) -> list[dict]: # one a clip
    "Loss of the transcript and of its end, and the greedy transcript."
    batch_size = 400 if next(model.parameters()).is_cuda else 16
    order, out = sorted(range(len(clips)), key=lambda i: len(tokens[i])), [None]*len(clips)
    for k in range(0, len(order), batch_size):
        part = order[k:k+batch_size]
        t, s, text = ([o[i] for i in part] for o in (tokens, states, [c.text for c in clips]))
        for i,loss,hyp in zip(part, lm_losses(model, prompt, t, s, text), greedy(model, prompt, t, s)):
            *nll, end = loss.tolist()
            out[i] = dict(nll=sum(nll), n=len(nll), end=end, hyp=hyp, tokens=len(tokens[i]))
    return out


def groups_of(clips:list[Clip]) -> dict: # name -> numbers of the clips
    "All clips, those of each kind, and those of about the same length."
    out = {"all": [*range(len(clips))]}
    for i,c in enumerate(clips): out.setdefault(c.kind, []).append(i)
    for a,b in ((0, 2), (2, 4), (4, 8), (8, 15)):
        out[f"{a}-{b} s"] = [i for i,c in enumerate(clips) if a <= len(c.audio)/SR < b or len(c.audio) == b*SR == 15*SR]
    return {k: v for k,v in out.items() if v}


def summary(
    scheme:Scheme, group:str, # of clips
    got:list[dict], first:list[dict], # from `judge`: with the scheme, and in whole windows
    texts:list[str],
) -> dict:
    "One row of a table."
    mean = lambda k: sum(o[k] for o in got)/len(got)
    per_token = lambda o: o["nll"]/o["n"]
    return dict(scheme=scheme.name, group=group, n=len(got), tokens=round(mean("tokens")), frames=round(mean("frames")),
                error=None if scheme.delay else round(mean("error"), 4),
                nll=round(sum(o["nll"] for o in got)/sum(o["n"] for o in got), 4), end=round(mean("end"), 4),
                worst=round(max(per_token(o)-per_token(f) for o,f in zip(got, first)), 3),
                wer=round(wer(texts, [o["hyp"] for o in got]), 4),
                same=round(sum(o["hyp"] == f["hyp"] for o,f in zip(got, first))/len(got), 3))


def table(
    model, processor,
    clips:list[Clip],
    schemes:list[Scheme], # the first is whole windows
    say=print,
) -> list[dict]: # a scheme and a group of clips each
    "Every scheme on the same clips, against whole windows."
    prompt, rows, whole, first = TranscriptionPrompt(processor), [], None, None
    for scheme in schemes:
        began = time.perf_counter()
        tokens, states = states_of(model, prompt, clips, scheme, whole)
        whole, got = whole or states, judge(model, prompt, clips, tokens, states)
        first = first or got
        for g,c,s,exact in zip(got, clips, states, whole):
            n = prompt.windows.tokens_of(len(c.audio))
            g["error"] = ((s[:n]-exact[:n]).norm()/exact[:n].norm()).item()
            g["frames"] = len(plan(scheme, prompt, len(c.audio))[1])
        new = [summary(scheme, k, [got[i] for i in ids], [first[i] for i in ids], [clips[i].text for i in ids])
               for k,ids in groups_of(clips).items()]
        say(f"{time.perf_counter()-began:5.1f} s {new[0]}")
        rows += new
    return rows


WHOLE = Scheme("whole windows")
SILENCE = [WHOLE, Scheme("whole windows, bf16", bf16=True), Scheme("whole windows, clip 40 ms later", delay=640),
           *(Scheme(f"1 of {k} tokens", tokens=k) for k in (2, 4, 8, 12, 16, 32)),
           Scheme("12 tokens, then 1 of 8", tokens=8, head=12), Scheme("12 tokens, then 1 of 16", tokens=16, head=12),
           Scheme("1 of 16 tokens, last 12", tokens=16, last=12), Scheme("steps grow by 1.3", growth=1.3),
           Scheme("no silent tokens", tokens=None)]
FRAMES = [WHOLE, *(Scheme(f"1 of {k} frames", frames=k) for k in (2, 4, 8, 16, 32)),
          Scheme("1 of 8 frames, first 100, last 50", frames=8, frame_head=100, frame_last=50),
          Scheme("1 of 8 frames, first 50", frames=8, frame_head=50),
          Scheme("1 of 16 frames, first 100, last 50", frames=16, frame_head=100, frame_last=50),
          Scheme("1 of 4 frames, first 50, last 50", frames=4, frame_head=50, frame_last=50),
          Scheme("no silent frames", frames=None),
          *(Scheme(f"1 of {t} tokens, 1 of {f} frames", tokens=t, frames=f) for t in (4, 8, 16) for f in (4, 8)),
          Scheme("1 of 8 tokens, 1 of 8 frames, first 100, last 50", tokens=8, frames=8, frame_head=100, frame_last=50)]
COMPANY = [WHOLE, Scheme("in a window with others", company=True),
           Scheme("in a window with others, 1 of 8 tokens", company=True, tokens=8),
           Scheme("alone, no silent frames", frames=None), Scheme("alone, 1 of 4 frames", frames=4)]


# ---- fine-tuning ---------------------------------------------------------------------------------------------------
def fine_tune(
    model, processor, # the ear; a copy of it is trained
    train:list[Clip], test:list[Clip],
    scheme:Scheme, # in training; testing is in whole windows
    seed:int,
    parts=("language_model",), # where LoRA is put
    r:int=16, lr:float=5e-4, epochs:float=5, batch_size:int=8, dropout:float=.05,
) -> dict: # WER and seconds
    "LoRA on the ear, with a constant count of steps whatever the scheme; warm-up over a tenth, then down to 0."
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high") # TF32 on a GPU
    prompt, device = TranscriptionPrompt(processor), next(model.parameters()).device
    tuned = add_lora(copy.deepcopy(model), r=r, alpha=2*r, dropout=dropout, parts=parts)
    base, hears = base_voxtral(tuned), "audio_tower" in parts
    began = time.perf_counter()
    whole = states_of(model, prompt, train, WHOLE)[1] if scheme.company else None
    tokens, states = states_of(model, prompt, train, scheme, whole)
    params, rng = [p for p in tuned.parameters() if p.requires_grad], np.random.default_rng(seed)
    opt = torch.optim.AdamW(params, lr=lr, weight_decay=0., fused=device.type == "cuda")
    per_epoch = len(train)//batch_size
    total = max(1, round(epochs*per_epoch))
    tuned.train()
    for step in range(total):
        if step%per_epoch == 0: order = rng.permutation(len(train))
        ids = order[step%per_epoch*batch_size:][:batch_size]
        for g in opt.param_groups: g["lr"] = lr*min((step+1)/(.1*total+1), (total-step)/(.9*total))
        given = [states[i] for i in ids]
        if hears:
            mel = features(prompt, [train[i] for i in ids]).to(device)
            x = family_of(model).encode(base.model, dict(input_features=mel))
            x = x.view(len(ids), prompt.windows.tokens, -1)
            given = [o[[t for t,_ in tokens[i]]] for o,i in zip(x, ids)]
        texts = [train[i].text for i in ids]
        loss = torch.cat(lm_losses(tuned, prompt, [tokens[i] for i in ids], given, texts)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.)
        opt.step()
        opt.zero_grad()
    took = time.perf_counter()-began
    tuned.eval()
    got = judge(tuned, prompt, test, *states_of(tuned, prompt, test, WHOLE))
    nll = sum(o["nll"] for o in got)/sum(o["n"] for o in got)
    return dict(scheme=scheme.name, seed=seed, parts="+".join(parts), r=r, lr=lr, steps=total, clips=len(train),
                tested=len(test), last_loss=round(loss.item(), 4), nll=round(nll, 4),
                end=round(sum(o["end"] for o in got)/len(got), 4),
                wer=round(wer([c.text for c in test], [o["hyp"] for o in got]), 4), seconds=round(took, 1))


TUNED = [WHOLE, Scheme("1 of 8 tokens", tokens=8), Scheme("1 of 8 tokens, 1 of 4 frames", tokens=8, frames=4),
         Scheme("1 of 8 tokens, 1 of 8 frames", tokens=8, frames=8),
         Scheme("1 of 16 tokens, 1 of 8 frames", tokens=16, frames=8), Scheme("1 of 32 tokens", tokens=32),
         Scheme("in a window with others, 1 of 8 tokens", company=True, tokens=8)]
LM, PROJECTOR, TOWER = (("language_model", "projector", "audio_tower")[:k] for k in (1, 2, 3))
PARTS = [dict(parts=LM), dict(parts=PROJECTOR), dict(parts=TOWER), dict(parts=TOWER[1:]), dict(parts=TOWER[2:]),
         *(dict(parts=LM, r=r) for r in (4, 64)), *(dict(parts=LM, lr=lr) for lr in (2e-4, 1e-3, 2e-3)),
         *(dict(parts=TOWER, lr=lr) for lr in (1e-4, 2e-4, 1e-3)), dict(parts=TOWER, r=64),
         dict(parts=PROJECTOR, lr=1e-3)]


def tune_sets(
    held:list[str], # sentences that were not trained on
    few:int|None=None, # clips of each set; None: all
) -> dict: # name -> (clips to train on, clips to test on)
    "What the ear gets wrong: recorded prompts, and a Scottish voice of flite's that it was not trained on."
    if few: return {"espeak": [held_out(held, dict(tts="espeak"), few, "espeak", seed) for seed in (1, 2)]}
    sets = {"prompts": (prompts("train"), prompts("held"))}
    if "flite" in synthesizers():
        awb = UNHEARD["flite awb"]
        sets["flite awb"] = [held_out(held, awb, n, "flite awb", seed) for n,seed in ((320, 1), (160, 2))]
    return sets


def tune_runs(
    name:str, # "tune" or "parts"
    sets:list[str], # names of `tune_sets`
    seeds:int,
) -> list[tuple]: # set, arguments of `fine_tune`
    "All runs of a table, seed by seed."
    how = [dict(scheme=o) for o in TUNED] if name == "tune" else [dict(scheme=TUNED[1], **o) for o in PARTS]
    if name == "parts": sets = sets[:1]
    return [(s, dict(o, seed=seed)) for seed in range(seeds) for o in how for s in sets]


# ---- command -------------------------------------------------------------------------------------------------------
def show(rows, columns):
    "Rows as a table."
    print("| " + " | ".join(columns) + " |\n|" + "|".join(["---"]*len(columns)) + "|")
    for o in rows: print("| " + " | ".join(f"{o.get(c, '')}" for c in columns) + " |")


def share_out(a, name, seconds=3600):
    "The runs of a table by `a.jobs` processes; rows of all."
    with tempfile.TemporaryDirectory() as tmp:
        given = {k: v for k in ("folder", "device", "text", "seeds") if (v := getattr(a, k)) is not None}
        same = [sys.executable, __file__, name, *(str(x) for k,v in given.items() for x in (f"--{k}", v))]
        jobs = [subprocess.Popen([*same, "--job", f"{i}/{a.jobs}", "--out", f"{tmp}/{i}"]) for i in range(a.jobs)]
        if any(o.wait(seconds) for o in jobs): raise SystemExit(f"{name}: a process failed")
        return [o for f in sorted(Path(tmp).glob("*/*.json")) for o in json.loads(f.read_text())["rows"]]


def tables(a, say=partial(print, flush=True)):
    "The tables of `a.what`, into `a.out`."
    device, out, (held, _) = torch.device(a.device), Path(a.out), divided(find_text(a.text, a.smoke))
    model, processor, _ = load_ear(Path(a.folder), a.smoke)
    model.to(device)
    out.mkdir(parents=True, exist_ok=True)
    def keep(name, rows, **more):
        head = dict(date=time.strftime("%Y-%m-%d"), device=where(device), torch=torch.__version__, **more)
        lines = ",\n  ".join(map(json.dumps, rows)) # a row a line
        (out/f"ear-{name}.json").write_text(f'{json.dumps(head)[:-1]}, "rows": [\n  {lines}]}}\n')
    looked = [o for o in ("silence", "frames", "company") if o in a.what]
    clips = test_clips(held, a.n or (1 if a.smoke else 40), unheard=not a.smoke) if looked else []
    for name in looked:
        schemes = dict(silence=SILENCE, frames=FRAMES, company=COMPANY)[name]
        rows = table(model, processor, clips, schemes[:3] if a.smoke else schemes, say)
        keep(name, rows, clips=len(clips), seconds=round(sum(len(c.audio) for c in clips)/SR))
        show([o for o in rows if o["group"] == "all"], [k for k in rows[0] if k != "group"])
    for name in (o for o in ("tune", "parts") if o in a.what):
        if a.jobs: rows = share_out(a, name)
        else:
            sets, rows = tune_sets(held, 4 if a.smoke else None), []
            share, of = map(int, (a.job or "0/1").split("/"))
            runs = tune_runs(name, [*sets], a.seeds)[:2 if a.smoke else None]
            for s,how in runs[share::of]:
                more = dict(batch_size=2, epochs=1) if a.smoke else {}
                rows.append(dict(set=s, **fine_tune(model, processor, *sets[s], **how, **more)))
                keep(name, rows)
                say(rows[-1])
        keep(name, rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("what", nargs="+", choices=["silence", "frames", "company", "tune", "parts"])
    p.add_argument("--folder", default=EAR, help="of the ear")
    p.add_argument("--out", default=Path(__file__).parent/"results", help="folder of the tables")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--text", help="sentences, one per line, gzip; from Debian's packages without it")
    p.add_argument("--n", type=int, help="clips of each kind")
    p.add_argument("--seeds", type=int, default=3, help="of fine-tuning")
    p.add_argument("--jobs", type=int, help="processes that share the runs of fine-tuning")
    p.add_argument("--job", help="2/6: only the third of six shares of the runs")
    p.add_argument("--smoke", action="store_true", help="random weights and a few clips, to see that it works")
    tables(p.parse_args())


if __name__ == "__main__": main()
