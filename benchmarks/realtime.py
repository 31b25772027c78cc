"""How fast Voxtral Realtime is fine-tuned: one clip a stream, encoder and all logits in every epoch, against
joined streams, cached encoder and logits only where something is learned. Same model, clips, adapter and epochs.

    python benchmarks/realtime.py [--smoke]

The model: random weights, some 20 M parameters, vocabulary of 32,768 tokens. The clips: noise, with two words a second.
A run is `EPOCHS` epochs of forward and backward passes; ours also fills the cache on the clock."""
import argparse, copy, time

import numpy as np, torch

from measure import RESULTS, setting, table, write
from voxtral_nb.core.assets import tiny_path
from voxtral_nb.core.config import RunConfig
from voxtral_nb.model.collator import ClipAudio
from voxtral_nb.model.models import load_voxtral
from voxtral_nb.model.prepare import audio_embeds, prepare_model
from voxtral_nb.model.realtime import RealtimeBatch, RealtimeCollator
from voxtral_nb.model.tiny_realtime import make_tiny_realtime

EPOCHS, CLIPS = 3, 12


def clips(seconds):
    rng = np.random.default_rng(0)
    ends = np.arange(.5, seconds + .01, .5)
    words = [dict(word="seven", end=float(o)) for o in ends]
    return [dict(audio=rng.normal(0, .1, 16_000*seconds).astype(np.float32), text=" ".join(["seven"]*len(ends)),
                 words=words) for _ in range(CLIPS)]


def plain(model, processor, rows, epochs):
    "Each clip by itself, as transformers computes its loss: no seconds of preparation, seconds of all epochs."
    collate, began = RealtimeCollator(processor), time.perf_counter()
    for _ in range(epochs):
        for row in rows:
            b = collate([row])
            model(input_ids=b["input_ids"], input_features=b["input_features"], num_delay_tokens=6,
                  labels=b["labels"]).loss.backward()
    return 0., time.perf_counter() - began


def ours(model, processor, rows, epochs):
    "Seconds until the cache is filled, and of all epochs."
    collate, began = RealtimeCollator(processor, stream_seconds=60), time.perf_counter()
    cached = []
    for row in rows:
        b, n = collate([row]), len(row["audio"])
        with torch.no_grad(): x = audio_embeds(model.base_model.model.model, dict(input_features=b["input_features"]))
        cached.append(row | dict(audio=ClipAudio(kind="embeds", data=x.detach(), samples=n)))
    filled = time.perf_counter()
    for _ in range(epochs):
        for part in collate.micro_batches(cached, tokens=4000):
            b = RealtimeBatch(**part)
            logits = model(**b.model_inputs(), use_cache=False).logits[0]
            torch.nn.functional.cross_entropy(logits.float(), b.learned).backward()
    return filled - began, time.perf_counter() - filled


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--smoke", action="store_true")
    p.add_argument("--out", default=RESULTS)
    a = p.parse_args()
    size = dict(hidden_size=64) if a.smoke else dict(hidden_size=256, encoder_layers=4, decoder_layers=4)
    _, processor = load_voxtral(str(tiny_path("tiny-realtime")), verbose=False)
    base, cfg = make_tiny_realtime(vocab_size=2048 if a.smoke else 32_768, **size), RunConfig(lora_dropout=0.)
    rows = []
    for seconds in (1, 3):
        speech, epochs, rates = clips(seconds), 1 if a.smoke else EPOCHS, {}
        for f in (plain, ours):
            model = prepare_model(copy.deepcopy(base), cfg, verbose=False).train()
            f(model, processor, speech[:2], 1) # warm-up
            fill, steps = f(model, processor, speech, epochs)
            speed = epochs*CLIPS*seconds # audio-seconds
            rates |= {f.__name__: speed/(fill + steps), f"{f.__name__}_cached": speed/steps}
        rows.append(dict(seconds=seconds, plain=rates["plain"], ours=rates["ours"], ours_cached=rates["ours_cached"],
                         ratio=rates["ours"]/rates["plain"], ratio_cached=rates["ours_cached"]/rates["plain"]))
        print(rows[-1])
    about = setting(parameters=base.num_parameters(), epochs=epochs, clips=CLIPS)
    write("realtime.json", dict(**about, rows=rows), a.out)
    head = ["clip, s", "one clip a stream", "ours", "ours, cache there", "ratio", "ratio, cache there"]
    print(table(head, [list(o.values()) for o in rows]))


if __name__ == "__main__": main()
