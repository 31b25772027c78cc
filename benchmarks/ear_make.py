"""Make the ear of `ear.py`: English text, speech of three synthesizers, and the training of the language model.

    python benchmarks/ear_make.py [--minutes 10] [--resume FOLDER]

Needs a GPU, and some 16 cores beside it that speak while it trains: Debian's packages espeak-ng, flite, fortunes,
fortune-anarchism, dict-gcide and asterisk-core-sounds-en-wav, and hibari-tts (with onnxruntime) from PyPI.
The recorded prompts are only measured on, never trained on."""
import argparse, gzip, hashlib, importlib.util, os, random, re, shutil, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np, torch
import torch.nn.functional as F

from ear_model import CONTROL, EAR, SIZES, SMALL, build, load_ear, save_ear, whisper_tower
from voxtral_nb.data.audio import SAMPLE_RATE as SR, read_audio, resample
from voxtral_nb.measure.evaluation import evaluate
from voxtral_nb.model.collator import TranscriptionPrompt
from voxtral_nb.model.family import family_of
from voxtral_nb.testing.speech import TestingError, asterisk_prompts, espeak


# ---- text ----------------------------------------------------------------------------------------------------------
def clean(
    text:str, # any
) -> str|None: # lower case, words and apostrophes only; None: has what would be read in more than one way
    "The form of all transcripts here."
    text = text.strip().lower().replace("’", "'").replace("-", " ")
    text = re.sub(r"[.,;:!?\"()]+", " ", text)
    words = [w.strip("'") for w in text.split()]
    if not words or any(not re.fullmatch(r"[a-z]+(?:'[a-z]+)?", w) for w in words): return None
    return " ".join(words)


def sentences(
    roots:list[Path], # folders of fortunes, the file of a dictd dictionary (gzip), plain texts
) -> list[str]: # clean, each once, in random order
    "English sentences of Debian's packages fortunes, fortune-anarchism and dict-gcide."
    found = set()
    for root in roots:
        files = [o for o in root.iterdir() if not o.suffix] if root.is_dir() else [root]
        for file in files:
            raw = gzip.open(file).read() if file.suffix in (".dz", ".gz") else file.read_bytes()
            text = re.sub(r"\[[^\]]*\]|--[A-Z][\w. ]*|[{}]", " ", raw.decode("utf-8", "replace"))
            for block in re.split(r"\n\s*\n|\n%\n", text):
                for s in re.split(r"(?<=[.!?])\s+", " ".join(block.split())):
                    if not re.fullmatch(r"[\"']?[A-Z][A-Za-z ,;:'’\-]+[.!?]", s): continue
                    c = clean(s)
                    if c and 2 <= len(c.split()) <= 45 and not re.search(r"\b[b-hj-z]\b", c): found.add(c)
    out = sorted(found)
    random.Random(0).shuffle(out)
    return out


def divided(
    lines:list[str],
) -> tuple[list[str],list[str]]: # to measure on, and to train on
    "The first 1,500 sentences, or a third of a few, are never trained on."
    n = min(1500, len(lines)//3)
    return lines[:n], lines[n:]


def phrase(
    rng:random.Random,
    lines:list[str], words:list[str], # sentences, and the words in them
    most:int=40, # words
) -> str:
    "Some words of a sentence; now and then words at random."
    n = min(most, rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30, 35]))
    if rng.random() < .08: return " ".join(rng.choice(words) for _ in range(min(n, 10)))
    s = rng.choice(lines).split()
    at = rng.randrange(max(1, len(s)-n+1))
    return " ".join(s[at:at+n])


# ---- speech --------------------------------------------------------------------------------------------------------
def synthesizers() -> list[str]:
    "Those that are installed."
    there = dict(espeak=shutil.which("espeak-ng"), flite=shutil.which("flite"),
                 hibari=importlib.util.find_spec("hibari"))
    return [k for k,v in there.items() if v]


ACCENTS = ["en", "en-us", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]
VARIANTS = ["", "+m1", "+m2", "+m3", "+m4", "+m5", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5", "+klatt2", "+klatt4",
            "+Andy", "+linda", "+max", "+Alicia", "+Michael", "+Lee", "+steph", "+Adam"]
FLITE = ["slt", "rms", "kal16"]
UNHEARD = {"flite awb": dict(tts="flite", voice="awb"), "espeak Scottish": dict(tts="espeak", voice="en-gb-scotland"),
           "espeak whisper": dict(tts="espeak", voice="en-us+whisper"),
           "espeak croak": dict(tts="espeak", voice="en+croak")}


def voice(
    rng:random.Random,
    of:list[str], # synthesizers
) -> dict: # arguments of `say`, all but the text
    "A voice to train on."
    tts = rng.choices(of, [dict(espeak=4, flite=3, hibari=5)[o] for o in of])[0]
    if tts == "espeak":
        return dict(tts=tts, voice=rng.choice(ACCENTS)+rng.choice(VARIANTS), rate=rng.randint(110, 230),
                    pitch=rng.randint(20, 80))
    if tts == "flite":
        return dict(tts=tts, voice=rng.choice(FLITE), stretch=round(rng.uniform(.75, 1.35), 2),
                    f0=round(rng.uniform(.75, 1.3), 2), size=round(rng.uniform(.88, 1.14), 3))
    return dict(tts=tts, voice="heart", speed=round(rng.uniform(.75, 1.4), 2), f0=round(rng.uniform(.5, 1.25), 2),
                size=round(rng.uniform(.82, 1.12), 3))


def say(
    text:str, # clean
    tts:str, # "espeak", "flite" or "hibari"
    voice:str, # a name of that synthesizer's
    size:float=1., # below 1: a larger person, whose formants and pitch are lower and whose speech is slower
    **how, # see `voice`
) -> np.ndarray: # samples at 16 kHz, float32; 50 ms of silence are left at both ends
    "Synthesize."
    x = dict(espeak=espeak, flite=_flite, hibari=_hibari)[tts](text, voice, **how)
    if size != 1: x = resample(x, round(SR*size), SR)
    loud = np.flatnonzero(np.abs(x) > 1e-3*max(np.abs(x).max(), 1e-9))
    x = x[max(0, loud[0]-800):loud[-1]+800] if len(loud) else x
    return (.7*x/max(np.abs(x).max(), 1e-6)).astype(np.float32)


def _flite(text, voice, stretch=1., f0=1.):
    mean = dict(slt=170, rms=105, kal16=105, awb=130)[voice]*f0
    with tempfile.TemporaryDirectory() as tmp:
        wav = Path(tmp)/"x.wav"
        subprocess.run(["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "--setf",
                        f"int_f0_target_mean={mean:.0f}", "-t", text, "-o", wav], check=True, capture_output=True)
        return read_audio(wav)


@cache
def _hibari_voice():
    from hibari import Hibari
    return Hibari(threads=1)


def _hibari(text, voice, speed=1., f0=1.):
    from hibari import dsp
    tts, parts = _hibari_voice(), []
    for o in tts.phonemize(text):
        given = dict(ids=np.asarray([tts.ids(o)], np.int64), speed=np.asarray([speed], np.float32))
        lh, theta, ln, lr, phi, pitch = (v[0] for v in tts.sess.run(None, given))
        parts.append(dsp.synth(lh, theta, ln, lr, phi, pitch*f0, np.random.default_rng(0)))
    return resample(np.concatenate(parts), 24000, SR)


@dataclass
class Clip:
    "A clip to measure or train on."
    audio:np.ndarray # samples at 16 kHz
    text:str # clean
    kind:str # where it is from
    mel:object = None # of `features`


def speak(
    folder:Path, # gets `speech-WORKER-N.npz`, until there is a file `stop`
    lines:list[str], # sentences
    worker:int=0, # number of this process: seed of its text and voices
    clips:int=150, # in a file
    minutes:float=60., # when to stop
    files:int=10**6, # to write at most
):
    "Say sentences. Clips of more than 15 s are left out."
    rng, words = random.Random(1000+worker), sorted({w for l in lines for w in l.split()})
    end, k, there = time.time()+60*minutes, 0, synthesizers()
    while time.time() < end and k < files and not (folder/"stop").exists():
        audio, texts = [], []
        while len(texts) < clips and time.time() < end:
            text, how = phrase(rng, lines, words), voice(rng, there)
            try: x = say(text, **how)
            except (TestingError, subprocess.CalledProcessError, ValueError) as e: # a word that it cannot say
                print(f"left out {text!r}: {how['tts']}: {e}", flush=True)
                continue
            if not .3 < len(x)/SR < 15: continue
            audio.append((x*32767).astype(np.int16))
            texts.append(text)
        part = folder/f".part-{worker}.npz"
        np.savez(part, audio=np.concatenate(audio), lengths=[len(o) for o in audio], texts=texts)
        part.rename(folder/f"speech-{worker}-{k}.npz")
        k += 1


def held_out(
    lines:list[str], # sentences that were not trained on
    how:dict, # of `say`; or tts alone: a voice at random for each clip
    n:int, # clips
    kind:str, # name
    seed:int=0,
) -> list[Clip]: # 1 to 15 s
    "Unseen sentences in a voice."
    rng, out, words = random.Random(f"{kind}{seed}"), [], sorted({w for l in lines for w in l.split()})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while len(out) < n:
            todo = [(phrase(rng, lines, words), how if "voice" in how else voice(rng, [how["tts"]])) for _ in range(n)]
            said = pool.map(lambda o: say(o[0], **o[1]), todo)
            out += [Clip(audio=x, text=t, kind=kind) for (t,_),x in zip(todo, said) if 1 <= len(x)/SR <= 15]
    return out[:n]


def prompts(
    part:str, # "train" or "held"
) -> list[Clip]: # .5 to 15 s
    "Debian's recorded telephone prompts, of one speaker; a third of them are held out."
    out = []
    for path,text in asterisk_prompts():
        if (t := clean(text)) is None: continue
        x = read_audio(path)
        loud = np.flatnonzero(np.abs(x) > .01)
        if not len(loud): continue
        x = x[max(0, loud[0]-1600):loud[-1]+1600]
        held = int(hashlib.sha256(t.encode()).hexdigest(), 16)%3 == 0
        if .5 <= len(x)/SR <= 15 and held == (part == "held"): out.append(Clip(audio=x, text=t, kind="prompts"))
    return out


# ---- training ------------------------------------------------------------------------------------------------------
class SpeechPool:
    "The clips that `speak` has written so far, on the GPU."
    def __init__(self,
        folder:Path, # of `speak`
        device, # where the samples are kept
        hours:float=150., # to make room for
    ):
        self.folder, self.seen, self.texts = folder, set(), []
        self.audio = torch.zeros(int(hours*3600*SR), dtype=torch.int16, device=device)
        self.start, self.length, self.end = [], [], 0

    def refresh(self):
        "Add new files."
        for p in sorted(self.folder.glob("speech-*.npz")):
            if p in self.seen: continue
            self.seen.add(p)
            z = np.load(p)
            x = torch.from_numpy(z["audio"])
            if self.end+len(x) > len(self.audio): return
            self.audio[self.end:self.end+len(x)] = x.to(self.audio.device)
            at = self.end + np.cumsum([0, *z["lengths"][:-1]])
            self.start += at.tolist()
            self.length += z["lengths"].tolist()
            self.texts += [str(t) for t in z["texts"]]
            self.end += len(x)

    @property
    def hours(self): return self.end/SR/3600


@cache
def _mel_filters(device):
    from transformers import WhisperFeatureExtractor
    return torch.from_numpy(WhisperFeatureExtractor(feature_size=80).mel_filters).float().to(device)


def log_mel(
    x:torch.Tensor, # (windows, samples), float32
) -> torch.Tensor: # (windows, 80, frames)
    "Whisper's features, as `WhisperFeatureExtractor` computes them, on the device of `x`."
    s = torch.stft(x, 400, 160, window=torch.hann_window(400, device=x.device), return_complex=True)
    m = torch.einsum("fm,bft->bmt", _mel_filters(x.device), s[..., :-1].abs()**2).clamp(min=1e-10).log10()
    return (m.maximum(m.amax((1, 2), keepdim=True)-8) + 4)/4


def draw_windows(
    pool:SpeechPool,
    rng:np.random.Generator,
    n:int, # windows
    most:int, # clips in one
    longest:float, # clip, s
    single:float, # share of windows with one clip
) -> tuple[torch.Tensor,list[list[int]]]: # (n, samples of 30 s); numbers of the clips in each
    "Windows with one clip or several, some of them disturbed."
    device, size = pool.audio.device, 30*SR
    out, mask, rows = torch.zeros(n, size, device=device), torch.zeros(n, size, device=device), []
    for w in range(n):
        k, row = 1 if most == 1 or rng.random() < single else int(rng.integers(2, most+1)), []
        at = int(rng.choice([0, 0, rng.uniform(0, .5), rng.uniform(0, 8)])*SR)
        for _ in range(4*k):
            if len(row) == k: break
            i = int(rng.integers(len(pool.texts)))
            m = pool.length[i]
            if m > longest*SR or at+m > size-SR//4: continue
            out[w, at:at+m] = pool.audio[pool.start[i]:pool.start[i]+m].float()*(10**rng.uniform(-1., 0)/32768)
            mask[w, at:at+m] = 1
            at += m + int(rng.uniform(.1, 1.)*SR)
            row.append(i)
        if not row: # nothing short enough was drawn
            i = int(np.argmin(pool.length[:5000]))
            out[w, :pool.length[i]] = pool.audio[pool.start[i]:pool.start[i]+pool.length[i]].float()/32768
            row = [i]
        rows.append(row)
    return disturb(out, mask, rng), rows


def disturb(
    x:torch.Tensor, # (windows, samples)
    speech:torch.Tensor, # the same shape: 1 where someone speaks
    rng:np.random.Generator,
) -> torch.Tensor:
    "Equalizers, a telephone's band, noise during the speech or throughout the window: each in some of the windows."
    n, size = x.shape
    spectrum = torch.fft.rfft(x)
    f = torch.linspace(0, SR/2, spectrum.shape[1], device=x.device)
    knots = torch.from_numpy(rng.normal(0, 5, (n, 9))*(rng.random((n, 1)) < .5)).float().to(x.device)
    gain = F.interpolate(knots[:, None], spectrum.shape[1], mode="linear", align_corners=True)[:, 0] # dB
    phone = torch.from_numpy(rng.random((n, 1)) < .3).to(x.device)
    gain = gain - phone*(80*((f-3600)/300).clamp(0, 1) + 30*((240-f)/160).clamp(0, 1))
    y = torch.fft.irfft(spectrum*10**(gain/20), size)*speech.clamp(min=0)
    z = torch.randn(n, size, device=x.device)
    tilt = torch.from_numpy(rng.uniform(0, .9, (n, 1))).float().to(x.device)
    z = torch.fft.irfft(torch.fft.rfft(z)/(1+f/20)**tilt, size)
    z = z/z.std(1, keepdim=True)
    level = (y.square().sum(1, keepdim=True)/speech.sum(1, keepdim=True)).sqrt()
    snr = torch.from_numpy(rng.uniform(8, 45, (n, 1))).float().to(x.device)
    noisy, all_along = (torch.from_numpy(rng.random((n, 1)) < p).to(x.device) for p in (.5, .3))
    y = y + noisy*z*level*10**(-snr/20)*torch.where(all_along, torch.ones_like(speech), speech)
    return y/y.abs().amax(1, keepdim=True).clamp(min=1)


class EncodedWindows:
    "A ring of encoded windows on the GPU, so that each is used some times before newer ones take its place."
    def __init__(self,
        model, prompt, pool:SpeechPool, rng,
        size:int, # windows; 12,288 take 19 GB
        batch:int, # windows to encode at once
        single:float, # share of them with one clip
    ):
        self.model, self.prompt, self.pool, self.rng, self.batch = model, prompt, pool, rng, batch
        self.single = single
        c = model.config.audio_config
        self.states = torch.empty(size, prompt.windows.tokens, c.intermediate_size, dtype=torch.bfloat16,
                                  device=pool.audio.device)
        self.learned, self.made = [None]*size, 0

    @property
    def filled(self): return min(self.made, len(self.learned))

    def add(self,
        most:int, longest:float, # see `draw_windows`
    ):
        "Encode some more windows."
        x, rows = draw_windows(self.pool, self.rng, self.batch, most, longest, self.single)
        with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16):
            states = family_of(self.model).encode(self.model.model, dict(input_features=log_mel(x)))
        at = self.made%len(self.learned)
        self.states[at:at+len(rows)] = states.view(len(rows), *self.states.shape[1:])
        for i,row in enumerate(rows):
            self.learned[at+i] = self.prompt.transcript_ids(" ".join(self.pool.texts[k] for k in row))
        self.made += len(rows)

    def draw(self,
        n:int, # windows
    ) -> tuple: # states, tokens to learn
        "Some of the windows that are there."
        ids = self.rng.integers(self.filled, size=n)
        return self.states[torch.from_numpy(ids).to(self.states.device)], [self.learned[i] for i in ids]


def train_step(
    model, prompt, ctc, # a linear layer, or None
    states, learned:list, # of `EncodedWindows.draw`
    languages:list, # one a window
    helped:int=24, # windows that CTC is computed of
) -> tuple: # losses: of the next token, of CTC or None
    "The losses of a batch of whole windows. No step waits for the GPU."
    m, device, rows = model.model, states.device, [prompt.ids(o) for o in languages]
    head = len(prompt.around("en")[0])
    ids = torch.full((len(rows), max(len(a)+len(b) for a,b in zip(rows, learned))), prompt.pad_id)
    for i,(a,b) in enumerate(zip(rows, learned)): ids[i, :len(a)+len(b)] = torch.tensor(a+b)
    at = torch.tensor([(i, len(a)-1+k) for i,(a,b) in enumerate(zip(rows, learned)) for k in range(len(b))]).T
    put = partial(torch.Tensor.to, device=device, non_blocking=True)
    audio = m.multi_modal_projector(states)
    e = model.get_input_embeddings()(put(ids))
    e = torch.cat([e[:, :head], audio.to(e.dtype), e[:, head+audio.shape[1]:]], 1)
    h = m.language_model(inputs_embeds=e, use_cache=False).last_hidden_state # padded on the right: no mask is needed
    loss = F.cross_entropy(model.lm_head(h[put(at[0]), put(at[1])]).float(), put(torch.tensor(sum(learned, []))))
    if ctc is None: return loss, None
    few = [[w for w in o if w >= CONTROL] for o in learned[:helped]]
    logp = ctc(audio[:helped]).float().log_softmax(-1).transpose(0, 1)
    return loss, F.ctc_loss(logp, put(torch.tensor(sum(few, []))), torch.full((len(few),), len(logp)),
                            torch.tensor([len(o) for o in few]), zero_infinity=True)


def train_ear(
    model, processor, # from `build`, with the encoder's weights; on the GPU
    pool:SpeechPool, # grows meanwhile
    minutes:float, # of training
    check, # called now and then with the model
    batch_size:int=64, # windows
    lr:float=1e-3,
    seed:int=0,
    every:int=100, # steps between reports
    steps:int=10**6, # at most
    ring:int=12288, # encoded windows to keep; each is used about four times
    single:float=.4, # share of windows with one clip
    say=print,
) -> list[dict]: # the curve
    """Next-token loss of the transcripts, and at first CTC on the projector's output, which finds the alignment (joint
    training: Kim, Hori, Watanabe 2017). The learning rate follows the clock: up, constant, and down to 0."""
    device, prompt, rng = next(model.parameters()).device, TranscriptionPrompt(processor), np.random.default_rng(seed)
    cfg, own = model.config.text_config, [p for n,p in model.named_parameters() if "audio_tower" not in n]
    ctc = torch.nn.Linear(cfg.hidden_size, cfg.vocab_size).to(device)
    model.requires_grad_(False)
    for p in own: p.requires_grad_(True)
    params = own+list(ctc.parameters())
    opt = torch.optim.AdamW(params, lr=lr, betas=(.9, .98), weight_decay=.05, fused=device.type == "cuda")
    windows = EncodedWindows(model, prompt, pool, rng, ring, batch_size, single)
    began, curve, lately = time.perf_counter(), [], []
    for step in range(1, steps+1):
        done = (time.perf_counter()-began)/(60*minutes)
        if done >= 1: break
        if step%50 == 1: pool.refresh()
        due = step%4 == 1 or (windows.made < ring and step%2)
        while due or windows.made < min(ring, 32*batch_size):
            windows.add(*((1, 5) if done < .03 else (7, 15)))
            due = False
        for g in opt.param_groups: g["lr"] = lr*min(1, step/200, max(.01, (1-done)/.4))
        with torch.autocast(device.type, torch.bfloat16):
            loss, aux = train_step(model, prompt, ctc if done < .5 else None, *windows.draw(batch_size),
                                   [None if rng.random() < .2 else "en" for _ in range(batch_size)])
        (loss if aux is None else loss + .5*aux).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.)
        opt.step()
        opt.zero_grad()
        lately.append(loss.detach())
        if step%every == 0:
            curve.append(dict(step=step, seconds=round(time.perf_counter()-began, 1), hours=round(pool.hours, 1),
                              windows=windows.made, loss=round(torch.stack(lately).mean().item(), 4),
                              ctc=None if aux is None else round(aux.item(), 3)))
            lately = []
            if step%(15*every) == 0: curve[-1]["wer"] = check(model)
            say(curve[-1])
    return curve


# ---- command -------------------------------------------------------------------------------------------------------
SMOKE = ["the quick brown fox jumps over the lazy dog", "please hold the line", "seven men went down to the sea",
         "a good name is better than riches", "the water in the well was cold", "nobody came",
         "he read the letter twice", "all that glitters is not gold", "they left before the morning bell"]


def find_text(
    file:str|None=None, # sentences, one per line, gzip; None: from Debian's packages
    smoke:bool=False, # a few sentences
) -> list[str]:
    "Sentences to speak."
    if smoke: return SMOKE
    if file: return gzip.open(file, "rt", encoding="utf-8").read().splitlines()
    roots = [o for o in (Path("/usr/share/games/fortunes"), Path("/usr/share/dictd/gcide.dict.dz")) if o.exists()]
    if not roots: raise SystemExit("there is no text: apt-get install fortunes fortune-anarchism dict-gcide, or --text")
    return sentences(roots)


def test_clips(
    lines:list[str], # sentences that were not trained on
    n:int, # clips of each kind
    unheard:bool=True, # voices that were not trained on, too
) -> list[Clip]:
    "Unseen sentences in voices that were trained on and in others, and the prompts that are held out."
    there, recorded = synthesizers(), []
    kinds = {o: dict(tts=o) for o in there}
    if unheard: kinds |= {k: v for k,v in UNHEARD.items() if v["tts"] in there}
    try: recorded = prompts("held")[:n]
    except TestingError as e: print(f"without recorded prompts: {e}")
    return [c for kind,how in kinds.items() for c in held_out(lines, how, n, kind)] + recorded


def wer_by_kind(model, processor, clips:list[Clip]):
    "WER of each kind of clip, in whole windows, and all transcripts."
    rows = [dict(audio=c.audio, text=c.text, language="en") for c in clips]
    report = evaluate(model, processor, rows, batch_size=96 if next(model.parameters()).is_cuda else 8,
                      max_new_tokens=100, verbose=False)
    kinds = {k: [i for i,c in enumerate(clips) if c.kind == k] for k in dict.fromkeys(c.kind for c in clips)}
    return {k: round(report.only(ids).rates["wer"], 4) for k,ids in kinds.items()}, report.table.hypothesis.tolist()


def where(device): return torch.cuda.get_device_name() if device.type == "cuda" else "CPU"


def start_workers(a, speech:Path):
    "Processes that speak into `speech`."
    more = ["--text", a.text] if a.text else []
    return [subprocess.Popen([sys.executable, __file__, "--speak", str(i), "--speech", speech, "--minutes",
                              str(a.minutes+3), *more]) for i in range(a.workers)]


def make(a, say=partial(print, flush=True)):
    "Speech, training, `ear-*.safetensors` and `made.json`."
    folder, device, speech = Path(a.folder), torch.device(a.device), Path(a.speech or tempfile.mkdtemp(prefix="ear-"))
    held, lines = divided(find_text(a.text, a.smoke))
    workers = [] if a.smoke else start_workers(a, speech)
    if a.smoke: speak(speech, lines, clips=3, files=1)
    try:
        if a.resume: model, processor, _ = load_ear(Path(a.resume))
        else: model, processor = build(folder, SMALL if a.smoke else SIZES)
        if not (a.resume or a.smoke): model.model.audio_tower.load_state_dict(whisper_tower(folder))
        model.to(device)
        few = test_clips(held, 1 if a.smoke else 12, unheard=False)
        pool = SpeechPool(speech, device, .1 if a.smoke else 150)
        while pool.refresh() or pool.hours < (0 if a.smoke else .5): time.sleep(.5)
        say(f"{pool.hours:.2f} h of speech to begin with")
        def check(m):
            save_ear(folder, m, {})
            return wer_by_kind(m, processor, few)[0]
        small = dict(batch_size=2, every=1, steps=2, ring=4) if a.smoke else dict(batch_size=a.batch)
        curve = train_ear(model, processor, pool, a.minutes, check, lr=a.lr, seed=a.seed, single=a.single,
                          say=say, **small)
    finally:
        (speech/"stop").touch()
        for o in workers: o.wait()
    made = dict(minutes=a.minutes, hours=round(pool.hours, 1), clips=len(pool.texts), device=where(device),
                resumed=bool(a.resume), date=time.strftime("%Y-%m-%d"), curve=curve)
    save_ear(folder, model, made)
    clips = test_clips(held, 1 if a.smoke else 80)
    made["wer"], heard = wer_by_kind(model, processor, clips)
    made["examples"] = [dict(kind=c.kind, text=c.text, heard=o) for c,o in [*zip(clips, heard)][::1+len(clips)//40]]
    save_ear(folder, model, made)
    say(made["wer"])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--folder", default=EAR, help="of the ear")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--text", help="sentences, one per line, gzip; from Debian's packages without it")
    p.add_argument("--speech", help="folder of synthetic speech, where more may be arriving")
    p.add_argument("--minutes", type=float, default=10, help="of training")
    p.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2)-2), help="processes that speak")
    p.add_argument("--speak", type=int, help="be one of them, with this number")
    p.add_argument("--batch", type=int, default=64, help="windows a step")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--single", type=float, default=.4, help="share of windows with one clip")
    p.add_argument("--resume", help="folder of an ear to train further")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--smoke", action="store_true", help="two steps of a small model, to see that it works")
    a = p.parse_args()
    if a.speak is None: make(a)
    else: speak(Path(a.speech), divided(find_text(a.text))[1], a.speak, minutes=a.minutes)


if __name__ == "__main__": main()
