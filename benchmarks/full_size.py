"""Everything that a run does with a model of the real size, on a CPU: time and peak memory of each phase.

    python benchmarks/full_size.py --layers 30 --encoder-layers 32 [--steps 2] [--folder benchmarks/out/full_size]
    python benchmarks/full_size.py --family realtime

A Voxtral of Voxtral-Mini-3B-2507's sizes and random weights, in the Hub's layout (bfloat16, shards, the real
vocabulary): 4.68 billion parameters. LoRA in bfloat16: dry run, two steps, save, load, merge, serve. That takes 20 GB
of disk and 14 GB of free memory; fewer layers, as by default (4 and 4), take less. Each phase runs in its own process,
so that its peak memory is its own. With --folder, phases that are done are not done again. `--family realtime` is a
Voxtral Realtime of Voxtral-Mini-4B-Realtime-2602's sizes, otherwise the same."""
import argparse, json, resource, shutil, subprocess, sys, tempfile, time
from pathlib import Path

from measure import RESULTS, cut_tekken, setting, write as write_result

PHASES = ("write", "dry run", "train", "load", "merge", "transcribe")


def shape(
    layers:int, # of the language model
    encoder_layers:int, # of the encoder
    narrow=False, # a hundredth of the width and a small vocabulary, for a check of the code
    realtime=False,
): # config of the published model's sizes otherwise
    from transformers import VoxtralConfig, VoxtralRealtimeConfig
    # the defaults are those of Voxtral-Mini-3B-2507 and of Voxtral-Mini-4B-Realtime-2602
    c = VoxtralRealtimeConfig() if realtime else VoxtralConfig(audio_token_id=24)
    c.text_config.num_hidden_layers, c.audio_config.num_hidden_layers = layers, encoder_layers
    if narrow:
        for o,kv in ((c.text_config, 2), (c.audio_config, 4)):
            o.hidden_size, o.intermediate_size, o.num_attention_heads = 32, 128, 4
            o.num_key_value_heads, o.head_dim = kv, 8
        c.hidden_size, c.text_config.vocab_size = c.text_config.hidden_size, 2048
    return c


def write(folder, args):
    "Random weights, shard by shard, as the Hub has them."
    import torch
    from transformers import VoxtralForConditionalGeneration, VoxtralRealtimeForConditionalGeneration
    from voxtral_nb.model.tiny import make_processor
    from voxtral_nb.model.tiny_realtime import make_realtime_processor
    realtime = args.family == "realtime"
    kind = VoxtralRealtimeForConditionalGeneration if realtime else VoxtralForConditionalGeneration
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    config = shape(args.layers, args.encoder_layers, args.smoke, realtime)
    with torch.device("meta"): model = kind._from_config(config, dtype=torch.bfloat16)
    model.to_empty(device="cpu")
    model.tie_weights()
    for n,p in model.named_parameters():
        p.data = p.data.float() if "embed_positions" in n else p.data
        torch.nn.init.ones_(p) if p.ndim == 1 and "norm" in n else p.data.normal_(std=.02)
    rotary = model.model.language_model
    for m in rotary.modules():
        if hasattr(m, "inv_freq"): m.inv_freq = type(m)(config.text_config).inv_freq
    model.save_pretrained(folder/"model", max_shard_size="2GB")
    cut_tekken(folder/"tekken", config.text_config.vocab_size, streaming=realtime) # all of it, unless narrow
    (make_realtime_processor if realtime else make_processor)(folder/"tekken").save_pretrained(folder/"model")
    torch.set_default_dtype(torch.float32)
    return dict(parameters=sum(p.numel() for p in model.parameters()))


def settings(folder, args):
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.core.config import RunConfig
    return RunConfig(model_id=folder/"model", device="cpu", precision="bf16", max_train_clips=4 if args.smoke else 8,
                     max_eval_clips=1 if args.smoke else 2,
                     train_data=sample_speech("accent_train"), eval_data=sample_speech("accent_eval"), batch_size=2,
                     max_steps=args.steps, eval_before=False, max_new_tokens=4, tracking="none",
                     cache_dir=folder/"cache", output_dir=folder/"run")


def dry(folder, args):
    from voxtral_nb import dry_run
    r = dry_run(settings(folder, args))
    return dict(estimated_gb=round(r.memory.total, 2), step_seconds=round(r.step_seconds, 2))


def train_(folder, args):
    from voxtral_nb import train
    r = train(settings(folder, args))
    return dict(steps=r.steps, loss=round(r.train_loss, 3))


def load(folder, args):
    from voxtral_nb.model.models import load_voxtral
    load_voxtral(folder/"run"/"final-model", device="cpu", precision="bf16")
    return {}


def merge(folder, args):
    from voxtral_nb.model.models import load_voxtral
    model, processor = load_voxtral(folder/"run"/"final-model", device="cpu", precision="bf16")
    model.merge_and_unload().save_pretrained(folder/"merged", max_shard_size="2GB")
    processor.save_pretrained(folder/"merged")
    return dict(gb=round(sum(o.stat().st_size for o in (folder/"merged").iterdir())/1e9, 2))


def transcribe_(folder, args):
    "What a server does with one clip."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.data.sources import load_speech
    from voxtral_nb.measure.evaluation import transcribe
    from voxtral_nb.model.models import load_voxtral
    model, processor = load_voxtral(folder/"merged", device="cpu", precision="bf16")
    clip = load_speech(str(sample_speech("accent_eval")), max_clips=1).dataset[0]["audio"]
    began = time.perf_counter()
    transcribe(model, processor, [clip], language="en", max_new_tokens=4, verbose=False)
    return dict(clip_seconds=round(time.perf_counter() - began, 2))


def phase(name, folder, args):
    "Run a phase in this process, and keep what it took."
    began, does = time.perf_counter(), dict(zip(PHASES, (write, dry, train_, load, merge, transcribe_)))
    found = does[name](folder, args)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6
    took = dict(phase=name, seconds=round(time.perf_counter() - began, 1), cpu_seconds=round(time.process_time(), 1),
                peak_gb=round(peak, 2), **found)
    (folder/f"{name}.json").write_text(json.dumps(took))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--family", choices=("voxtral", "realtime"), default="voxtral")
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--encoder-layers", type=int, default=4)
    p.add_argument("--steps", type=int, default=2)
    p.add_argument("--folder", type=Path, help="Default: a temporary folder, removed afterwards.")
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--smoke", action="store_true", help="Check the code: a narrow model, all phases in one process.")
    p.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.phase: return phase(args.phase, args.folder, args)
    folder = args.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    again = [sys.executable, __file__, "--folder", str(folder), "--layers", str(args.layers),
             "--encoder-layers", str(args.encoder_layers), "--steps", str(args.steps), "--family", args.family]
    phases = []
    try:
        for name in PHASES:
            done = folder/f"{name}.json"
            if args.smoke: phase(name, folder, args)
            elif not done.exists(): subprocess.run([*again, "--phase", name], check=True)
            phases.append(json.loads(done.read_text()))
            print(phases[-1], flush=True)
    finally:
        if not args.folder: shutil.rmtree(folder)
    result = setting(family=args.family, layers=args.layers, encoder_layers=args.encoder_layers, steps=args.steps,
                     phases=phases)
    name = "full_size.json" if args.family == "voxtral" else f"full_size-{args.family}.json"
    print(f"written: {write_result(name, result, args.out)}")


if __name__ == "__main__": main()
