"""Does everything that a run is made of work on this GPU? `python benchmarks/gpu.py --check` calls this.

Real runs of `voxtral_nb.train` with the tiny model: both methods, all precisions, ways of packing and levels of the
cache, checkpoints, resuming, evaluation, a dry run. Then a model of the real sizes with random weights: how fast an
evaluation is, and peak memory against `estimate_memory`. Each check passes or fails on its own. Without a GPU the same
is done on the CPU in miniature."""
import contextlib, io, json, math, shutil, statistics, tempfile, time, traceback, warnings
from pathlib import Path

from measure import RESULTS, answer_parent, child, make_data, setting, write

SHORT = dict(max_steps=6, eval_every=3, max_eval_clips=8, max_train_clips=64, batch_size=8, eval_batch_size=8,
             logging_steps=1, num_workers=0, tracking="none")


def training(device, few):
    "Name -> settings of a run."
    precisions = ("fp32", "bf16") if device == "cpu" else ("bf16", "fp16", "fp32")
    if few: precisions = ("fp32",)
    out = {f"{m} {p}, no cache": dict(method=m, precision=p, cache="none") for m in ("lora", "full")
           for p in precisions}
    p = precisions[0]
    for packing in ("none", "split")[1 if few else 0:]:
        out[f"lora {p}, packing {packing}"] = dict(method="lora", precision=p, packing=packing, cache="encoder")
        if few: continue
        out[f"full {p}, packing {packing}"] = dict(method="full", precision=p, packing=packing, cache="mel")
    if few: return out
    out["workers by default"] = dict(num_workers=None, cache="auto")
    for q in precisions[1:]: out[f"lora {q}, cache of the encoder"] = dict(precision=q, cache="encoder")
    return out | {
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
            if state.global_step == 4: raise InterruptedError("stopped by the check")
    try: train(tiny_config(work/"cut", device, **settings), verbose=False, callbacks=[Stop()])
    except InterruptedError: pass
    again = tiny_run(work/"cut", device, resume="auto", **settings)[1]
    apart = max(abs(a-b) for a,b in zip(whole, again))
    assert apart < (1e-3 if settings.get("precision") == "fp32" else .05), (whole, again)
    return f"losses are within {apart:.1e} of those of the run that was not stopped"


def check_like_cpu(device, work):
    "The same run on the CPU has the same losses."
    how = dict(precision="fp32", cache="none", lora_dropout=0.)
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


def report_check(name, f, device, deadline, rows, settings):
    "Run a check and report the result."
    import torch
    began, quiet = time.perf_counter(), io.StringIO()
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


def checks(device, few, minutes, k=0, of=1):
    """Checks number k, k+of, k+2*of...: a broken CUDA context takes those after it along, so several processes share
    them."""
    import transformers
    transformers.utils.logging.disable_progress_bar()
    rows, deadline = [], time.time()+60*minutes
    todo = [(name, check_run, how) for name,how in training(device, few).items()]
    resumes = [("resume, lora", dict(precision="fp32", method="lora")),
               ("resume, full", dict(method="full", precision="bf16"))]
    todo += [(n, check_resume, s) for n,s in resumes[:1 if few else 2]]
    todo.append(("dry run, lora", check_dry_run, dict(method="lora")))
    if not few: todo += [("dry run, full", check_dry_run, dict(method="full")), ("trained models", check_models, {})]
    if not few and device == "cuda":
        todo += [("resume, fp16", check_resume, dict(precision="fp16")), ("as on the CPU", check_like_cpu, {})]
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


def large(device, tiny, clips, seconds):
    "Evaluation and memory of a model of the real sizes."
    import torch, transformers
    from gpu import build_processor, build, free
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.training.estimate import estimate_memory
    from voxtral_nb.data.sources import load_speech
    transformers.utils.logging.disable_progress_bar()
    out, tokens, cuda = dict(clips=clips, seconds=seconds), 4*seconds+1, device == "cuda"
    shm = Path("/dev/shm")
    place = shm if shm.exists() and shutil.disk_usage(shm).free > 3e10 else None
    def part(name, f):
        began = time.perf_counter()
        try: out[name] = f()
        except Exception: out[name] = dict(failed="\n".join(traceback.format_exc().strip().splitlines()[-8:]))
        print(f"{name} ({time.perf_counter()-began:.0f} s): {out[name]}", flush=True)
    with tempfile.TemporaryDirectory(dir=place) as tmp:
        work = Path(tmp)
        folder, data = str(work/"model"), str(make_data(work/"clips", clips, seconds))
        def without_training():
            "A function of its own: the model's memory is free when it returns, and the runs load it from `folder`."
            model = build(tiny, device, torch.bfloat16 if cuda else torch.float32)
            processor = build_processor(tiny, work/"model")
            g = model.generation_config
            g.bos_token_id, g.eos_token_id, g.pad_token_id = 1, 2, 11
            rows = list(load_speech(data).dataset)
            part("evaluation", lambda: evaluation_speed(model, processor, rows, tokens))
            part("decoding", lambda: decoding(model, processor, [o["audio"] for o in rows], device, tokens))
            part("saved", lambda: save(model, processor, folder))
        without_training()
        def large_run(**settings):
            from voxtral_nb.training.trainer import train
            cfg = RunConfig(**dict(model_id=folder, train_data=data, eval_fraction=0, batch_size=min(8, clips),
                                   max_steps=3, device=device, tracking="none", num_workers=0,
                                   output_dir=str(work/f"run-{len(out)}"), cache_dir=str(work/"cache"),
                                   max_new_tokens=tokens, eval_batch_size=8) | settings)
            free() # a trainer lies in a circle of references
            began = time.perf_counter()
            r = train(cfg, verbose=False)
            took = time.perf_counter()-began
            d = json.loads((r.run_dir/"train_results.json").read_text())
            seen = dict(peak_gb=d["peak_memory_gb"] if cuda else None, train_s=round(took, 1),
                        audio_rate=d["audio_rate"] and round(d["audio_rate"], 1))
            e = estimate_memory(cfg, seconds=seconds)
            if r.after: seen["rtfx"] = round(r.after.rtfx, 1)
            return seen | dict(estimate_gb=round(e.total, 2), estimate_training_gb=round(e.training, 2),
                               shape=vars(e.shape))
        part("lora, no cache", lambda: large_run(cache="none"))
        part("lora, cache", lambda: large_run(cache="encoder"))
        part("lora, no cache, checkpointing", lambda: large_run(cache="none", gradient_checkpointing=True))
        part("lora, cache, evaluation", lambda: large_run(cache="encoder", eval_data=data, eval_before=False))
        # with AdamW it does not fit into 80 GB
        part("full, Adafactor", lambda: large_run(method="full", optimizer="adafactor", max_steps=2))
        part("full, Adafactor, checkpointing",
             lambda: large_run(method="full", optimizer="adafactor", max_steps=2, gradient_checkpointing=True))
    return out


def main(device, tiny, out=RESULTS, minutes=3., processes=3, few=False):
    "All checks; the processes run side by side."
    from concurrent.futures import ThreadPoolExecutor
    began, say = time.time(), lambda s: print(s, flush=True)
    say(f"checks on {device}" + (", in miniature" if tiny else ""))
    result = dict(setting(smoke=tiny, device=device), checks=[])
    def some(k):
        try:
            return child(checks, timeout=60*minutes+60, show=True, inline=few and processes == 1, device=device,
                         few=few, minutes=minutes, k=k, of=processes)
        except Exception as e:
            say(f"FAIL process {k}: {str(e)[-1500:]}")
            return [dict(name=f"process {k}", status="FAIL", note=str(e)[-1500:])]
    with ThreadPoolExecutor(processes) as pool:
        for rows in pool.map(some, range(processes)):
            result["checks"] += rows
            write("gpu-checks.json", result, out)
    if not (tiny and few):
        try:
            result["large"] = child(large, timeout=240, show=True, inline=False, device=device, tiny=tiny,
                                    clips=4 if tiny else 16, seconds=2 if tiny else 10)
        except Exception as e:
            result["large"] = dict(failed=str(e)[-1500:])
            say(result["large"]["failed"])
    result["seconds"] = round(time.time()-began)
    bad = [r for r in result["checks"] if r["status"] != "PASS"]
    n, file = len(result["checks"]), write("gpu-checks.json", result, out)
    say(f"{n-len(bad)} of {n} checks passed in {result['seconds']} s; written: {file}")
    return not bad


if __name__ == "__main__": answer_parent([checks, large])
