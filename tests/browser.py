"""JupyterLab and Notebook 7 in a real Chromium, with a microphone that plays a WAV file and a connection that can be
cut. The browser tests stand on this.

    wav = microphone_wav(tmp_path/"voice.wav", x, sr)
    with Server(tmp_path/"nb") as server, browser(wav) as context:
        new_notebook(server.folder, "a.ipynb", ["1 + 1"])
        page = open_notebook(context.new_page(), server, "a.ipynb")
        run_cell(page, 0)
        assert cell_output_text(page, 0) == "2"

What Chromium's fake microphone does (measured, Chromium 156): it is a stereo device of 44,100 Hz, whatever rate is
asked for; the file is read again and starts from its beginning with every getUserMedia, also while another stream is
open, and runs on while the stream lives, heard or not. A WAV of any rate comes through at gain 1 (a mono one on both
channels), of 16-bit or 32-bit float samples; 24-bit ones are silence. When a file that does not loop has ended, its
last 10 ms are repeated without end: end it with silence. On a busy machine 10 ms are now and then lost or doubled, more
so in an AudioContext of another rate than the device's or with latencyHint "playback": judge a take by `follow`.
"""
import asyncio, atexit, ctypes, json, os, random, secrets, shutil, signal, socket, subprocess, sys, tempfile
import threading, time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import psutil
from playwright.sync_api import TimeoutError as PlaywrightTimeout, sync_playwright

from conftest import warm

# Each page of Lab has its own workspace: the default one is kept by the server, and would open the notebooks of
# other pages again.
APPS = dict(lab=("jupyterlab", "LabApp", "lab/workspaces/{}/tree"),
            notebook=("notebook", "JupyterNotebookApp", "notebooks"))
# Nothing asks, pops up or saves by itself: a file is written when the test says save, and a toast never lies over a
# button.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": dict(
        fetchNews="false", checkForUpdates=False, doNotDisturbMode=True),
    "@jupyterlab/docmanager-extension:plugin": dict(autosave=False)}


HELD = [] # sockets whose names say which ports this process has given


def free_port():
    "A port of the loopback interface that nobody listens on; no other test gets it while this process lives."
    for port in random.sample(range(12000, 30000), 1000): # below those that the system assigns
        with socket.socket() as s:
            try:
                HELD.append(socket.socket(socket.AF_UNIX))
                HELD[-1].bind(f"\0voxtral_nb_port_{port}") # a server needs seconds until it listens
                s.bind(("127.0.0.1", port))
                return port
            except OSError: HELD.pop().close()
    raise AssertionError("1,000 ports are in use")


PATIENCE = 600 # s: a slow or busy machine is late, which no test is about; only what never comes costs this time


def wait_for(done, what="it", every=.1, timeout=PATIENCE):
    "Call `done` until what it returns is true, and return that."
    end = time.monotonic() + timeout
    while not (r := done()):
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        time.sleep(every)
    return r


# The server

class Server:
    "JupyterLab or Notebook 7 on the notebooks of a folder. Its settings, runtime files and log lie outside of it."
    def __init__(self,
        folder, # of the notebooks; kernels start in it
        app="lab", # or "notebook"
        hosts=(), # names other than localhost under which a browser may ask for it
        settings=None, # of JupyterLab's plugins, besides SETTINGS: {plugin: {name: value}}
        env=None, # environment of the server and its kernels, in place of this process's
    ):
        self.folder, self.app, self.hosts, self.settings = Path(folder), app, hosts, SETTINGS | (settings or {})
        self.env = dict(os.environ if env is None else env)

    def __enter__(self):
        module, section, self.page = APPS[self.app]
        self.home = Path(tempfile.mkdtemp(prefix="voxtral_nb_jupyter_"))
        (self.home/"config"/"labconfig").mkdir(parents=True)
        (self.home/"config"/"labconfig"/"default_setting_overrides.json").write_text(json.dumps(self.settings))
        # else each page that opens has yarn and node look whether JupyterLab has to be built
        (self.home/"config"/"labconfig"/"page_config.json").write_text(json.dumps(dict(buildCheck=False)))
        self.log, self.port = self.home/"server.log", free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder.mkdir(parents=True, exist_ok=True)
        args = ["--no-browser", "--allow-root", f"--port={self.port}", "--ServerApp.port_retries=0",
                "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={self.folder}", "--IdentityProvider.token=",
                "--ServerApp.disable_check_xsrf=True", f"--{section}.expose_app_in_browser=True",
                "--LanguageServerManager.autodetect=False", # it would look for some with npm and node
                f"--ServerApp.local_hostnames={['localhost', *self.hosts]}"]
        # The kernel `python3` begins where the package is loaded: JUPYTER_PATH goes before what the machine has
        env = {**{k: v for k, v in self.env.items() if not k.startswith("JUPYTER_")},
               "JUPYTER_CONFIG_DIR": self.home/"config", "JUPYTER_DATA_DIR": self.home/"data",
               "JUPYTER_RUNTIME_DIR": self.home/"runtime", "IPYTHONDIR": self.home/"ipython",
               "JUPYTER_PATH": warm.kernels, **warm.again,
               "PATH": f"{Path(sys.executable).parent}{os.pathsep}{self.env['PATH']}"}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([*warm.python, "-m", module, *args], cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            env={k: str(v) for k, v in env.items()}, start_new_session=True,
                                            preexec_fn=_end_with_parent)
        try: wait_for(self._answers, "the Jupyter server", .2)
        except BaseException as e:
            e.add_note(f"the server's log ends:\n{self.log.read_text()[-2000:]}")
            self.__exit__()
            raise
        return self

    @property
    def pid(self):
        "The process id of the server, which a process that is not a child of this one has forked."
        return wait_for(lambda: warm.job(self.process.pid), "the server's process")

    def _answers(self):
        assert self.process.poll() is None, (
            f"the Jupyter server ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        try: return self.api("api")["version"]
        except OSError: return None

    def __exit__(self, *exc):
        # Kernels run in their own sessions: they are looked up before their parent ends.
        kernels = _children(self.pid) if self.process.poll() is None else []
        for sig in (signal.SIGTERM, signal.SIGKILL):
            try: os.killpg(self.process.pid, sig)
            except ProcessLookupError: break
            try: self.process.wait(10)
            except subprocess.TimeoutExpired: continue
        for p in kernels:
            try: p.kill()
            except psutil.NoSuchProcess: pass
        psutil.wait_procs(kernels, 5)
        shutil.rmtree(self.home, ignore_errors=True)

    def api(self, path, method="GET", data=None):
        "The answer of the server's REST API, e.g. `api('api/kernels')`."
        r = urllib.request.Request(f"{self.url}/{path}", method=method,
                                   data=None if data is None else json.dumps(data).encode())
        with urllib.request.urlopen(r, timeout=60) as o: body = o.read()
        return json.loads(body) if body else None

    def kernel(self, name):
        "The id of the kernel of notebook `name`."
        ids = [s["kernel"]["id"] for s in self.api("api/sessions") if s["path"] == name]
        assert ids, f"no kernel runs for {name}"
        return ids[0]

    def kernel_pid(self, name):
        "The process id of the kernel of notebook `name`."
        k = self.kernel(name)
        pids = [p.pid for p in _children(self.pid) if any(k in o for o in _cmdline(p))]
        assert len(pids) == 1, f"processes of kernel {k}: {pids}"
        return warm.job(pids[0])

    def stacks(self):
        "Where the threads of each kernel are, in the end of the server's log."
        for k in self.api("api/kernels"):
            for p in _children(self.pid):
                if any(k["id"] in o for o in _cmdline(p)) and (job := warm.job(p.pid)): os.kill(job, signal.SIGUSR1)
        time.sleep(1)
        return self.log.read_text()[-6000:]

    def kill_kernel(self, name):
        """End the kernel of notebook `name` as a crash does (SIGKILL). The server starts another a few seconds later
        under the same id."""
        os.kill(self.kernel_pid(name), signal.SIGKILL)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

def _end_with_parent():
    """In the new process: SIGTERM when the test that started it is killed (PR_SET_PDEATHSIG), so that a cancelled run
    leaves no server."""
    if _libc: _libc.prctl(1, signal.SIGTERM)

def _children(pid):
    try: return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess: return []

def _cmdline(p):
    try: return p.cmdline()
    except psutil.Error: return []


# A connection that can be cut

class Proxy:
    """A TCP proxy on its own port before `port`: `url` is what the browser is given. A cut refuses, a stall is
    silent as a lost Wi-Fi is."""
    def __init__(self, port):
        self.target, self._conns, self._ready = port, set(), threading.Event()

    def __enter__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the proxy did not start"
        return self

    def __exit__(self, *exc):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _main(self):
        self._loop, self._end, self._flows = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._flows.set()
        await self._listen()
        self._ready.set()
        await self._end.wait()
        await self._cut()

    async def _listen(self): self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader, writer):
        self._conns.add(writer)
        try:
            await self._flows.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._conns.add(up_writer)
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        except (OSError, asyncio.CancelledError): pass # cancelled at the end: Python 3.11 would log it as an error
        finally: writer.close()

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError: pass
        finally:
            writer.close()
            self._conns.discard(writer)

    async def _cut(self):
        self._server.close()
        for w in list(self._conns): w.transport.abort()
        self._conns.clear()
        self._flows.set()

    async def _restore(self):
        self._flows.set()
        if not self._server.is_serving(): await self._listen()

    async def _stall(self): self._flows.clear()

    def _do(self, coro): asyncio.run_coroutine_threadsafe(coro, self._loop).result(PATIENCE)

    def cut(self):
        "Close every connection and refuse new ones."
        self._do(self._cut())

    def stall(self):
        """Keep every connection, take new ones, and pass nothing on. What was held goes on its way at `restore`, and is
        lost with `cut`."""
        self._do(self._stall())

    def restore(self):
        "Undo `cut` and `stall`."
        self._do(self._restore())


# The browser

FLAGS = ("--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
         "--disable-sync --autoplay-policy=no-user-gesture-required").split()

def chromium(whole=False):
    """The browser of the machine; None: playwright's own. The headless shell starts in 0.3 CPU s, the whole Chromium in
    1.5, and opens JupyterLab in three quarters of its time; but it asks nobody for the microphone."""
    return next((p for o in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")[whole:]
                 if (p := shutil.which(o))), None)

_playwright = [] # the driver of this process, its event loop, how many browsers are in use, a folder for sounds
_idle = {} # kind of a Chromium -> one that waits for the next of its kind, and the file that its microphone plays

@contextmanager
def _driver():
    """One driver for all browsers of this process, to start one takes 0.6 CPU s. It leaves its event loop set as the
    running one, and `asyncio.run` would refuse: while no browser is in use, it is not."""
    if not _playwright:
        sounds = tempfile.TemporaryDirectory(prefix="voxtral_nb_mic_")
        _playwright.extend((sync_playwright().start(), asyncio.get_running_loop(), 0, sounds))
        atexit.register(_end)
    asyncio._set_running_loop(_playwright[1])
    _playwright[2] += 1
    try: yield _playwright[0]
    finally:
        _playwright[2] -= 1
        if not _playwright[2]: asyncio._set_running_loop(None)

def _end():
    asyncio._set_running_loop(_playwright[1])
    for chrome, _ in _idle.values(): chrome.close()
    _playwright[0].stop()

@contextmanager
def _chromium(loop, permission, fake_device, host_rules, wav):
    "A Chromium that nobody else uses, and the file that its microphone plays if it has a `wav`."
    kind = loop, permission, fake_device, host_rules, bool(wav)
    with _driver() as p:
        chrome, mic = _idle.pop(kind, (None, None))
        if not chrome or not chrome.is_connected():
            mic = Path(tempfile.mkdtemp(dir=_playwright[3].name))/"mic.wav"
            flags = list(FLAGS)
            if fake_device: flags.append("--use-fake-device-for-media-stream")
            if permission: flags.append("--use-fake-ui-for-media-stream")
            if wav: flags.append(f"--use-file-for-fake-audio-capture={mic}{'' if loop else '%noloop'}")
            if host_rules: flags.append(f"--host-resolver-rules={host_rules}")
            chrome = p.chromium.launch(executable_path=chromium(whole=not permission), args=flags)
        try: yield chrome, mic
        except BaseException: # who knows what state it is in
            chrome.close()
            raise
        if kind in _idle: chrome.close()
        else: _idle[kind] = chrome, mic


@contextmanager
def browser(
    wav=None, # what the microphone hears, see `microphone_wav`; None: Chromium's beep, twice a second
    loop=True, # the file starts again when it has ended
    permission=True, # False: the person says no
    fake_device=True, # False: there is no microphone
    width=1280, # of the page, in CSS pixels
    height=1000,
    dark=False, # the system's colour scheme
    host_rules=None, # e.g. "MAP recorder.test 127.0.0.1"
):
    """A Playwright browser context, alone in its Chromium: what a page stores ends with it. `context.log` grows by what
    pages write to their console and by their uncaught errors. `context.hear(wav)`: what the microphone hears from its
    next opening on."""
    with _chromium(loop, permission, fake_device, host_rules, wav) as (chrome, mic):
        context = chrome.new_context(viewport=dict(width=width, height=height),
                                     color_scheme="dark" if dark else "light", reduced_motion="reduce")
        try:
            context.wav, context.hear = wav, lambda wav: shutil.copyfile(wav, mic)
            if wav: context.hear(wav)
            context.set_default_timeout(1000*PATIENCE)
            context.log, context.parked = [], None # a page that the next test takes over
            context.on("console", lambda m: context.log.append(f"{m.type}: {m.text}"))
            context.on("weberror", lambda e: context.log.append(f"uncaught: {e.error}"))
            yield context
        finally: context.close()


# Notebooks

def new_notebook(folder, name, cells):
    "Write a notebook with these code cells."
    kernel = dict(name="python3", display_name="python3", language="python")
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(o, id=f"cell-{i}") for i, o in enumerate(cells)],
                                  metadata=dict(kernelspec=kernel))
    nbformat.write(nb, path := Path(folder)/name)
    return path


def read_notebook(folder, name): return json.loads((Path(folder)/name).read_text(encoding="utf-8"))

# `jupyterapp` is what expose_app_in_browser gives, in Lab and Notebook alike: commands and the open notebook.
_PANEL = ("(() => { const all = [...(window.jupyterapp?.shell.widgets('main') ?? [])]; "
          "return all.find(o => o.sessionContext && o.content?.widgets); })()")

def _ready(page):
    page.wait_for_function(
        f"() => {{ const p = {_PANEL}; return p?.context.isReady && p.sessionContext.isReady "
        "&& p.sessionContext.session?.kernel?.connectionStatus == 'connected'; }")
    wait_idle(page)


def open_notebook(page, server, name):
    """Open notebook `name` and wait for its kernel. `server` is a Server, or for a proxy or another host the pair
    (Server, url)."""
    server, url = server if isinstance(server, tuple) else (server, server.url)
    page.goto(f"{url}/{server.page.format(secrets.token_hex(4))}/{name}")
    _ready(page)
    return page


def clear(page):
    "Let go of the notebooks that JupyterLab has open, unsaved."
    page.evaluate("() => { for (const o of [...window.jupyterapp.shell.widgets('main')]) o.dispose(); }")


def open_next(page, name):
    "Open notebook `name` in a JupyterLab that is there already."
    _run(page, "async path => { await window.jupyterapp.commands.execute('docmanager:open', { path }); }", name)
    _ready(page)
    return page


def _run(page, js, arg=None):
    "The value of an async arrow function in the page, which Playwright itself would wait for without end."
    return page.evaluate(
        f"arg => Promise.race([({js})(arg), new Promise((_, no) => "
        f"setTimeout(() => no(new Error('no answer in {PATIENCE} s')), {1000*PATIENCE}))])", arg)


def wait_idle(page):
    """Wait until the kernel has nothing to do. Every 10 s it is asked for a word: the message that says so may be lost
    while it starts."""
    kernel = f"{_PANEL}?.sessionContext.session?.kernel"
    for _ in range(PATIENCE//10):
        try: return page.wait_for_function(f"() => {kernel}?.status == 'idle'", timeout=10_000)
        except PlaywrightTimeout: page.evaluate(f"() => {{ {kernel}?.requestKernelInfo()?.catch(() => 0) }}")
    state = page.evaluate(f"() => {kernel} && [{kernel}.status, {kernel}.connectionStatus]")
    raise AssertionError(f"waited {PATIENCE} s for an idle kernel; it is {state}")


def run_cell(page, i, wait=True):
    "Run cell `i`; `wait`: until it has ended."
    start = f"""async i => {{ const p = {_PANEL}; window.jupyterapp.shell.activateById(p.id);
        p.content.deselectAll(); p.content.activeCellIndex = i;
        const done = window.jupyterapp.commands.execute('notebook:run-cell'); {'await done' if wait else ''} }}"""
    _run(page, start, i)


def run_all(page):
    _run(page, "async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells') }")


def find(page, css):
    """Locator of what a selector finds outside of shadow trees. To look into them too, Playwright asks each element of
    the page whether it has one: in JupyterLab a fifth of Chromium's processor time."""
    return page.locator(f"css:light={css}")


def set_theme(page, theme):
    "JupyterLab's `light` or `dark` theme."
    page.evaluate("t => window.jupyterapp.commands.execute('apputils:change-theme', { theme: `JupyterLab ${t}` })",
                  theme.title())
    find(page, f"body[data-jp-theme-light={str(theme == 'light').lower()}]").wait_for(state="attached")


def cell(page, i):
    "Locator of code cell `i`."
    return find(page, ".jp-Notebook .jp-CodeCell").nth(i)


def cell_output_text(page, i):
    "What cell `i` shows, as the notebook model has it: streams, plain text of results, and tracebacks."
    outs = page.evaluate(f"i => {_PANEL}.content.widgets[i].model.sharedModel.toJSON().outputs ?? []", i)
    text = lambda o: "".join(o) if isinstance(o, list) else o
    return "".join(text(o.get("text") or o.get("data", {}).get("text/plain") or o.get("traceback", ""))
                   for o in outs).strip()


def kernel_state(page):
    "Status of the open notebook's kernel, its connection, and the prompt of each cell: [*] waits or runs."
    return page.evaluate(f"() => {{ const p = {_PANEL}, k = p?.sessionContext.session?.kernel; return p && "
                         "[k?.status, k?.connectionStatus, ...p.content.widgets.map(o => o.promptNode?.innerText)]; }")


def save(page): _run(page, f"() => {_PANEL}.context.save()")


def reload(page, parked=False): # will the next test take the page over?
    "Reload the page. What was not saved is gone, the kernel lives on."
    page.reload()
    # A JupyterLab opens the notebook twice: as the workspace had it, and a second later because its address says so
    # (in front of whatever was opened meanwhile).
    if parked and "/lab/" in page.url: _run(page, """async () => {
        while (!window.jupyterapp) await new Promise(done => setTimeout(done, 10));
        await new Promise(done => window.jupyterapp.commands.commandExecuted.connect((_, o) =>
            { if (o.id == 'filebrowser:open-path') o.result.then(done, done) })) }""")
    _ready(page)


def restart_kernel(page):
    "Restart the kernel as the menu does after its question."
    _run(page, f"() => {_PANEL}.sessionContext.session.kernel.restart()")
    _ready(page)


def reconnect(page):
    "What the menu's Reconnect to Kernel does: by itself JupyterLab tries after 0, 1, 3, 7... seconds, at random."
    _run(page, f"() => {_PANEL}.sessionContext.session.kernel.reconnect()")
    _ready(page)


# Pictures and sound

def picture(name):
    "Where a picture for people goes, a folder outside of the repository; None: VOXTRAL_NB_SHOTS names none."
    if not (folder := os.environ.get("VOXTRAL_NB_SHOTS")): return
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)/f"{name}.png"

def screenshot(page_or_locator, name, **how):
    "A picture for people, if they want some: one takes half a CPU s."
    if path := picture(name): page_or_locator.screenshot(path=path, **how)


MIC_RATE = 44_100  # Hz, of Chromium's fake device

def microphone_wav(path, x, sr):
    """Write mono samples as the fake microphone gives them back unchanged: 44.1 kHz, 16 bit, half a second of silence
    at the end."""
    import soundfile as sf, soxr
    x = soxr.resample(np.asarray(x, np.float64), sr, MIC_RATE) if sr != MIC_RATE else np.asarray(x, np.float64)
    sf.write(path, np.concatenate([x, np.zeros(MIC_RATE//2)]), MIC_RATE, subtype="PCM_16")
    return Path(path)


def best_match(take, source, sr):
    """Where `take` lies in `source`: (seconds by which it starts after the source does, correlation over the part that
    both have). Neither gain nor offset matters. An overlap of less than half the shorter one is no match."""
    take, source = (np.asarray(o, np.float64) - np.mean(o) for o in (take, source))
    n, m = len(take), len(source)
    size = 1 << (n + m - 1).bit_length()
    spec = lambda o: np.fft.rfft(o, size)
    lags = np.arange(-(n - 1), m)
    cross = np.fft.irfft(spec(source)*spec(take).conj(), size)[lags]
    lo, hi = np.clip(lags, 0, m), np.clip(lags + n, 0, m)  # the part of the source under the take, for each lag
    energy = lambda o: np.concatenate([[0], np.cumsum(o*o)])
    e_source, e_take = energy(source), energy(take)
    norm = np.sqrt((e_source[hi] - e_source[lo])*(e_take[hi - lags] - e_take[lo - lags]))
    floor = 1e-6*np.sqrt(e_source[-1]*e_take[-1])
    ok = (hi - lo >= min(n, m)/2) & (norm > floor)
    if not ok.any(): return 0., 0.
    r = np.where(ok, cross/np.where(ok, norm, 1), -1)
    i = int(r.argmax())
    return float(lags[i]/sr), float(r[i])


def follow(take, source, sr, piece=.5):
    """`best_match` of each piece of `piece` seconds that is not silence: (median correlation, seconds by which the
    pieces move against each other). It forgives the fake microphone a slip of 10 ms, at which one correlation of the
    whole breaks down; a lost part of a take shows as a slip."""
    take, n = np.asarray(take, np.float64), int(piece*sr)
    loud = np.abs(take).max()/20
    found = []
    for a in range(0, len(take) - n + 1, n):
        if np.abs(take[a:a+n]).max() <= loud: continue
        lag, r = best_match(take[a:a+n], source, sr)
        found.append((lag - a/sr, r))
    assert found, "the take is silence"
    lags = [lag for lag, r in found if r > .9] or [0., float("inf")]
    return float(np.median([r for _, r in found])), max(lags) - min(lags)
