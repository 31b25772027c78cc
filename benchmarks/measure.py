"""What the benchmarks share: a separate process for each measurement, its peak memory, the machine, synthetic
speech-like data, tables."""
import base64, json, os, platform, re, statistics, subprocess, sys, tempfile, wave
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE/"results"
DIGITS = dict(en="zero one two three four five six seven eight nine".split(),
              fr="zéro un deux trois quatre cinq six sept huit neuf".split(),
              it="zero uno due tre quattro cinque sei sette otto nove".split(),
              es="cero uno dos tres cuatro cinco seis siete ocho nueve".split())


# -- processes and memory

def _status() -> dict: # kB
    return {k: int(v) for k,v in re.findall(r"(VmHWM|VmRSS):\s+(\d+)", Path("/proc/self/status").read_text())}

def reset_peak() -> float: # MB in use now
    "Begin to watch the peak memory of this process. Linux only."
    try: Path("/proc/self/clear_refs").write_text("5")
    except OSError as e: print(f"the peak counts from the start of the process: {e}", file=sys.stderr)
    return _status()["VmRSS"]/1024

def peak() -> float: # MB
    "The most memory that this process has held since `reset_peak`."
    return _status()["VmHWM"]/1024

def child(
    f, # a function of a script that ends in `answer_parent`
    timeout=3600, # s
    show=False, # let it print?
    inline=False, # do it here after all: faster, for checks of the code
    **kwargs, # its arguments, as JSON can hold them
): # what it returned
    "Call a function in its own process, so that memory and caches of one measurement are not another's."
    if inline: return f(**kwargs)
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp)/"out.json"
        env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", TOKENIZERS_PARALLELISM="false", PYTHONWARNINGS="ignore")
        call = json.dumps(dict(name=f.__name__, out=str(out), kwargs=kwargs))
        p = subprocess.run([sys.executable, f.__code__.co_filename, "--child", call], env=env, timeout=timeout,
                           stdout=None if show else subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if p.returncode or not out.exists():
            raise RuntimeError(
                f"{f.__name__}({kwargs}) ended with {p.returncode}:\n{(p.stdout or '')[-2000:]}\n{p.stderr[-4000:]}")
        return json.loads(out.read_text())

def answer_parent(
    functions, # those that `child` may call
) -> bool: # was this process started by `child`?
    "Do what `child` asked for."
    if len(sys.argv) < 3 or sys.argv[1] != "--child": return False
    call = json.loads(sys.argv[2])
    result = {f.__name__: f for f in functions}[call["name"]](**call["kwargs"])
    Path(call["out"]).write_text(json.dumps(result))
    return True


# -- the machine

def _cpu() -> str:
    try: return re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())[1].strip()
    except (OSError, TypeError): return platform.processor() or platform.machine()

def _commit() -> str:
    "Commit of the code; where there is no repository, what a file `COMMIT` at its root says."
    def git(*args):
        return subprocess.run(["git", *args], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()
    try:
        changes = git("status", "--porcelain", "--untracked-files=no", "--", "../voxtral_nb", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.SubprocessError): pass
    try: return (HERE.parent/"COMMIT").read_text().strip() or "unknown"
    except OSError: return "unknown"

def setting(
    **more, # what else there is to say of the run
) -> dict:
    "What a figure depends on: machine, date, versions, commit."
    from importlib.metadata import version
    import torch
    packages = ("torch", "transformers", "peft", "mistral-common", "voxtral_nb")
    return dict(date=datetime.now(timezone.utc).strftime("%Y-%m-%d"), cpu=_cpu(), cores=os.cpu_count(),
                threads=torch.get_num_threads(),
                memory_gib=round(os.sysconf("SC_PAGE_SIZE")*os.sysconf("SC_PHYS_PAGES")/2**30, 1), commit=_commit(),
                versions=dict(python=platform.python_version(), **{o: version(o) for o in packages}), **more)


# -- models and data

def cut_tekken(
    folder, # where it is written
    size=32_768, # ids, control tokens included
    window_seconds=30, n_mels=128, n_control=1000,
    streaming=False, # of Voxtral Realtime
): # the file
    "Voxtral's real vocabulary, its most frequent tokens only."
    import mistral_common
    from voxtral_nb.model.tiny import write_tekken
    from voxtral_nb.model.tiny_realtime import write_realtime_tekken
    d = json.loads((Path(mistral_common.__file__).parent/"data"/"tekken_240911.json").read_text(encoding="utf-8"))
    d["vocab"] = d["vocab"][:size-n_control]
    d["config"] |= dict(num_vocab_tokens=size-n_control, default_vocab_size=size)
    source = Path(folder)/"cut.json"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(json.dumps(d), encoding="utf-8")
    try:
        if streaming: return write_realtime_tekken(folder, n_control=n_control, source=source)
        return write_tekken(folder, window_seconds, n_mels, n_control, source)
    finally: source.unlink()

def save_model(
    folder, # where
    vocab_size=32_768, hidden_size=256, layers=4, window_seconds=30,
): # number of parameters
    "A Voxtral of random weights, and its processor."
    from voxtral_nb.model.tiny import make_processor, make_tiny_model
    cut_tekken(folder, vocab_size, window_seconds)
    processor = make_processor(folder)
    model = make_tiny_model(window_seconds=window_seconds, hidden_size=hidden_size, encoder_layers=layers,
                            decoder_layers=layers, vocab_size=vocab_size)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())

def words(
    size=31_768, # of the vocabulary, without control tokens
) -> list[str]:
    "Tokens that are words, a space before them."
    import mistral_common
    d = json.loads((Path(mistral_common.__file__).parent/"data"/"tekken_240911.json").read_text(encoding="utf-8"))
    texts = (base64.b64decode(o["token_bytes"]) for o in d["vocab"][1000:size])
    return [t.decode() for t in texts if re.fullmatch(rb" [a-z]{2,}", t)]

def mixed(n, seed=0): # s
    "Lengths of clips as in collections of read speech: many short ones, few long ones."
    import numpy as np
    x = np.random.default_rng((n, seed)).beta(1.2, 3, n)
    return (1 + 14*(x/x.mean()*2/7).clip(0, 1)).round(2).tolist()

def make_data(
    folder, # where
    n, # clips
    seconds, # length of each, or all lengths; "mix": 1 to 15 s, 5 on average
    seed=0,
    tokens_a_second=4, # of transcript: about 2.5 English words
): # data.jsonl
    "Noise with transcripts of random words: what is in them does not change what they cost."
    import numpy as np
    rng, folder, known = np.random.default_rng(seed), Path(folder), words()
    (folder/"wavs").mkdir(parents=True, exist_ok=True)
    with open(folder/"data.jsonl", "w") as f:
        lengths = mixed(n, seed) if seconds == "mix" else seconds if isinstance(seconds, list) else [seconds]*n
        for i,seconds in enumerate(lengths):
            x = (3000*rng.standard_normal(round(seconds*16000))).clip(-32768, 32767).astype("<i2")
            with wave.open(str(folder/"wavs"/f"{i:05}.wav"), "wb") as w:
                w.setnchannels(1)
                w.setsampwidth(2)
                w.setframerate(16000)
                w.writeframes(x.tobytes())
            spoken = rng.integers(len(known), size=max(1, round(seconds*tokens_a_second)))
            text = "".join(known[j] for j in spoken).strip()
            f.write(json.dumps(dict(audio_path=f"wavs/{i:05}.wav", text=text, language="en", duration=seconds))+"\n")
    return folder/"data.jsonl"

def read_data(
    manifest, # from `make_data`
) -> tuple[list[str],list[str]]: # paths, transcripts
    "What the recipe is given."
    rows = [json.loads(l) for l in Path(manifest).read_text().splitlines()]
    return [str(Path(manifest).parent/r["audio_path"]) for r in rows], [r["text"] for r in rows]


# -- figures

def spread(xs) -> dict: # median and range
    return dict(median=round(statistics.median(xs), 4), low=round(min(xs), 4), high=round(max(xs), 4), n=len(xs))

def table(
    head, # names of the columns
    rows, # of text or numbers
) -> str: # Markdown
    "Figures for a page."
    text = lambda c: str(c) if not isinstance(c, float) else f"{c:,.3g}" if abs(c) < 1000 else f"{c:,.0f}"
    cells = [[text(c) for c in r] for r in rows]
    width = [max(len(r[i]) for r in [head, *cells]) for i in range(len(head))]
    line = lambda r: "| " + " | ".join(c.rjust(w) for c,w in zip(r, width)) + " |"
    return "\n".join([line(head), "|" + "|".join("-"*(w+1)+":" for w in width) + "|", *map(line, cells)])

def write(name, result, out=RESULTS):
    "Put a result where the docs look for it."
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tmp = out/f".{name}.part"
    tmp.write_text(json.dumps(result, indent=1)+"\n")
    tmp.replace(out/name)
    return out/name
