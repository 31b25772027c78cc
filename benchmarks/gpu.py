"""The public recipe against our engine on one GPU, for a model of the sizes of Voxtral-Mini-3B-2507 with random
weights: nothing is downloaded.

    python benchmarks/gpu.py [--methods lora full] [--seconds 1 3 10 28] [--clips-a-step 32] [--minutes 8]
                             [--also plain compiled]
    python benchmarks/gpu.py --check

A step is one optimizer update on the same number of clips for both, forward, backward and AdamW, in bf16, from batches
that are ready on the GPU. It is cut into micro-batches, of 8 clips and twice as many each time until that is no faster
or does not fit (of fewer, where 8 do not fit); each engine is shown at its fastest. Peak memory is compared at the same
micro-batch. With LoRA ours may train from its feature cache (`cache="auto"` decides, for three epochs): the time to
build it is measured on its own and is in the figure of a run, three epochs, but for the fingerprint of the weights,
some seconds once. `--also` measures ours with LoRA in other ways besides: with plain layers, and with compiled ones.
What preparing the batches takes on the CPU, in one process, is in the JSON (`collate_ms`). MFU:
floating point operations that the step executed (counted by PyTorch), by its time, over the fastest bf16 matrix product
measured on the same device. With full fine-tuning both keep weights and AdamW's states in bf16. Without a GPU a few
tiny cells are computed on the CPU, to see that the code works; the figures then mean nothing."""
import argparse, gc, json, statistics, sys, tempfile, time
from pathlib import Path

from measure import RESULTS, answer_parent, child, cut_tekken, make_data, read_data, setting, table, write

# config.json of mistralai/Voxtral-Mini-3B-2507
MINI = dict(audio=dict(vocab_size=51866, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32,
                       num_attention_heads=20, num_mel_bins=128, max_source_positions=1500),
            text=dict(vocab_size=131_072, hidden_size=3072, intermediate_size=8192, num_hidden_layers=30,
                      num_attention_heads=32, num_key_value_heads=8, head_dim=128, max_position_embeddings=131_072,
                      rms_norm_eps=1e-5, rope_theta=1e8))
TINY = dict(audio=dict(vocab_size=2048, hidden_size=64, intermediate_size=256, num_hidden_layers=1,
                       num_attention_heads=2, num_mel_bins=128, max_source_positions=1500),
            text=dict(vocab_size=2048, hidden_size=64, intermediate_size=128, num_hidden_layers=1,
                      num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=4096,
                      rms_norm_eps=1e-5, rope_theta=1e8))

EPOCHS = 3 # of a run


def build(tiny, device, dtype):
    "The model, made where it is to be used."
    import torch
    from transformers import VoxtralConfig, VoxtralForConditionalGeneration
    sizes = TINY if tiny else MINI
    config = VoxtralConfig(audio_config=dict(model_type="voxtral_encoder", **sizes["audio"]), audio_token_id=24,
                           projector_hidden_act="gelu",
                           text_config=dict(model_type="llama", bos_token_id=1, eos_token_id=2, pad_token_id=11,
                                            tie_word_embeddings=False, **sizes["text"]))
    torch.manual_seed(0)
    with torch.device(device):
        return VoxtralForConditionalGeneration._from_config(config, dtype=dtype, attn_implementation="sdpa")


def build_processor(tiny, folder):
    "The processor of the model: the real vocabulary, and windows of 30 s."
    from voxtral_nb.model.tiny import make_processor
    cut_tekken(folder, 2048 if tiny else 131_072)
    return make_processor(folder)


def sync(device):
    import torch
    if device == "cuda": torch.cuda.synchronize()


def free():
    import torch
    gc.collect()
    if torch.cuda.is_available(): torch.cuda.empty_cache()


# -- in their own processes

def matmul_peak(device):
    "TFLOP/s of the fastest large matrix product."
    import torch
    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (512, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for k in range(40 if device == "cuda" else 5):
        sync(device)
        began = time.perf_counter()
        a @ b
        sync(device)
        times.append(time.perf_counter()-began)
    flops = 2*size**3/1e12
    name, memory = "cpu", None
    if device == "cuda":
        name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory/1e9
    return dict(device=name, memory_gb=memory and round(memory, 1), size=size, dtype=str(dtype)[6:],
                best=round(flops/min(times[3:]), 3), median=round(flops/statistics.median(times[3:]), 3),
                cuda=torch.version.cuda)


ALSO = dict(plain=dict(kernels="plain"), compiled=dict(compile="on"))


class Recipe:
    "The published way: see recipe.py."
    def __init__(self, model, processor, method, work):
        from recipe import RecipeCollator, recipe_model
        self.model, self.collate, self.built = recipe_model(model, method), RecipeCollator(processor), None
    def rows(self, manifest, micro): return [dict(audio=a, text=t) for a,t in zip(*read_data(manifest))]
    def loss(self, batch): return self.model(**batch).loss


class Ours:
    "The pieces that `voxtral_nb.train` is made of."
    def __init__(self, model, processor, method, work, **settings):
        from voxtral_nb.core.config import RunConfig
        from voxtral_nb.model.kernels import compile_layers, use_kernels
        from voxtral_nb.model.prepare import prepare_model
        from voxtral_nb.training.trainer import VoxtralTrainer, ClipStream, training_arguments
        dtype, device = next(model.parameters()).dtype, next(model.parameters()).device.type
        self.cfg = RunConfig(model_id="benchmark", train_data="benchmark", method=method, output_dir=str(work/"run"),
                             cache_dir=str(work/"cache"), tracking="none", num_workers=0, language="en", device=device,
                             eval_batch_size=16, **settings)
        self.model, self.processor = prepare_model(model, self.cfg, verbose=False).train(), processor
        use_kernels(self.model, self.cfg)
        if method == "full": self.model.to(dtype) # prepare_model has made them float32: 75 GB with AdamW's states
        self.trainer = VoxtralTrainer(self.model, training_arguments(self.cfg, 1, False), cfg=self.cfg,
                                      processor=processor, stream=ClipStream([{}], lambda k: [0]))
        self.collate, self.built, self.took = self.trainer.data_collator, None, {}
        if self.cfg.compile == "on": assert compile_layers(self.model, lambda: None)
        self._fingerprint_once()
    def _fingerprint_once(self):
        """A run takes the fingerprint of the encoder's weights once; here each cell would: remember it, and how long it
        took."""
        from voxtral_nb.model import cache
        whole, known, self.fingerprint = cache.weights_fingerprint, {}, 0.
        def once(modules):
            if (k := tuple(modules)) not in known:
                began = time.perf_counter()
                known[k] = whole(modules)
                self.fingerprint += time.perf_counter()-began
            return known[k]
        cache.weights_fingerprint = once
    def rows(self, manifest, micro):
        """The clips, from the cache if `cache='auto'` takes it for three epochs in batches of `micro`. `built`: what
        making it took, s a clip."""
        from voxtral_nb.model.cache import cache_rows
        data = [json.loads(l) for l in Path(manifest).read_text().splitlines()]
        rows = [dict(audio=str(Path(manifest).parent/r["audio_path"]), text=r["text"], language="en",
                     duration=r["duration"]) for r in data]
        device, say = self.trainer.args.device.type, lambda s: print("  "+s, flush=True)
        sync(device)
        began = time.perf_counter()
        kept = cache_rows(rows, self.model, self.processor, self.cfg.replace(batch_size=micro), say, passes=EPOCHS,
                          verbose=False)
        sync(device)
        # another time it is there already
        if kept is not rows: self.took.setdefault(manifest, (time.perf_counter()-began)/len(rows))
        self.built = None if kept is rows else self.took[manifest]
        return kept
    def loss(self, batch): return self.trainer.compute_loss(self.model, batch)


def step_time(engine, batches, opt, device, repeats):
    "Seconds of each of `repeats` optimizer steps, after one of two micro-batches that is not counted."
    import torch
    times = []
    for some in [batches[:2], *[batches]*repeats]:
        sync(device)
        began = time.perf_counter()
        for b in some:
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"): loss = engine.loss(b)
            (loss/len(some)).backward()
        opt.step()
        opt.zero_grad()
        sync(device)
        times.append(time.perf_counter()-began)
    return times[1:]


def grouped_attention():
    """Formulas for attention kernels, for `FlopCounterMode`: those of some PyTorch versions refuse fewer heads of keys
    and values than of queries."""
    import torch
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count
    def heads_of(q, x): return (x[0], q[1], *x[2:])
    def forward(q, k, v, *args, out_shape=None, **kwargs): return sdpa_flop_count(q, heads_of(q, k), heads_of(q, v))
    def backward(grad, q, k, v, *args, out_shape=None, **kwargs):
        return sdpa_backward_flop_count(grad, q, heads_of(q, k), heads_of(q, v))
    names = [f"_scaled_dot_product_{o}_attention" for o in ("flash", "efficient", "cudnn")]
    return {getattr(torch.ops.aten, n+end): f for n in names for end,f in (("", forward), ("_backward", backward))
            if hasattr(torch.ops.aten, n+end)}


def flops_of(engine, batch, device): # TFLOP
    "What one forward and backward pass executes."
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    count = FlopCounterMode(display=False, custom_mapping=grouped_attention())
    with count, torch.autocast(device, torch.bfloat16, enabled=device == "cuda"): engine.loss(batch).backward()
    return count.get_total_flops()/1e12


def micro_cell(engine, rows, micro, clips, opt, device, repeats, seconds):
    "Figures of one step in micro-batches of `micro` clips."
    import torch
    free()
    if device == "cuda": torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    batches = [engine.collate([rows[i] for i in range(k, k+micro)]) for k in range(0, clips, micro)]
    collated = time.perf_counter()-began
    batches = [{k: v.to(device) for k,v in b.items()} for b in batches]
    times = step_time(engine, batches, opt, device, repeats)
    peak = torch.cuda.max_memory_allocated()/1e9 if device == "cuda" else None
    step, tflop = statistics.median(times), None
    # clips and transcripts are of one length, and so are the batches; without the count the times are still good
    try: tflop = len(batches)*flops_of(engine, batches[0], device)
    except Exception as e: print(f"  operations not counted: {type(e).__name__}: {str(e).splitlines()[0]}", flush=True)
    opt.zero_grad()
    return dict(status="ok", step=round(step, 4), step_low=round(min(times), 4), step_high=round(max(times), 4),
                audio_rate=round(clips*seconds/step, 2), tflop=tflop and round(tflop, 4),
                tflops=tflop and round(tflop/step, 3), peak_gb=peak and round(peak, 2),
                collate_ms=round(1000*collated/clips, 2))


def cells(engine, method, seconds, clips, tiny, device, deadline, repeats):
    "All cells of one engine and method: clip lengths, and micro-batches until they are no faster or do not fit."
    import torch
    say = lambda s: print(s, flush=True)
    out, dtype = [], torch.bfloat16 if device == "cuda" else torch.float32
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        data = {s: make_data(work/f"clips-{s}", clips, s) for s in seconds}
        began = time.time()
        try:
            model, processor = build(tiny, device, dtype), build_processor(tiny, work/"tokenizer")
            n = sum(p.numel() for p in model.parameters())
            e = (Recipe(model, processor, method, work) if engine == "recipe" else
                 Ours(model, processor, method, work, **ALSO.get(engine, {})))
            trained = sum(p.numel() for p in e.model.parameters() if p.requires_grad)
            opt = torch.optim.AdamW([p for p in e.model.parameters() if p.requires_grad], lr=1e-7,
                                    fused=device == "cuda")
            say(f"{engine}, {method}: {n:,} parameters, {trained:,} trained, ready after {time.time()-began:.0f} s")
            warm = e.rows(make_data(work/"warm", 1, 2, seed=9), 1)
            # from now on AdamW's states are there
            step_time(e, [{k: v.to(device) for k,v in e.collate([warm[0]]).items()}], opt, device, 1)
        except torch.OutOfMemoryError as err:
            say(f"{engine}, {method}: OOM before the first step: {str(err).splitlines()[0]}")
            return [dict(engine=engine, method=method, seconds=s, micro=4, status="OOM") for s in seconds]
        for s in seconds:
            best, micro = 0., min(8, clips)
            while 0 < micro <= clips:
                cell = dict(engine=engine, method=method, seconds=s, micro=micro, parameters=n, trained=trained)
                if time.time() > deadline: cell["status"] = "no time"
                else:
                    try:
                        cell |= micro_cell(e, e.rows(data[s], micro), micro, clips, opt, device, repeats, s)
                        cell |= dict(build=e.built and round(e.built, 5),
                                     fingerprint=round(getattr(e, "fingerprint", 0), 2))
                    except torch.OutOfMemoryError: cell["status"] = "OOM"
                    if cell["status"] == "OOM":
                        opt.zero_grad(set_to_none=True)
                        free()
                out.append(cell)
                ok = cell["status"] == "ok"
                say(f"  {s:>3} s, micro-batch {micro:>2}: "
                    + (f"{cell['audio_rate']:9.1f} audio-s/s, {cell['tflops'] or 0:6.1f} TFLOP/s, "
                       f"peak {cell['peak_gb'] or 0:5.1f} GB" if ok else cell["status"]))
                # smaller ones, until one fits
                if cell["status"] == "OOM" and not best and micro > 2:
                    micro //= 2
                    continue
                if not ok or cell["audio_rate"] < 1.03*best or micro < min(8, clips): break
                best, micro = cell["audio_rate"], micro*2
    return out


# -- figures

def compare(rows, clips, peak):
    """One line for each method and clip length: each engine at its fastest, memory at the largest micro-batch that both
    did."""
    out = []
    for method, s in dict.fromkeys((r["method"], r["seconds"]) for r in rows):
        mine = {w: {r["micro"]: r for r in rows if (r["engine"], r["method"], r["seconds"]) == (w, method, s)}
                for w in ("recipe", "ours")}
        one = dict(method=method, seconds=s)
        for who,rs in mine.items():
            ok = [r for r in rs.values() if r["status"] == "ok"]
            if not ok:
                one[who] = dict(status=next((r["status"] for r in rs.values()), "no time"))
                continue
            b = max(ok, key=lambda r: r["audio_rate"])
            run = EPOCHS*s/(EPOCHS*b["step"]/clips + (b["build"] or 0))
            one[who] = dict(status="ok", micro=b["micro"], audio_rate=b["audio_rate"], run_rate=round(run, 2),
                            mfu=b["tflops"] and round(b["tflops"]/peak, 4), peak_gb=b["peak_gb"])
        both = [m for m in mine["recipe"] if m in mine["ours"]
                and mine["recipe"][m]["status"] == mine["ours"][m]["status"] == "ok"]
        if both:
            m = max(both)
            peaks, ratio = {w: mine[w][m]["peak_gb"] for w in mine}, lambda k: round(one["ours"][k]/one["recipe"][k], 2)
            one |= dict(times_steady=ratio("audio_rate"), times_run=ratio("run_rate"), same_micro=m, peak_gb=peaks,
                        memory=peaks["ours"] and round(peaks["ours"]/peaks["recipe"], 3))
        out.append(one)
    return out


def show(result):
    head = ["method", "clip s", "recipe", "micro", "MFU", "ours", "with cache made", "micro", "MFU", "faster",
            "with cache", "recipe GB", "ours GB", "at micro"]
    def line(r):
        a, b = r["recipe"], r["ours"]
        def cells_of(o, *keys):
            if o["status"] != "ok": return [o["status"], *[""]*(len(keys)-1)]
            return ["-" if o[k] is None else f"{o[k]:.1%}" if k == "mfu" else o[k] for k in keys]
        more = [""]*5
        if "same_micro" in r:
            more = [f"{r['times_steady']}x", f"{r['times_run']}x",
                    *(r["peak_gb"][w] or "-" for w in ("recipe", "ours")), r["same_micro"]]
        return [r["method"], r["seconds"], *cells_of(a, "audio_rate", "micro", "mfu"),
                *cells_of(b, "audio_rate", "run_rate", "micro", "mfu"), *more]
    p = result["peak"]
    return (f"audio-seconds per second on {p['device']}, {result['date']}; {p['dtype']} matrix product "
            f"{p['best']} TFLOP/s; steps of {result['clips_a_step']} clips"
            + (" (tiny, on the CPU: a check of the code, not a measurement)" if result["smoke"] else "") + "\n\n"
            + table(head, [line(r) for r in result["compared"]]))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--methods", nargs="+", default=["lora", "full"], choices=["lora", "full"])
    p.add_argument("--seconds", nargs="+", type=int, default=[1, 3, 10, 28])
    p.add_argument("--clips-a-step", type=int, default=32)
    p.add_argument("--minutes", type=float, default=8, help="after that no more cells are begun")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--also", nargs="*", default=[], choices=[*ALSO], help="ours with LoRA in other ways, besides")
    p.add_argument("--out", type=Path, default=RESULTS)
    p.add_argument("--smoke", action="store_true", help="tiny, on the CPU, as without a GPU")
    p.add_argument("--check", action="store_true",
                   help="no measurement: does everything that a run is made of work on this GPU? (gpu_check.py)")
    p.add_argument("--only", default="", help="with --check: a regular expression, of the names of checks")
    p.add_argument("--few", action="store_true", help="with --check: the most important checks only")
    a = p.parse_args()
    import torch
    say = lambda s: print(s, flush=True)
    tiny = a.smoke or not torch.cuda.is_available()
    device = "cpu" if tiny else "cuda"
    if a.check:
        import gpu_check
        minutes = 60 if tiny else min(a.minutes, 3) # device time is short, a slow CPU is not in a hurry
        sys.exit(not gpu_check.main(device, tiny, a.out, minutes, 1 if tiny or a.few else 5, a.few, a.only))
    if tiny:
        say(("" if a.smoke else "no GPU: ") + "a tiny model on the CPU, to check the code")
        a.seconds, a.clips_a_step, a.repeats = [1, 10], 4, 1
    began, todo = time.time(), [(w, m) for m in a.methods for w in ("recipe", "ours")]
    todo += [(o, "lora") for o in a.also]
    peak = child(matmul_peak, inline=tiny, device=device)
    say(f"{peak['device']}: {peak['best']} TFLOP/s ({peak['dtype']} matrix product of {peak['size']})")
    result = dict(setting(smoke=tiny), clips_a_step=a.clips_a_step, peak=peak, cells=[], failed={})
    for k,(who,method) in enumerate(todo):
        left = began + 60*a.minutes - time.time()
        try:
            got = child(cells, timeout=max(120, left+120), show=True, inline=tiny, engine=who, method=method,
                        seconds=a.seconds, clips=a.clips_a_step,
                         tiny=tiny, device=device, deadline=time.time() + max(0, left)/(len(todo)-k), repeats=a.repeats)
        except Exception as e: # the other engine's figures are still of use
            got, result["failed"][f"{who}, {method}"] = [], str(e)[-1500:]
            say(f"{who}, {method} failed: {str(e)[-1500:]}")
        result["cells"] += got
        result["compared"] = compare(result["cells"], a.clips_a_step, peak["best"])
        if not tiny: write("gpu.json", result, a.out) # so far
    result["seconds"] = round(time.time()-began)
    say(show(result))
    say(f"{result['seconds']} s; written: {write('gpu-check.json' if tiny else 'gpu.json', result, a.out)}")
    if result["failed"]: sys.exit(1)
    return result


if __name__ == "__main__":
    if not answer_parent([matmul_peak, cells]): main()
