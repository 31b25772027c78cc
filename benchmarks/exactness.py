"""What leaving out most of the silence changes, and what it saves: on the tiny model, the ear and the 24 M model.

    python benchmarks/exactness.py [--models tiny ear random] [--clips 24]

`verify_silence` compares whole windows (`packing="none"`) with the default on the same clips: the distance of the
encoder's states of the speech, the losses of transcripts and of their end, and the texts. Then a training step of LoRA
in the language model is timed both ways, with nothing cached: forward and backward of eight clips, in CPU seconds of
one thread, the best of three. Each model has its own clips: the tiny one the accent's (unknown to it, 1 s), the ear
recorded telephone prompts of .5 to 15 s, the model of random weights (train.py's) noise of 1 to 15 s."""
import argparse, tempfile, time
from pathlib import Path

from measure import RESULTS, make_data, read_data, save_model, setting, table, write


def model_and_clips(name, n, tmp): # model, processor, rows with audio and text
    "A model, and clips that it did not learn."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.model.models import load_voxtral
    if name == "ear":
        from ear_make import prompts
        from presets import ear_folder
        rows = [dict(audio=c.audio, text=c.text) for c in prompts("held")]
        model_id = ear_folder()
    else:
        if name == "random": save_model(model_id := str(tmp/"random"))
        else: model_id = name
        data = sample_speech("accent_eval") if name == "tiny" else make_data(tmp/"mix", max(n, 8), "mix")
        rows = [dict(audio=a, text=t) for a,t in zip(*read_data(data))]
    return *load_voxtral(model_id, device="cpu", precision="fp32", verbose=False), rows[::max(1, len(rows)//n)][:n]


def step_seconds(model, processor, rows, packing): # CPU s
    "A training step of LoRA in the language model, on some clips."
    import torch
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.model.collator import VoxtralBatch, VoxtralDataCollator
    from voxtral_nb.model.family import attention_dtype
    from voxtral_nb.model.prepare import prepare_model
    cfg = RunConfig(packing=packing, cache="none", train_data="x", lora_dropout=0)
    model = prepare_model(model, cfg, verbose=False).train()
    batch = VoxtralBatch(**VoxtralDataCollator(processor, packing=packing, language="en")(rows))
    def step():
        began = time.process_time()
        logits = model(**batch.model_inputs(attention_dtype(next(model.parameters()))), use_cache=False).logits[0]
        torch.nn.functional.cross_entropy(logits.float(), batch.learned).backward()
        return time.process_time()-began
    return min(step() for _ in range(3))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--models", nargs="+", default=["tiny", "ear", "random"], choices=["tiny", "ear", "random"])
    p.add_argument("--clips", type=int, default=24)
    p.add_argument("--out", type=Path, default=RESULTS)
    a = p.parse_args()
    from voxtral_nb.measure.silence import verify_silence
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        for name in a.models:
            model, processor, clips = model_and_clips(name, a.clips, Path(tmp))
            found = verify_silence(model, processor, clips, len(clips), language="en")
            whole, ours = (step_seconds(model_and_clips(name, a.clips, Path(tmp))[0], processor, clips[:8], o)
                           for o in ("none", "split"))
            r = lambda pair: [round(o, 4) for o in pair]
            rows.append(dict(model=name, clips=found.clips, states=round(found.states, 4), loss=r(found.loss),
                             end=r(found.end), texts=found.texts, step=r((whole, ours)), times=round(whole/ours, 2)))
            write("exactness.json", dict(setting(), rows=rows), a.out)
    print(table(list(rows[0]), [[str(v) for v in o.values()] for o in rows]))


if __name__ == "__main__": main()
