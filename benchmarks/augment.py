"""What augmentation gains and costs: WER in noise and reverberation with and without it, and audio-seconds a second.

    python benchmarks/augment.py [--choices none noise ...] [--seeds 0 1 2] [--steps 150] [--smoke]

The tiny Voxtral learns the sample speech's accent (300 clean clips), with the same steps for each choice of `augment`,
and is measured on the 80 clips of `accent_eval`: clean, in made noise at 5 dB, in the babble of six other voices at 10
dB, in a room, and over a telephone line. "noise from a folder" draws from 2 minutes of babble by clips that are not in
the babble of the measurement.
The cost is what one core changes in a second, each change alone and with probability 1. What is done is written after
each model, and an interrupted benchmark goes on."""
import argparse, json, statistics, tempfile, time
from pathlib import Path

from measure import RESULTS, setting, table, write

ALL = "speed,room,noise,gain,codec,mask"
CHOICES = {"none": {}, "noise": dict(augment="noise"), "noise from a folder": dict(augment="noise", augment_noise=True),
           "all": dict(augment=ALL), "all, share 0.2": dict(augment=ALL, augment_share=.2)}
PLACES = ("clean", "noise 5 dB", "babble 10 dB", "room", "telephone")


def heard_rows(split="accent_eval"):
    "The clips of the sample speech, decoded."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.data.audio import read_audio
    from voxtral_nb.data.dataset import SpeechDataset
    rows = list(SpeechDataset.open(sample_speech(split)).to_hf())
    return [o | dict(audio=dict(array=read_audio(o["audio"]), sampling_rate=16000, path=o["id"])) for o in rows]


def babble(half):
    "Six voices at once, from one half of the clips of the base part."
    import numpy as np
    talk = np.concatenate([o["audio"]["array"] for o in heard_rows("base")[half::2]])
    return sum(np.roll(talk, k*len(talk)//6) for k in range(6))/6


def places(clips):
    "The clips to measure on, as they are heard in each place; the draws are the same in every run."
    import numpy as np
    from voxtral_nb.data.augment import add_noise, coloured_noise, draws, in_room, made_room, telephone
    talk = babble(0)
    def part(rng, n): return np.roll(talk, -rng.integers(len(talk)))[:n]
    change = {"clean": lambda x, rng: x, "noise 5 dB": lambda x, rng: add_noise(x, coloured_noise(rng, len(x)), 5),
              "babble 10 dB": lambda x, rng: add_noise(x, part(rng, len(x)), 10),
              "room": lambda x, rng: in_room(x, made_room(rng)), "telephone": lambda x, rng: telephone(x)}
    return {name: [o | dict(audio=o["audio"] | dict(array=change[name](o["audio"]["array"],
                                                                      draws(999, o["id"], 0, name)))) for o in clips]
            for name in PLACES}


def wers(choice, seed, steps, clips):
    "Train with one choice of `augment`; the WER in each place, and the seconds of training."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.data.audio import write_wav
    from voxtral_nb.measure.evaluation import evaluate
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.training.trainer import train
    with tempfile.TemporaryDirectory() as out:
        settings = dict(CHOICES[choice])
        if settings.get("augment_noise"):
            settings["augment_noise"] = f"{out}/noise"
            Path(settings["augment_noise"]).mkdir()
            write_wav(f"{out}/noise/babble.wav", babble(1), 16000)
        cfg = RunConfig(model_id="tiny", train_data=str(sample_speech("accent_train")), eval_fraction=0,
                        max_steps=steps, batch_size=8, seed=seed, **settings,
                        device="cpu", tracking="none", num_workers=0, cache="none", output_dir=f"{out}/run",
                        language="en", max_train_clips=16 if steps < 10 else None)
        began = time.perf_counter()
        r = train(cfg, verbose=False)
        seconds = time.perf_counter() - began
        model, processor = load_voxtral(str(r.final_model), device="cpu", verbose=False)
        rates = {k: round(evaluate(model, processor, v, language="en", max_new_tokens=40, verbose=False).wer, 4)
                 for k,v in clips.items()}
    return dict(wer=rates, seconds=round(seconds, 1))


def costs(rows):
    "Audio-seconds that one core changes in a second, for each change alone and for all of them."
    from voxtral_nb.core.config import AUGMENTATIONS, RunConfig
    from voxtral_nb.data.augment import Augmentation, mask_mel
    from voxtral_nb.core.assets import tiny_path
    from voxtral_nb.model.collator import TranscriptionPrompt
    from voxtral_nb.model.models import load_voxtral
    import numpy as np
    prompt = TranscriptionPrompt(load_voxtral(str(tiny_path()), device="cpu", verbose=False)[1])
    joined, n = np.concatenate([o["audio"]["array"] for o in rows]), 8*16000
    clips = [dict(audio=dict(array=joined[i:i + n], sampling_rate=16000), id=str(i), text="")
             for i in range(0, len(joined) - n, n)]
    mels = [prompt.mel(o["audio"]["array"]) for o in clips]
    out, total = {}, sum(len(o["audio"]["array"]) for o in clips)/16000
    for name in (*(o for o in AUGMENTATIONS if o != "mask"), ",".join(AUGMENTATIONS)):
        change = Augmentation.of(RunConfig(model_id="tiny", augment=name, augment_share=1))
        change(clips[0], 0)
        began = time.perf_counter()
        for epoch in range(2):
            for o in clips: change(o, epoch)
        out[name] = round(2*total/(time.perf_counter() - began))
    for name,f in (("mask", lambda i: mask_mel(mels[i], [1, i])),
                   ("log-mel, to compare", lambda i: prompt.mel(clips[i]["audio"]["array"]))):
        began = time.perf_counter()
        for i in range(len(clips)): f(i)
        out[name] = round(total/(time.perf_counter() - began))
    return out


def show(result):
    "The tables of a result."
    mean = lambda c, k: statistics.mean(s["wer"][k] for s in result["runs"][c].values())
    spread = lambda c, k: " ".join(f"{s['wer'][k]:.1%}" for s in result["runs"][c].values())
    wer = table(["augment", *PLACES, "s"], [[c, *(f"{mean(c, k):.1%} ({spread(c, k)})" for k in PLACES),
                                             round(statistics.mean(s["seconds"] for s in runs.values()), 1)]
                                            for c,runs in result["runs"].items()])
    return f"{wer}\n\n" + table(["change", "audio-seconds a second"], [[k, v] for k,v in result["costs"].items()])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--choices", nargs="+", default=[*CHOICES], choices=CHOICES)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--steps", type=int, default=150, help="of 8 clips; 150 are 4 epochs")
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--smoke", action="store_true", help="the least that shows that the code works")
    a = p.parse_args()
    if a.smoke: a.choices, a.seeds, a.steps = ["none", "noise from a folder"], [0], 2
    what, clips = dict(steps=a.steps), heard_rows()
    try: result = json.loads((a.out/"augment.json").read_text())
    except FileNotFoundError: result = {}
    if result.get("what") != what: result = dict(setting=setting(), what=what, costs=costs(clips), runs={})
    there = places(clips[:8] if a.smoke else clips)
    for seed in a.seeds:
        for choice in a.choices:
            runs = result["runs"].setdefault(choice, {})
            if str(seed) in runs: continue
            runs[str(seed)] = wers(choice, seed, a.steps, there)
            print(seed, choice, runs[str(seed)], flush=True)
            write("augment.json", result, a.out)
    print(show(result))


if __name__ == "__main__": main()
