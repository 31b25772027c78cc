"""The tiny model has only heard synthetic voices. A real person's digits, recorded over a telephone line, are learned
from a hundred strings of them."""
import random

import numpy as np, soxr

from voxtral_nb.data.audio import read_audio
from voxtral_nb.core.config import RunConfig
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.testing.speech import asterisk_prompts
from voxtral_nb.training.trainer import train

DIGITS = "zero one two three four five six seven eight nine".split()


def strings(folder, n, seed):
    "Strings of recorded digits, each digit a little slower or faster, softer or louder than it was recorded."
    rng, ds = random.Random(seed), SpeechDataset.create(folder)
    recorded = {p.stem: read_audio(p) for p,_ in asterisk_prompts("en") if p.parent.name == "digits"
                and len(p.stem) == 1 and p.stem.isdigit()}
    assert len(recorded) == 10
    for i in range(n):
        ks = [rng.randrange(10) for _ in range(rng.choice([1, 1, 2, 3, 4]))]
        parts = []
        for k in ks:
            parts.append(soxr.resample(recorded[str(k)], 16000, 16000*rng.uniform(.9, 1.1))*rng.uniform(.3, 1))
            parts.append(np.zeros(int(rng.uniform(0, .3)*16000), np.float32))
        x = np.concatenate(parts)
        ds.append(x + .002*np.random.default_rng((seed, i)).standard_normal(len(x)), " ".join(DIGITS[k] for k in ks),
                  sampling_rate=16000, language="en", speaker="allison")
    return str(folder)


def test_adapts_to_a_real_voice(tmp_path):
    "By LoRA; test_real_speech trains in full on more of the same voice."
    r = train(RunConfig(model_id="tiny", method="lora", learning_rate=3e-3,
                        train_data=strings(tmp_path/"train", 100, 0), eval_data=strings(tmp_path/"eval", 16, 1),
                        batch_size=8, max_steps=30, eval_every=30, max_new_tokens=32, tracking="none",
                        output_dir=str(tmp_path/"run")), verbose=False)
    assert r.rates_before["wer"] > .3 and r.rates_after["wer"] < .10, (r.rates_before["wer"], r.rates_after["wer"])
