"""Does everything that a run is made of work on this GPU? `python benchmarks/gpu.py --check` calls this.

Real runs of `voxtral_nb.train` with the tiny models: both methods, all precisions, ways of packing and levels of the
cache, 4-bit weights, 8-bit optimizers, fused and compiled layers, Voxtral Realtime, checkpoints, resuming, evaluation,
a dry run. Then models of the real sizes with random weights: how fast an evaluation is, whether a Realtime keeps up
with speech, and peak memory against `estimate_memory`. Each check passes or fails on its own; one whose package is not
installed says so. Without a GPU the same is done on the CPU in miniature."""
import contextlib, importlib.util, io, json, math, re, shutil, statistics, tempfile, time, traceback, warnings
from pathlib import Path

from measure import RESULTS, answer_parent, child, make_data, setting, write

SHORT = dict(max_steps=6, eval_every=3, max_eval_clips=8, max_train_clips=64, batch_size=8, eval_batch_size=8,
             logging_steps=1, num_workers=0, tracking="none")
LESS = dict(eval_before=False, max_eval_clips=2) # of the few on a CPU: the first evaluation makes a best-model


def training(device, few):
    "Name -> settings of a run."
    precisions = ("fp32", "bf16") if device == "cpu" else ("bf16", "fp16", "fp32")
    if few: precisions = ("fp32",)
    out = {f"{m} {p}, no cache": dict(method=m, precision=p, cache="none") for m in ("lora", "full")[few:]
           for p in precisions} # few: LoRA is resumed
    p = precisions[0]
    for packing in ("none", "split")[1 if few else 0:]:
        out[f"lora {p}, packing {packing}"] = dict(method="lora", precision=p, packing=packing, cache="encoder")
        if few: continue
        out[f"full {p}, packing {packing}"] = dict(method="full", precision=p, packing=packing, cache="mel")
    if few: return out
    out["workers by default"] = dict(num_workers=None, cache="auto")
    for q in precisions[1:]: out[f"lora {q}, cache of the encoder"] = dict(precision=q, cache="encoder")
    realtime = dict(model_id="tiny-realtime", precision=p)
    if device == "cuda":
        out |= {f"4 bits, {q}": dict(precision=q, quantization="4bit") for q in ("bf16", "fp16")}
        out |= {"4 bits, cache of the encoder": dict(quantization="4bit", cache="encoder"),
                "8-bit AdamW": dict(method="full", optimizer="adamw_bnb_8bit"),
                "paged 8-bit AdamW": dict(method="full", optimizer="paged_adamw_8bit"),
                **{f"realtime, {m} {q}": realtime | dict(method=m, precision=q)
                   for m in ("lora", "full") for q in precisions[1:]},
                "realtime, 4 bits": realtime | dict(quantization="4bit"),
                "realtime, gradient checkpointing": realtime | dict(gradient_checkpointing=True),
                "realtime, eager attention": realtime | dict(attention="eager")}
    return out | {
        "plain kernels": dict(kernels="plain"),
        "all augmentations": dict(augment="speed,room,noise", cache="none"),
        **{f"realtime, {m} {p}": realtime | dict(method=m) for m in ("lora", "full")},
        "realtime, random delays": realtime | dict(delays="random"),
        "realtime, joined streams": realtime | dict(stream_seconds=20.),
        "workers by default, full": dict(method="full", num_workers=None),
        **({"device with its number": dict(device="cuda:0")} if device == "cuda"
           else {"device": dict(device="cpu")}),
        "device auto, precision auto": dict(device="auto", precision="auto"),
        "gradient checkpointing, lora": dict(gradient_checkpointing=True),
        "gradient checkpointing, full": dict(method="full", gradient_checkpointing=True),
        "accumulated gradients": dict(batch_size=4, gradient_accumulation_steps=2),
        "lora everywhere, no cache": dict(train_audio_tower=True, train_projector=True, cache="none"),
        "projector trained, cached states": dict(method="full", train_audio_tower=False, cache="encoder"),
        "eager attention": dict(attention="eager"),
        "label smoothing": dict(label_smoothing=.1),
        "fused AdamW": dict(method="full", optimizer="adamw_torch_fused"),
        "Adafactor": dict(method="full", optimizer="adafactor")}


def tiny_config(folder, where, **settings):
    "The settings of a tiny run in `folder`."
    from voxtral_nb.core.assets import with_tiny_defaults
    from voxtral_nb.core.config import RunConfig
    here = dict(model_id="tiny", device=where, output_dir=f"{folder}/run", cache_dir=f"{folder}/cache")
    given = SHORT | here | settings
    with contextlib.redirect_stdout(io.StringIO()): return with_tiny_defaults(RunConfig(**given))


def tiny_run(folder, where, **settings):
    "One run: what it came to, and a note on how the model was decoded."
    import torch
    from transformers import TrainerCallback
    from voxtral_nb.model.models import base_voxtral
    from voxtral_nb.training.trainer import train
    cfg, seen = tiny_config(folder, where, **settings), set()
    kind = torch.device("cpu").type if cfg.device == "cpu" else "cuda" if torch.cuda.is_available() else "cpu"
    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            def note(module, inputs, out):
                if module.training: return
                autocast = "autocast" if torch.is_autocast_enabled(kind) else "no autocast"
                seen.add(f"{autocast}, weights {str(module.weight.dtype)[6:]}, logits {str(out.dtype)[6:]}")
            base_voxtral(model).lm_head.register_forward_hook(note)
    r = train(cfg, verbose=False, callbacks=[Watch()])
    history = json.loads((r.run_dir/"trainer_state.json").read_text())["log_history"]
    losses = [o["loss"] for o in history if "loss" in o]
    assert r.steps == len(losses) == cfg.max_steps, losses
    assert all(map(math.isfinite, losses)), losses
    assert losses[-1] < losses[0], f"the loss did not fall: {losses}"
    weights = "adapter_model.safetensors" if cfg.method == "lora" else "model.safetensors"
    for name in ("final-model", "best-model"): assert (r.run_dir/name/weights).exists(), f"{name} has no {weights}"
    assert r.after is not None
    return r, losses, f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; decoding: {'; '.join(sorted(seen))}"


def check_run(where, work, **settings): return tiny_run(work, where, **settings)[2]


def check_resume(device, work, **settings):
    "A run that is stopped after its checkpoint and resumed has the losses of one that was not stopped."
    from transformers import TrainerCallback
    from voxtral_nb.training.trainer import train
    whole = tiny_run(work/"whole", device, **settings)[1]
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == args.eval_steps + 1: raise InterruptedError("stopped by the check")
    try: train(tiny_config(work/"cut", device, **settings), verbose=False, callbacks=[Stop()])
    except InterruptedError: pass
    again = tiny_run(work/"cut", device, resume="auto", **settings)[1]
    apart = max(abs(a-b) for a,b in zip(whole, again))
    assert apart < (1e-3 if settings.get("precision") == "fp32" else .05), (whole, again)
    return f"losses are within {apart:.1e} of those of the run that was not stopped"


def check_like_cpu(device, work, **settings):
    "The same run on the CPU has the same losses."
    how = dict(precision="fp32", cache="none", lora_dropout=0.) | settings
    (_, a, _), (_, b, _) = (tiny_run(work/d, d, **how) for d in (device, "cpu"))
    apart = max(abs(x-y) for x,y in zip(a, b))
    assert apart < 5e-3, (a, b)
    return f"losses in fp32 are within {apart:.1e} of those on the CPU"


def check_models(device, work):
    "A trained adapter and a trained model load and transcribe on the device, as on the CPU."
    from voxtral_nb.measure.evaluation import evaluate, transcribe
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.data.sources import load_speech
    from voxtral_nb.core.assets import sample_speech
    speech, notes = load_speech(str(sample_speech("accent_eval")), max_clips=16).dataset, []
    for method in ("lora", "full"):
        r = tiny_run(work/method, device, method=method, precision="fp32", cache="none")[0]
        texts = []
        for d in (device, "cpu"):
            model, processor = load_voxtral(str(r.run_dir/"final-model"), device=d, precision="fp32", verbose=False)
            texts.append(transcribe(model, processor, speech["audio"], language="en", verbose=False))
            wer = evaluate(model, processor, speech, verbose=False).rates["wer"]
        same = sum(a == b for a,b in zip(*texts))
        assert same >= 15, list(zip(*texts))
        notes.append(f"{method}: {same} of 16 transcripts as on the CPU, WER {wer:.1%}")
    return "; ".join(notes)


def check_dry_run(device, work, method):
    "`voxtral-train --dry-run`, in this process."
    from voxtral_nb.run.commands import voxtral_train
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        voxtral_train(["--model-id", "tiny", "--method", method, "--device", device, "--output-dir", str(work/"run"),
                       "--cache-dir", str(work/"cache"), "--max-steps", "20", "--max-eval-clips", "16", "--dry-run"])
    d = json.loads(out.getvalue().strip().splitlines()[-1])
    assert d["step_seconds"] > 0 and d["memory_gb"] > 0
    assert not (work/"run").exists()
    return f"steps of {d['step_seconds']:.3f} s, evaluations {d['eval_seconds']:.1f} s, {d['memory_gb']:.3f} GB"


def check_kernels(device, work, **settings):
    "Fused layers give the losses of plain ones."
    how = dict(precision="fp32", cache="none", lora_dropout=0.) | settings
    (r, a, _), (_, b, _) = (tiny_run(work/o, device, kernels=o, **how) for o in ("auto", "plain"))
    assert "LoRA layers fused" in (r.run_dir/"training.log").read_text(), "no layers were fused"
    apart = max(abs(x-y) for x,y in zip(a, b))
    assert apart < 1e-3, (a, b)
    return f"losses in fp32 are within {apart:.1e} of those of plain layers"


def check_compiled(device, work):
    "Compiled layers are compiled, and give the losses of plain ones."
    how = dict(precision="fp32", cache="none", lora_dropout=0.)
    (r, a, _), (_, b, _) = (tiny_run(work/o, device, compile=o, **how) for o in ("on", "off"))
    log = (r.run_dir/"training.log").read_text() # where compiling fails, a run says so and goes on
    assert "layers of the language model" in log, [o for o in log.splitlines() if "compile" in o]
    apart = max(abs(x-y) for x,y in zip(a, b))
    assert apart < 1e-3, (a, b)
    return f"losses in fp32 are within {apart:.1e} of those of plain layers"


def check_live(device, work):
    "A Realtime hears blocks of 80 ms on the device, and writes what it writes on the CPU."
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.data.audio import read_audio
    from voxtral_nb.data.sources import load_speech
    from voxtral_nb.model.live import LiveStream, generate_stream
    from voxtral_nb.model.models import load_voxtral
    clips, written = load_speech(str(sample_speech("accent_eval")), max_clips=8).dataset["audio"], {}
    for d in dict.fromkeys((device, "cpu")):
        model, processor = load_voxtral("tiny-realtime", device=d, precision="fp32", verbose=False)
        rate, written[d] = processor.feature_extractor.sampling_rate, []
        for clip in clips:
            x, live = read_audio(clip, rate), LiveStream(model, processor)
            blocks = [x[i:i+rate*8//100] for i in range(0, len(x), rate*8//100)]
            for o in blocks: live.feed(o)
            live.finish()
            assert live.ids == generate_stream(model, processor, blocks)[live.given:][:len(live.ids)]
            written[d].append(live.text)
    same = sum(a == b for a,b in zip(written[device], written["cpu"]))
    assert same >= 7, written
    return f"{same} of {len(clips)} texts as on the CPU, tokens as of transformers' generate: {written[device][0]!r}"


NEEDS = {"4 bits": "bitsandbytes", "8-bit": "bitsandbytes"} # in the name of a check -> package


def report_check(name, f, device, deadline, rows, settings):
    "Run a check and report the result."
    import torch
    began, quiet = time.perf_counter(), io.StringIO()
    if missing := [p for word,p in NEEDS.items() if word in name and not importlib.util.find_spec(p)]:
        rows.append(dict(name=name, status=f"needs {missing[0]}"))
        print(f"{rows[-1]['status']}: {name}", flush=True)
        return
    if time.time() > deadline:
        rows.append(dict(name=name, status="no time"))
        print(f"no time {name}", flush=True)
        return
    try:
        with tempfile.TemporaryDirectory() as tmp, contextlib.redirect_stdout(quiet), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = dict(name=name, status="PASS", note=f(device, Path(tmp), **settings))
    except (Exception, SystemExit):
        lines = traceback.format_exc().strip().splitlines()
        row = dict(name=name, status="FAIL", note="\n".join(lines[-8:]), said=quiet.getvalue()[-500:])
    if device == "cuda": torch.cuda.empty_cache()
    row["seconds"] = round(time.perf_counter()-began, 1)
    rows.append(row)
    print(f"{row['status']} {name} ({row['seconds']} s): {row['note']}", flush=True)


def checks(device, few, minutes, k=0, of=1, only=""):
    """Checks number k, k+of, k+2*of...: a broken CUDA context takes those after it along, so several processes share
    them."""
    import transformers
    transformers.utils.logging.disable_progress_bar()
    rows, deadline = [], time.time()+60*minutes
    if few and device == "cpu": SHORT.update(LESS)
    todo = [(name, check_run, how) for name,how in training(device, few).items()]
    resumes = [("resume, lora", dict(precision="fp32", method="lora")),
               ("resume, full", dict(method="full", precision="bf16"))]
    todo += [(n, check_resume, s) for n,s in resumes[:1 if few else 2]]
    todo.append(("dry run, lora", check_dry_run, dict(method="lora")))
    if not few:
        todo += [("dry run, full", check_dry_run, dict(method="full")), ("trained models", check_models, {}),
                 ("realtime, live", check_live, {}),
                 ("resume, realtime", check_resume, dict(model_id="tiny-realtime", delays="random",
                                                        precision="fp32"))]
    if not few and device == "cuda":
        todo += [("resume, fp16", check_resume, dict(precision="fp16")), ("as on the CPU", check_like_cpu, {}),
                 ("realtime as on the CPU", check_like_cpu, dict(model_id="tiny-realtime")),
                 ("fused layers", check_kernels, {}),
                 ("fused layers, realtime", check_kernels, dict(model_id="tiny-realtime")),
                 ("compiled layers", check_compiled, {}), ("resume, 4 bits", check_resume,
                                                            dict(quantization="4bit", precision="bf16"))]
    todo = [o for o in todo if re.search(only, o[0])]
    for name,f,settings in todo[k::of]: report_check(name, f, device, deadline, rows, settings)
    return rows


# -- the real sizes

def decoding(model, processor, clips, device, tokens):
    "Seconds of a decoding step of a batch, and of reading the prompt: from `tokens` new ones and from one."
    import torch
    from gpu import sync
    from voxtral_nb.model.collator import VoxtralDataCollator
    batch = VoxtralDataCollator(processor).prompt_batch([dict(audio=c, language="en") for c in clips])
    batch = {k: v.to(next(model.parameters()).device) for k,v in batch.items()}
    def run(n):
        sync(device)
        began = time.perf_counter()
        with torch.no_grad():
            out = model.generate(**batch, max_new_tokens=n, min_new_tokens=n, do_sample=False, eos_token_id=2,
                                 pad_token_id=11)
        sync(device)
        return time.perf_counter()-began, out.shape[1]-batch["input_ids"].shape[1]
    run(2)
    first, (whole, n) = statistics.median(run(1)[0] for _ in range(3)), run(tokens)
    return dict(decode_step_ms=round(1000*(whole-first)/max(1, n-1), 2), prompt_ms=round(1000*first, 1))


def evaluation_speed(model, processor, rows, tokens):
    "Real-time factor and seconds of one evaluation: all clips in one batch, `tokens` new ones each."
    from voxtral_nb.measure.evaluation import evaluate
    evaluate(model, processor, rows[:2], max_new_tokens=2, verbose=False) # warm up
    r = evaluate(model, processor, rows, batch_size=len(rows), max_new_tokens=tokens, verbose=False)
    return dict(rtfx=round(r.rtfx, 1), took=round(r.seconds, 2), new_tokens=tokens, batch=len(rows),
                cut_off=r.truncated)


def save(model, processor, folder):
    "Write both, for the runs; the size on disk."
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return dict(gb=round(sum(p.stat().st_size for p in Path(folder).iterdir())/1e9, 2))


class Parts(dict):
    "name -> what a part came to. What `only` does not match is not done."
    def __init__(self, title, names, only, **more):
        super().__init__(more)
        self.title, self.names = title, [o for o in names if re.search(only, f"{title}: {o}")]
    def do(self, name, f, needed=False):
        if not needed and name not in self.names: return
        began = time.perf_counter()
        try: self[name] = f()
        except Exception: self[name] = dict(failed="\n".join(traceback.format_exc().strip().splitlines()[-8:]))
        print(f"{self.title}: {name} ({time.perf_counter()-began:.0f} s): {self[name]}", flush=True)


def large_place(): # folder for a model, in memory if there is enough
    shm = Path("/dev/shm")
    return shm if shm.exists() and shutil.disk_usage(shm).free > 3e10 else None


def large_run(folder, data, work, device, seconds, parts, clips, **settings):
    "A short run of a model of the real sizes: peak memory against its estimate, and speed."
    import torch
    from gpu import free
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.training.estimate import estimate_memory
    from voxtral_nb.training.trainer import train
    cfg = RunConfig(**dict(model_id=str(folder), train_data=str(data), eval_fraction=0, batch_size=min(8, clips),
                           max_steps=3, device=device, tracking="none", num_workers=0, eval_batch_size=8,
                           output_dir=str(work/f"run-{len(parts)}"), cache_dir=str(work/"cache"),
                           max_new_tokens=4*seconds+1, eval_before=False) | settings)
    free() # a trainer lies in a circle of references
    began = time.perf_counter()
    r = train(cfg, verbose=False)
    took, d = time.perf_counter()-began, json.loads((r.run_dir/"train_results.json").read_text())
    e = estimate_memory(cfg, seconds=seconds)
    return dict(peak_gb=d["peak_memory_gb"] if torch.device(device).type == "cuda" else None, train_s=round(took, 1),
                audio_rate=d["audio_rate"] and round(d["audio_rate"], 1), estimate_gb=round(e.total, 2),
                estimate_training_gb=round(e.training, 2), shape=vars(e.shape),
                **(dict(rtfx=round(r.after.rtfx, 1)) if r.after else {}))


def large(device, tiny, clips, seconds, only=""):
    "Evaluation and memory of a model of the real sizes."
    import torch, transformers
    from gpu import build_processor, build
    from voxtral_nb.data.sources import load_speech
    transformers.utils.logging.disable_progress_bar()
    cuda, few = device == "cuda", dict(max_steps=2)
    packed = cuda and importlib.util.find_spec("bitsandbytes")
    runs = dict([("lora, no cache", dict(cache="none")), ("lora, cache", dict(cache="encoder")),
                 ("lora, no cache, checkpointing", dict(cache="none", gradient_checkpointing=True)),
                 ("lora, cache, evaluation", dict(cache="encoder", eval_data=True)),
                 *([("lora, 4 bits, cache", dict(cache="encoder", quantization="4bit")),
                    ("lora, 4 bits, no cache, checkpointing",
                     dict(cache="none", quantization="4bit", gradient_checkpointing=True)),
                    ("lora, 4 bits, evaluation", dict(cache="encoder", quantization="4bit", eval_data=True)),
                    ("full, 8-bit AdamW", dict(method="full", optimizer="adamw_bnb_8bit") | few)] if packed else []),
                 # with AdamW in 32 bits it does not fit into 80 GB
                 ("full, Adafactor", dict(method="full", optimizer="adafactor") | few),
                 ("full, Adafactor, checkpointing",
                  dict(method="full", optimizer="adafactor", gradient_checkpointing=True) | few)])
    parts = Parts("large", ["evaluation", "decoding", *runs], only, clips=clips, seconds=seconds)
    if not parts.names: return parts
    tokens = 4*seconds+1
    with tempfile.TemporaryDirectory(dir=large_place()) as tmp:
        work = Path(tmp)
        folder, data = work/"model", str(make_data(work/"clips", clips, seconds))
        def without_training():
            "A separate function: the model's memory is free when it returns, and the runs load it from `folder`."
            model = build(tiny, device, torch.bfloat16 if cuda else torch.float32)
            processor = build_processor(tiny, folder)
            g = model.generation_config
            g.bos_token_id, g.eos_token_id, g.pad_token_id = 1, 2, 11
            rows = list(load_speech(data).dataset)
            parts.do("evaluation", lambda: evaluation_speed(model, processor, rows, tokens))
            parts.do("decoding", lambda: decoding(model, processor, [o["audio"] for o in rows], device, tokens))
            parts.do("saved", lambda: save(model, processor, folder), needed=True)
        without_training()
        for name,how in runs.items():
            how = how | (dict(eval_data=data) if how.get("eval_data") else {})
            parts.do(name, lambda: large_run(folder, data, work, device, seconds, parts, clips, **how))
    return parts


def live_speed(model, processor, seconds):
    """ms that a position of 80 ms of speech takes, fed one by one, and half a second at once, as by a page whose model
    is behind; and how many times faster than speech a recording is read."""
    import numpy as np
    from voxtral_nb.model.live import LiveStream
    rate = processor.feature_extractor.sampling_rate
    sound = (.1*np.random.default_rng(0).standard_normal(rate*seconds)).astype(np.float32)
    def fed(positions): # tokens are read from the device, so the time is whole
        live, took, size = LiveStream(model, processor), [], positions*rate*8//100
        for i in range(0, len(sound), size):
            began = time.perf_counter()
            live.feed(sound[i:i + size])
            took.append((time.perf_counter()-began)/positions)
        return took
    fed(1) # starts kernels
    each = [1000*o for o in fed(1)[30:]]
    return dict(seconds=seconds, one_ms=round(statistics.median(each), 2),
                one_p99_ms=round(sorted(each)[int(.99*len(each))], 2),
                six_ms=round(1000*statistics.median(fed(6)[3:]), 2),
                recording=round(.08/statistics.mean(fed(125)), 2))


def large_realtime(device, tiny, clips, seconds, only=""):
    "A Voxtral Realtime of Voxtral-Mini-4B-Realtime-2602's sizes: live speed, evaluation, and memory of runs."
    import torch, transformers
    from full_size import shape
    from measure import cut_tekken
    from realtime import spoken
    from voxtral_nb.data.sources import load_speech
    from voxtral_nb.model.tiny_realtime import make_realtime_processor
    transformers.utils.logging.disable_progress_bar()
    cuda, more = device == "cuda", dict(max_steps=4)
    runs = {"lora, cache": dict(cache="encoder"), "lora, no cache": dict(cache="none"),
            "lora, cache, joined streams": dict(cache="encoder", stream_seconds=30.),
            "lora, no cache, checkpointing": dict(cache="none", gradient_checkpointing=True)}
    if cuda and importlib.util.find_spec("bitsandbytes"):
        runs["lora, 4 bits, cache"] = dict(cache="encoder", quantization="4bit")
    parts = Parts("realtime", ["live", "evaluation", *runs], only, clips=clips, seconds=seconds)
    if not parts.names: return parts
    with tempfile.TemporaryDirectory(dir=large_place()) as tmp:
        work = Path(tmp)
        folder, data = work/"model", str(spoken(work/"clips", str(seconds), clips))
        def without_training():
            config = shape(2 if tiny else 26, 2 if tiny else 32, tiny, True)
            kind = transformers.VoxtralRealtimeForConditionalGeneration
            torch.manual_seed(0)
            with torch.device(device): model = kind._from_config(config, dtype=torch.bfloat16 if cuda else None)
            cut_tekken(work/"tekken", config.text_config.vocab_size, streaming=True)
            processor = make_realtime_processor(work/"tekken")
            g = model.eval().generation_config
            g.bos_token_id, g.eos_token_id, g.pad_token_id = 1, 2, 11
            parts["parameters"] = model.num_parameters()
            parts.do("live", lambda: live_speed(model, processor, 4 if tiny else 30))
            rows = list(load_speech(data).dataset)
            parts.do("evaluation", lambda: evaluation_speed(model, processor, rows, 448))
            if {*runs} & {*parts.names}: parts.do("saved", lambda: save(model, processor, folder), needed=True)
        without_training()
        for name,how in runs.items():
            parts.do(name, lambda: large_run(folder, data, work, device, seconds, parts, clips, **more, **how))
    return parts


def main(device, tiny, out=RESULTS, minutes=3., processes=5, few=False, only=""):
    "All checks, or those whose names `only` matches; the processes run side by side."
    from concurrent.futures import ThreadPoolExecutor
    began, say = time.time(), lambda s: print(s, flush=True)
    say(f"checks on {device}" + (", in miniature" if tiny else ""))
    result = dict(setting(smoke=tiny, device=device), checks=[])
    def some(k):
        try:
            return child(checks, timeout=60*minutes+60, show=True, inline=few and processes == 1, device=device,
                         few=few, minutes=minutes, k=k, of=processes, only=only)
        except Exception as e:
            say(f"FAIL process {k}: {str(e)[-1500:]}")
            return [dict(name=f"process {k}", status="FAIL", note=str(e)[-1500:])]
    with ThreadPoolExecutor(processes) as pool:
        for rows in pool.map(some, range(processes)):
            result["checks"] += rows
            write("gpu-checks.json", result, out)
    for f in () if tiny and few else (large, large_realtime):
        try:
            result[f.__name__] = child(f, timeout=300, show=True, inline=False, device=device, tiny=tiny,
                                       clips=4 if tiny else 16, seconds=2 if tiny else 10, only=only)
        except Exception as e:
            result[f.__name__] = dict(failed=str(e)[-1500:])
            say(result[f.__name__]["failed"])
        write("gpu-checks.json", result, out)
    result["seconds"] = round(time.time()-began)
    bad = [r for r in result["checks"] if r["status"] != "PASS"]
    n, file = len(result["checks"]), write("gpu-checks.json", result, out)
    say(f"{n-len(bad)} of {n} checks passed in {result['seconds']} s; written: {file}")
    return not bad


if __name__ == "__main__": answer_parent([checks, large, large_realtime])
