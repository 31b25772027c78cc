"""A Python that has loaded the package: scripts begin in it without the seconds that torch and transformers take to
import.

    r = warm("import sys; print(sys.argv[1:])", "a") # r.returncode, r.stdout, r.stderr
    p = subprocess.Popen([*warm.python, script, "a"]) # as python script a
    warm(code, env=warm.again) # what it starts by sys.executable begins there too

One process imports, and forks for each script and for each process of pytest. A script has its own process: it may
be killed, fail and change what it likes. What depends on how Python starts, as imports do, is for `sh`."""
import atexit, faulthandler, fcntl, gc, importlib, io, json, multiprocessing.spawn, os, runpy, select, shlex, shutil
import signal, socket, subprocess, sys, tempfile, threading, time
from collections import Counter
from pathlib import Path

PYTHON = sys.executable
SHARED = "VOXTRAL_NB_WARM" # the folder of one that several processes use
WORKER = "PYTEST_XDIST_WORKER"

# What stands for a script where it was started: it hands over its files, passes signals on, and ends as the script does
CLIENT = """import json, os, signal, socket, sys
files = [o for o in map(int, os.listdir("/dev/fd")) if os.path.exists(f"/dev/fd/{o}")]
passed = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
signal.pthread_sigmask(signal.SIG_BLOCK, passed)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
job = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ), files]).encode()
socket.send_fds(s, [len(job).to_bytes(4, "big")], files)
s.sendall(job)
pid = int.from_bytes(s.recv(4), "big")
name = os.path.join(os.path.dirname(sys.argv[1]), f"{os.getpid()}.pid")
with open(f"{name}.new", "w") as f: f.write(str(pid))
os.replace(f"{name}.new", name)
def on(n, _):
    try: os.kill(pid, n)
    except ProcessLookupError: pass # it has ended
for o in passed: signal.signal(o, on)
signal.pthread_sigmask(signal.SIG_UNBLOCK, passed)
if not (end := s.recv(4)): sys.exit("warm: the process that forks has ended")
if (status := int.from_bytes(end, "big", signed=True)) < 0:
    if -status != signal.SIGKILL: signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)"""


class Warm:
    "The process that forks; it starts with the first script. Where pytest has several processes, they have one of it."
    def __init__(self, python=PYTHON, **env): # of a Python that can import the package
        self.executable, self.env, self.process, self.folder, self.ready = python, env, None, None, False

    def start(self):
        "Begin to import."
        self.folder = Path(tempfile.mkdtemp(prefix="voxtral_nb_warm_"))
        (self.folder/"client.py").write_text(CLIENT)
        (self.folder/"python").write_text(f'#!/bin/sh\nexec {shlex.join(self.command)} "$@"\n')
        (self.folder/"python").chmod(0o755)
        spec = dict(argv=[*self.command, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python",
                    display_name="Python 3")
        (self.folder/"kernels"/"python3").mkdir(parents=True)
        (self.folder/"kernels"/"python3"/"kernel.json").write_text(json.dumps(spec))
        self.process = subprocess.Popen([self.executable, __file__, self.folder/"socket"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, # no file: a job's output may be one that has no places
                                        start_new_session=True,
                                        env={**os.environ, "OMP_NUM_THREADS": "1", **self.env})

    def share(self):
        "Start it for the processes that this one starts."
        self.start()
        os.environ[SHARED] = str(self.folder)

    @property
    def python(self):
        "What stands in place of `python` in a command."
        if self.folder is None:
            if SHARED in os.environ and self.executable == PYTHON: self.folder = Path(os.environ[SHARED])
            else: self.start()
        if not self.ready: self.wait()
        return self.command

    def wait(self):
        "Until it has imported."
        end = time.monotonic() + 600
        while not self.answers():
            assert self.process is None or self.process.poll() is None, "the process that forks has ended"
            assert time.monotonic() < end, "the process that forks did not begin within 600 s"
            time.sleep(.05)
        self.ready = True

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s: return not s.connect_ex(str(self.folder/"socket"))

    @property
    def command(self): return [PYTHON, "-I", "-S", str(self.folder/"client.py"), str(self.folder/"socket")]

    @property
    def again(self):
        "The environment with which what a script starts by `sys.executable` begins in it too."
        return dict(WARM_PYTHON=f"{self.python and self.folder}/python")

    def job(self, pid):
        "The process of a script, by that of what `python` started; None before it has begun."
        f = self.folder/f"{pid}.pid"
        return int(f.read_text()) if f.exists() else None

    @property
    def kernels(self):
        "A `JUPYTER_PATH` with which kernels named python3 begin in it too."
        return self.python and str(self.folder)

    def __call__(self, code, *args, cwd=None, env=None, timeout=1200, check=False):
        "Run a script with these arguments, without standard input: its exit status and what it printed."
        return self.run("-c", code, *args, cwd=cwd, env=env, timeout=timeout, check=check)

    def run(self, *args, cwd=None, env=None, timeout=1200, check=False):
        "The same for what follows `python`: `-m` and a module, or a file."
        env = {**os.environ, **{k: str(v) for k, v in (env or {}).items()}}
        r = subprocess.run([*self.python, *map(str, args)], cwd=cwd, env=env, timeout=timeout, capture_output=True,
                           text=True, encoding="utf-8", stdin=subprocess.DEVNULL)
        assert not check or r.returncode == 0, f"it ended with {r.returncode}\n{r.stdout[-4000:]}\n{r.stderr[-4000:]}"
        return r

    @property
    def cpu(self): # s of processor time
        "What the scripts took that ended so far, of those that this process of pytest started."
        f = self.folder and self.folder/f"cpu-{os.environ.get(WORKER)}"
        return float(f.read_text()) if f and f.exists() else 0.

    def close(self):
        "End the process, and what it is running."
        if self.process is None: return
        self.process.stdin.close()
        try: self.process.wait(10)
        except subprocess.TimeoutExpired: os.killpg(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.process, self.folder, self.ready = None, None, False


def load():
    "Import what scripts use, and do once what takes longer the first time."
    os.dup2(2, 1) # what an import prints is no answer
    import anywidget, gradio, hypothesis, ipykernel.kernelapp, jiwer, jupyterlab.labapp, pandas, peft # noqa: F401
    import playwright.sync_api, voila.app # noqa: F401
    from torch.profiler import profile # noqa: F401
    from voxtral_nb.record import review # noqa: F401
    from voxtral_nb.share import demo, publish # noqa: F401
    from voxtral_nb.studio import serve # noqa: F401
    from voxtral_nb.training import plan, trainer # noqa: F401
    write_once()
    draw_once()
    gc.collect()
    gc.freeze() # each later collection would look through all that was imported: a third of a short run's time


def write_once():
    "The tiny model writes, with an adapter. No backward pass: autograd's threads would be missing after a fork."
    import torch
    from transformers.utils import logging
    from voxtral_nb.core.assets import sample_speech
    from voxtral_nb.core.config import RunConfig
    from voxtral_nb.data.sources import load_speech
    from voxtral_nb.measure.silence import verify_silence
    from voxtral_nb.model.models import load_voxtral
    from voxtral_nb.model.prepare import prepare_model
    logging.disable_progress_bar()
    with torch.random.fork_rng():
        model, processor = load_voxtral("tiny", device="cpu", verbose=False)
        model = prepare_model(model, RunConfig(model_id="tiny"), verbose=False)
        verify_silence(model, processor, load_speech(sample_speech("accent_eval")), 1, max_new_tokens=2)
    logging.enable_progress_bar()


def draw_once():
    "A figure with what those of a run have."
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots()
    ax.plot([1, 2], label="loss")
    ax.legend()
    fig.savefig(io.BytesIO(), bbox_inches="tight")
    plt.close(fig)


def received(conn): # a connection of a client
    "The job that comes: arguments, folder, environment, numbers of its files, and the files."
    size, fds, *_ = socket.recv_fds(conn, 4, 64)
    data, n = b"", int.from_bytes(size, "big")
    while len(data) < n and (more := conn.recv(n - len(data))): data += more
    return json.loads(data) if n and len(data) == n else None, fds


def kill(pid): # of a job, which leads a group
    for how in (os.killpg, os.kill): # it may not lead it yet, or have ended
        try: return how(pid, signal.SIGKILL)
        except ProcessLookupError: pass


def count(path, cpu, worker, used): # path of the socket
    "Add what a job used to what the jobs of this process of pytest did."
    cpu[worker] += used.ru_utime + used.ru_stime
    (new := Path(f"{path}.new")).write_text(str(cpu[worker]))
    new.replace(Path(path).parent/f"cpu-{worker}")


def serve(path): # of the socket
    "Fork for each job that comes, and return it in the new process."
    load()
    server, (wake, woken), jobs = socket.socket(socket.AF_UNIX), socket.socketpair(), {} # jobs: process -> its client
    whose, cpu = {}, Counter() # process -> process of pytest -> s
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    server.bind(path)
    server.listen()
    while True:
        ready = select.select([0, server, woken, *filter(None, jobs.values())], [], [])[0]
        if 0 in ready: # who started it has closed it, or has ended
            for pid in jobs: kill(pid)
            os._exit(0)
        if woken in ready: woken.recv(4096)
        for pid, client in list(jobs.items()):
            ended, status, used = os.wait4(pid, os.WNOHANG)
            if ended: count(path, cpu, whose.pop(pid), used)
            if ended and (client := jobs.pop(pid)):
                try: client.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
                except OSError: pass
                client.close()
            elif client in ready: # a client says nothing: it was killed
                client.close()
                jobs[pid] = None
                kill(pid)
        if server in ready:
            client, _ = server.accept()
            job, fds = received(client)
            if job and not (pid := os.fork()):
                os.setsid()
                signal.set_wakeup_fd(-1)
                for o in (server, wake, woken, client, *filter(None, jobs.values())): o.close()
                return job, fds
            for o in fds: os.close(o)
            if job:
                jobs[pid], whose[pid] = client, job[2].get(WORKER)
                client.sendall(pid.to_bytes(4, "big"))


def begin(args, cwd, env, numbers, fds): # of a job
    "Make this process what `python` would be: its folder, environment, files, signals and path."
    high = [fcntl.fcntl(o, fcntl.F_DUPFD, 512) for o in fds]
    for o in fds: os.close(o)
    for i,o in zip(numbers, high):
        os.dup2(o, i)
        os.close(o)
    sys.executable = env.get("WARM_PYTHON", sys.executable)
    multiprocessing.set_executable(sys.executable)
    for o in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP): signal.signal(o, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.register(signal.SIGUSR1) # writes where each thread is
    hub = {k: v for k, v in os.environ.items() if k.startswith("HF_")}
    os.environ.clear()
    os.environ.update(env)
    if "JPY_PARENT_PID" in env: os.environ["JPY_PARENT_PID"] = str(os.getppid()) # a kernel ends with it
    if hub != {k: v for k, v in env.items() if k.startswith("HF_")}: # they are read at import
        import datasets.config, huggingface_hub
        from huggingface_hub import constants
        old = dict(vars(constants))
        for o in (constants, datasets.config): importlib.reload(o)
        changed = {k: v for k, v in vars(constants).items() if k.isupper() and v != old.get(k)}
        for o in [m for n, m in sys.modules.items() if n.startswith("huggingface_hub.")]: # those that import the value
            vars(o).update({k: v for k, v in changed.items() if k in vars(o)})
        huggingface_hub.hf_api.api.endpoint = constants.ENDPOINT # what the module's functions use
    if any(o.startswith("GRADIO_") for o in env): importlib.reload(importlib.import_module("gradio.http_server"))
    tempfile.tempdir = None # it was looked up with another TMPDIR
    os.chdir(cwd)
    multiprocessing.process.ORIGINAL_DIR = cwd # from which a spawned process imports the script
    sys.stdin = open(0, closefd=False)
    while args[0] in ("-u", "-B"): args.pop(0) # from execnet, which speaks to the numbers, and from multiprocessing
    safe = args[0] == "-P" # its own folder is not searched
    if safe: args.pop(0)
    first = [dict([("-c", ""), ("-m", cwd)]).get(args[0], os.path.dirname(args[0]))]*(not safe)
    more = [os.path.abspath(o) for o in env.get("PYTHONPATH", "").split(os.pathsep) if o]
    sys.path[:] = [*first, *more, *(o for o in sys.path[1:] if o not in more)]


def script(args):
    "Run what follows `python`: its exit status."
    try:
        if args[0] == "-c":
            sys.argv = ["-c", *args[2:]]
            exec(compile(args[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = args[args[0] == "-m":]
            if args[0] == "-m": runpy.run_module(args[1], run_name="__main__", alter_sys=True)
            else: runpy.run_path(args[0], run_name="__main__")
    except BaseException as e:
        if not isinstance(e, SystemExit): sys.excepthook(*sys.exc_info())
        status = e.code if isinstance(e, SystemExit) else 1
        return status if isinstance(status, int | None) else print(status, file=sys.stderr) or 1
    return 0


if __name__ == "__main__":
    (args, cwd, env, numbers), fds = serve(sys.argv[1])
    begin(args, cwd, env, numbers, fds)
    status = script(args)
    threading._shutdown() # threads, then what was registered, as Python itself ends
    atexit._run_exitfuncs()
    for o in (sys.stdout, sys.stderr): o.flush()
    os._exit(status or 0) # to take apart all that was imported would need 2 s
