"""Processes that begin where the package is loaded already: a script starts in one as `python -c` starts it, without
the seconds that torch and transformers take to import.

    r = warm("import sys; print(sys.argv[1:])", "a") # r.returncode, r.stdout, r.stderr

One process imports, and forks for each script. A script has a process of its own: it may be killed, fail and change
what it likes. What depends on how Python starts (imports, workers that are spawned) is for `sh`."""
import atexit, gc, json, os, select, signal, subprocess, sys, tempfile, threading
from pathlib import Path


class Warm:
    "The process that forks; it starts with the first script."
    def __init__(self): self.process, self.cpu = None, 0. # s of processor time, with that of the scripts that ended

    def __call__(self, code, *args, cwd=None, env=None, timeout=300, check=False):
        "Run a script with these arguments, without standard input: its exit status and what it printed."
        if self.process is None:
            self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            text=True, start_new_session=True,
                                            env={**os.environ, "OMP_NUM_THREADS": "1"})
            self.answer(120)
        with tempfile.TemporaryDirectory() as d:
            out, err = Path(d)/"out", Path(d)/"err"
            job = dict(code=code, args=[str(o) for o in args], cwd=str(cwd or os.getcwd()), out=str(out), err=str(err),
                       env={**os.environ, **{k: str(v) for k, v in (env or {}).items()}})
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            status = self.answer(timeout)
            r = subprocess.CompletedProcess(["python", "-c", code, *job["args"]], status,
                                            *(o.read_text(encoding="utf-8") for o in (out, err)))
        assert not check or status == 0, f"it ended with {status}\n{r.stdout[-4000:]}\n{r.stderr[-4000:]}"
        return r

    def answer(self, timeout): # s
        "The exit status that the process sends."
        if select.select([self.process.stdout], [], [], timeout)[0] and (line := self.process.stdout.readline()):
            status, self.cpu = json.loads(line)
            return status
        self.close()
        raise AssertionError(f"no answer within {timeout} s")

    def close(self):
        "End the process, and what it is running."
        if self.process is None: return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.process = None


def job():
    "Fork for each job that comes, and return it in the new process."
    answer = os.dup(1)
    os.dup2(2, 1) # what an import prints is no answer
    import matplotlib, jiwer # noqa: F401
    from transformers import VoxtralForConditionalGeneration # noqa: F401
    from voxtral_nb.core.assets import tiny_path
    from voxtral_nb.model.models import load_processor
    from voxtral_nb.training import trainer # noqa: F401
    matplotlib.use("agg")
    import matplotlib.pyplot # noqa: F401
    load_processor(tiny_path())
    gc.collect()
    gc.freeze() # each later collection would look through all that was imported: a third of a short run's time
    say = lambda status: os.write(answer, b"%s\n" % json.dumps([status, sum(os.times()[:4])]).encode())
    say(0)
    while line := sys.stdin.readline():
        if not (pid := os.fork()):
            os.close(answer)
            return json.loads(line)
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


if __name__ == "__main__":
    j = job()
    os.chdir(j["cwd"])
    os.environ.clear()
    os.environ.update(j["env"])
    for path, fd, how in ((os.devnull, 0, os.O_RDONLY), (j["out"], 1, os.O_WRONLY | os.O_CREAT),
                          (j["err"], 2, os.O_WRONLY | os.O_CREAT)): os.dup2(os.open(path, how, 0o600), fd)
    sys.stdin, sys.argv, sys.path[0] = open(0, closefd=False), ["-c", *j["args"]], ""
    status = 0
    try: exec(compile(j["code"], "<string>", "exec"), {"__name__": "__main__"})
    except BaseException as e:
        status = e.code if isinstance(e, SystemExit) else 1
        if status and not isinstance(status, int): status = print(status, file=sys.stderr) or 1
        if not isinstance(e, SystemExit): sys.excepthook(*sys.exc_info())
    threading._shutdown() # threads, then what was registered, as Python itself ends
    atexit._run_exitfuncs()
    for o in (sys.stdout, sys.stderr): o.flush()
    os._exit(status or 0) # to take apart all that was imported would need 2 s
