"""What the tests share. They hold what a notebook cell cannot: processes, the installed wheel, a browser, end to end
runs."""
import atexit, gc, json, os, re, shlex, shutil, subprocess, sys, tempfile, time, urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from warm import Warm

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the network; one that asks for it shall fail at once
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("VOXTRAL_NB_HISTORY", "off")  # what tests run is nobody's history
if "VOXTRAL_NB_CACHE" not in os.environ: # nobody's own cache is read or filled by a test
    os.environ["VOXTRAL_NB_CACHE"] = tempfile.mkdtemp(prefix="voxtral_nb_cache_")
    atexit.register(shutil.rmtree, os.environ["VOXTRAL_NB_CACHE"], True)

# urllib keeps the proxies that it finds at its first request; the tests ask servers of this machine only
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))


def tracked(): # paths relative to the root: tracked files, and new ones that git does not ignore
    "The files of the repository as a commit would hold them."
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True,
                         check=True, text=True).stdout
    return [p for o in sorted(set(out.split("\0"))) if o and os.path.lexists(p := ROOT/o)]


def sh(*args, cwd=None, timeout=1200, env=None, check=False):
    "Run a command without standard input; its output as text."
    r = subprocess.run([str(o) for o in args], cwd=cwd, timeout=timeout, capture_output=True, text=True,
                       stdin=subprocess.DEVNULL,
                       env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **(env or {})})
    if check:
        printed = f"{r.stdout[-4000:]}\n{r.stderr[-4000:]}"
        assert r.returncode == 0, f"{' '.join(map(str, args))} ended with {r.returncode}\n{printed}"
    return r


@contextmanager
def small_disk(path, size, needed=True):
    "A file system of `size` at `path`. Without the right to mount: None, or the test is skipped."
    path.mkdir(parents=True)
    mounted = not sh("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path).returncode
    if needed and not mounted: pytest.skip("no right to mount a small disk")
    try: yield path if mounted else None
    finally:
        if mounted: sh("umount", "-l", path, check=True)


def fill(path, leave=0):
    "Fill the disk that holds `path`, but for `leave` bytes."
    f = path/"filler"
    with open(f, "wb", buffering=0) as o:
        try:
            while True: o.write(bytes(1 << 14))
        except OSError: pass
        o.truncate(max(0, o.tell() - leave))
    return f


warm = Warm()
atexit.register(warm.close)


def command(script, *args, **how):
    "Run one of the console scripts in a process that has loaded the package; see `warm`."
    return warm.run(BIN/script, *args, **how)


def warm_env(patch):
    "Kernels begin where the package is loaded, and what they start."
    patch.setenv("JUPYTER_PATH", warm.kernels)
    for o in warm.again.items(): patch.setenv(*o)


@pytest.fixture
def warm_kernels(monkeypatch): warm_env(monkeypatch)


def last_json(text):
    "The last line of what a command printed, which is JSON."
    return json.loads(text.strip().splitlines()[-1])


def many_clips(folder, seconds, clips=10_000, different=0):
    """Manifests `100.jsonl` and `many.jsonl` in `folder`: twenty files of noise under as many names as there are
    clips, which as float32 would be gigabytes. Their words have times. `different`: this many of the last clips
    have a different sample, and with it their own entry in a cache."""
    import numpy as np
    from voxtral_nb.testing.speech import write_test_audio
    rng = np.random.default_rng(0)
    files = [write_test_audio(folder/f"clip{i}.wav", .1*rng.standard_normal(int(seconds*16_000))) for i in range(20)]
    for i in range(clips): os.link(files[i % 20], folder/f"{i:05d}.wav")
    for i in range(clips - different, clips):
        sound = bytearray(files[i % 20].read_bytes())
        sound[-4:] = i.to_bytes(4, "big")
        (folder/f"{i:05d}.wav").unlink()
        (folder/f"{i:05d}.wav").write_bytes(sound)
    text = "three seven one two nine"
    words = [dict(word=w, start=.5*k, end=.5*k + .4) for k, w in enumerate(text.split())]
    row = lambda i: json.dumps(dict(audio=f"{i:05d}.wav", text=text, language="en", speaker=f"s{i % 40}",
                                    words=words)) + "\n"
    for name, n in (("100", 100), ("many", clips)):
        (folder/f"{name}.jsonl").write_text("".join(map(row, range(n))))
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """`shared(name, make)`: the folder that `make(folder)` made, once for all of pytest's processes. Tests only read
    it. What failed is tried again by the next that asks."""
    base = tmp_path_factory.getbasetemp()
    if worker_id != "master": base = base.parent
    def folder(name, make):
        folder, made = base/f"shared_{name}", base/f"shared_{name}.made"
        with FileLock(f"{folder}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                made.touch()
        return folder
    return folder


@pytest.fixture(scope="session")
def adapted(shared):
    "The folder of a short LoRA run of the tiny model: as little as it needs to get right what it got wrong."
    def make(folder):
        from voxtral_nb.core.assets import sample_speech
        from voxtral_nb.core.config import RunConfig
        from voxtral_nb.training.trainer import train
        train(RunConfig(model_id="tiny", learning_rate=3e-3, max_steps=40, batch_size=12,
                        train_data=str(sample_speech("accent_train")), eval_data=str(sample_speech("accent_eval")),
                        max_eval_clips=20, eval_every=20, max_new_tokens=32, keywords="seven,forty-two", cache="none",
                        tracking="none", output_dir=str(folder/"accent")))
    return shared("adapted", make)/"accent"


@pytest.fixture(scope="session")
def tuned(shared):
    "The folder that the notebook of full fine-tuning leaves: a run long enough to get some of the accent right."
    def make(folder):
        from voxtral_nb.run.notebooks import run_notebook
        with pytest.MonkeyPatch.context() as patch:
            warm_env(patch)
            run_notebook("train_full", output_dir=str(folder/"run"), max_steps=24, learning_rate=2e-3, eval_every=24,
                         more=dict(max_eval_clips=20))
    return shared("tuned", make)/"run"


@pytest.fixture
def desk(lab, chrome, request):
    "A place to record at, in the server `lab` and the browser `chrome` of a file of tests."
    from recorder_page import Desk, desk_name
    d = Desk(lab, chrome, desk_name(request))
    chrome.log.clear()
    if chrome.wav: chrome.hear(chrome.wav)
    failed = request.session.testsfailed
    yield d
    d.close(keep=request.session.testsfailed == failed)


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    "A copy of the repository in which a test may write, with a git history of one commit."
    dest = tmp_path_factory.mktemp("tree")/"voxtral_nb"
    for p in tracked():
        to = dest/p.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(p, to, follow_symlinks=False)
    for c in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "copy"]):
        sh("git", *c, cwd=dest, check=True)
    return dest


# Each of pytest's processes begins with an equal part of the tests in their order, and later takes from the end of
# another's. So long ones stand at the beginning of a part: none begins when the others have nothing left to do.
LONG = re.compile("""test_(real_speech|human_digits|tutorial_walk|estimate_memory|processes|quickstart.*(tune|start$)
    |final_model|make_tiny|recorder_long|recorder.py::test_(conn|looks|story)|demo.py::test_a_space
    |studio.py::test_from|studio_tab.py::test_a_run
    |notebooks.py::.*(training/05|training/03|share/01|test_tutorial))""", re.X)

def in_parts(names, n): # ids of tests, how many processes
    "The numbers of the tests, in the order in which they are given to the processes."
    long = [i for i,o in enumerate(names) if LONG.search(o)]
    rest, order = [i for i in range(len(names)) if i not in long], []
    for k in range(n):
        part = long[k::n]
        more = max(0, (len(names) - len(order))//(n - k) - len(part))
        order += [*part, *rest[:more]]
        del rest[:more]
    return order

def pytest_collection_modifyitems(items):
    order = in_parts([o.nodeid for o in items], int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)))
    items[:] = [items[i] for i in order]

def pytest_collection_finish(): gc.freeze() # the imports of all tests are done; see warm.py


# Processor time tells more than a clock on a machine that others use too. A test that starts processes counts theirs
# when they end; the processes of a shared server count where it is closed.
def _cpu(): # s
    return sum(os.times()[:4]) + warm.cpu

def pytest_runtest_logstart(): pytest_runtest_logstart.before = _cpu()

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    item.user_properties.append(("cpu", round(_cpu() - pytest_runtest_logstart.before, 2)))
    return (yield)


# The last line of a test run is JSON, after pytest's own. With xdist only the process that collects the results prints.
def _untracked():
    return set(subprocess.run(["git", "ls-files", "-o", "--exclude-standard"], cwd=ROOT, capture_output=True,
                              text=True).stdout.splitlines())

def pytest_configure(config):
    if hasattr(config, "workerinput"): return
    config.stash_start, config.stash_files = time.time(), _untracked()
    if config.getoption("numprocesses", None): warm.share()

@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs): # its processes begin in the one that has loaded the package, too
    for o in specs: o.python = shlex.join(warm.python)

def pytest_sessionfinish(session, exitstatus):
    c = session.config
    if hasattr(c, "workerinput"): return
    if left := sorted(_untracked() - c.stash_files):
        print(f"\nThe tests left files in the repository: {', '.join(left)}")
        session.exitstatus = session.exitstatus or 1

def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    count = lambda k: len(stats.get(k, []))
    config = terminalreporter.config
    spent = {r.nodeid: dict(r.user_properties).get("cpu", 0) for k in ("", "passed", "failed", "error")
             for r in stats.get(k, []) if r.when == "teardown"}
    terminalreporter.section("most processor time, of each test with its fixtures")
    costly = sorted(spent, key=spent.get, reverse=True)
    for o in [o for o in costly if spent[o] > 5][:15]: terminalreporter.write_line(f"{spent[o]:.1f}s {o}")
    if to := os.environ.get("VOXTRAL_NB_CPU"): Path(to).write_text("".join(f"{spent[o]} {o}\n" for o in costly))
    if twice := stats.get("rerun"):
        terminalreporter.section("failed at first, and passed when run again, unless listed as failed")
        for r in twice: terminalreporter.write_line(f"{r.nodeid}\n{r.longreprtext}\n")
    slow = sorted((r for k in ("passed", "failed") for r in stats.get(k, []) if r.when == "call"),
                  key=lambda r: -r.duration)[:3]
    config.stash_result = dict(passed=count("passed"), failed=count("failed") + count("error"),
                               rerun=[r.nodeid for r in stats.get("rerun", [])], skipped=count("skipped"),
                               seconds=round(time.time() - config.stash_start),
                               cpu_seconds=round(sum(spent.values())),
                               slowest={r.nodeid: round(r.duration) for r in slow})

def pytest_unconfigure(config):
    if hasattr(config, "stash_result"): print(json.dumps(config.stash_result))
