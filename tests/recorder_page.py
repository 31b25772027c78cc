"""The recorder as the person in front of it uses it: what the browser tests of the recorder share.

    with Server(folder) as server, browser(wav) as context:
        rec = open_recorder(context, server, new_notebook(folder, "a.ipynb", [CELL]))
        rec.agree(); rec.record(3); rec.keep()
"""
import base64, hashlib, json, re, shutil, time, urllib.error
from pathlib import Path

import numpy as np
import soundfile as sf
from browser import (MIC_RATE, best_match, cell, cell_output_text, clear, find, follow, microphone_wav,
                     new_notebook, kernel_state, open_next, open_notebook, reload, run_cell, screenshot, wait_for)
from voxtral_nb.data.audio import read_audio, resample
from voxtral_nb.data.dataset import SpeechDataset
from voxtral_nb.testing.speech import asterisk_prompts

CELL = "from voxtral_nb.record.recorder import Recorder\nrec = Recorder('voice', language='en')\nrec"
PCM = "() => new Blob(seen.pcm.at(-1)).arrayBuffer()" # of the last take: 16-bit samples
HASH = f"""async () => [...new Uint8Array(await crypto.subtle.digest('SHA-256', await ({PCM})()))]"""
BASE64 = f"""async () => {{ const r = new FileReader(), b = new Blob([await ({PCM})()]);
  await new Promise((ok) => {{ r.onload = ok; r.readAsDataURL(b); }});
  return r.result.split(',')[1]; }}"""
# s of sound in the page's own storage, of takes that have not arrived
SHELVED = f"""async () => {{
  const done = (r) => new Promise((ok, no) => {{ r.onsuccess = () => ok(r.result); r.onerror = no; }});
  const db = await done(indexedDB.open('voxtral_nb.recorder'));
  const parts = await done(db.transaction('parts').objectStore('parts').getAll());
  db.close();
  return parts.reduce((n, o) => n + o.byteLength, 0)/{2*MIC_RATE}; }}"""
RATE = 16_000 # takes and their source are compared at this rate
TAIL = .5     # s that are recorded after stop

# What the page saw: phases with the page's clock and the time of its sound, what was said, the tracks that it was
# given, sounds that it played, and of each take how many samples the audio thread handed over, and which: what a clip
# must hold. `seen.enough` samples of the next take call `seen.stop`: how long a take is depends on no clock.
HOOKS = """(() => {
  const seen = window.seen = {
    anew: () => Object.assign(seen, { phases: [], said: [], tracks: [], takes: [], pcm: [], played: 0, ran: 0, keys: 0,
      enough: Infinity }) };
  seen.anew();
  const look = () => {
    for (const o of document.querySelectorAll('.vx'))
      if (o.lastPhase !== o.dataset.phase)
        seen.phases.push([o.lastPhase = o.dataset.phase, performance.now(), seen.audio?.currentTime ?? 0]);
    for (const o of document.querySelectorAll('.vx-status'))
      if (o.lastText !== o.textContent) seen.said.push([o.lastText = o.textContent, performance.now()]);
  };
  document.addEventListener('DOMContentLoaded', () => new MutationObserver(look).observe(document.body,
    { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['data-phase'] }));
  window.addEventListener('keydown', e => e.target.closest?.('.vx') && seen.keys++, true);
  const media = navigator.mediaDevices;
  if (media) {
    const ask = media.getUserMedia.bind(media);
    media.getUserMedia = async (o) => {
      seen.asked = o;
      const s = await ask(o);
      seen.tracks.push(...s.getTracks());
      return s;
    };
  }
  const Node = window.AudioWorkletNode;
  if (Node) window.AudioWorkletNode = class extends Node {
    constructor(...args) {
      super(...args);
      let take = 0;
      seen.audio = args[0];
      this.port.addEventListener("message", ({ data }) => {
        if (!data.take || !data.pcm) return;
        if (data.take !== take) { take = data.take; seen.takes.push(0); seen.pcm.push([]); }
        const i = seen.takes.length - 1;
        seen.takes[i] += data.pcm.byteLength/2;
        seen.pcm[i].push(data.pcm.slice(0));
        if (seen.takes[i] >= seen.enough) { seen.enough = Infinity; seen.stop(); }
      });
    }
  };
  const play = Audio.prototype.play;
  Audio.prototype.play = function() { seen.played++; seen.sound = this; return play.call(this); };
})()"""


def speech_wav(path, seconds=30, rate=MIC_RATE):
    "What the microphone of a test hears: recorded prompts of Debian, one after the other."
    parts, n = [], 0
    for p, _ in asterisk_prompts():
        x = read_audio(p, rate)
        if len(x) < 1.5*rate: continue
        parts += [x*.6/np.abs(x).max(), np.zeros(rate//5, np.float32)]
        n += len(parts[-2]) + len(parts[-1])
        if n > seconds*rate: break
    return microphone_wav(path, np.concatenate(parts)[:int(seconds*rate)], rate)


def heard(wav):
    """What a microphone that plays `wav` over and over gives, at RATE; two rounds, so that a take may lie across the
    end."""
    x, sr = sf.read(wav, dtype="float32")
    return np.tile(resample(x, sr, RATE), 2)


def correlation(samples, rate, source):
    "Of a take with its source, over the whole take."
    return best_match(resample(np.asarray(samples, np.float32), rate, RATE), source, RATE)[1]

def matches(samples, rate, source, least=.95, slip=.5):
    """Is the take what the microphone played? Empty if it is, else what was found. On a busy machine the fake
    microphone itself loses or doubles 10 ms now and then, and one correlation over the whole breaks down: then most
    half seconds must match, and all of them together may have slipped by `slip` seconds and a tenth of the take. That
    a clip holds the very samples which the page was given is tested with `Take.hash`."""
    take = resample(np.asarray(samples, np.float32), rate, RATE)
    if (r := best_match(take, source, RATE)[1]) > least: return ""
    at = round(RATE*best_match(take[:2*RATE], source, RATE)[0])
    near, moved = follow(take, source[max(0, at - RATE):at + len(take) + RATE], RATE)
    if near > least - .1 and moved < slip + .1*len(take)/RATE: return ""
    return f"correlation {r:.3f}; of its half seconds {near:.3f}, which move by {moved:.3f} s"


def dialogs(page):
    "Close what JupyterLab asks, as a person would; its text."
    texts = []
    while (d := find(page, ".jp-Dialog")).count():
        texts.append(d.last.inner_text())
        page.keyboard.press("Escape")
        time.sleep(.2)
    return texts


class Take(float):
    "Seconds of sound, and the hash of its samples."
    def __new__(cls, seconds, hash):
        self = super().__new__(cls, seconds)
        self.hash = hash
        return self


class RecorderPage:
    "A recorder that a page shows."
    server = None
    def __init__(self, page, i=0): self.page, self.i = page, i

    @property
    def root(self): return cell(self.page, self.i).locator(".vx")
    def part(self, name): return self.root.locator(f"[data-vx={name}]")
    @property
    def status(self): return self.part("status").inner_text()
    @property
    def prompt(self): return self.part("prompt").inner_text()
    @property
    def progress(self): return self.part("progressText").inner_text()
    def seen(self, what): return self.page.evaluate(f"() => window.seen.{what}")
    def shot(self, name): return screenshot(self.root, name)

    def show(self):
        "Run the cell and wait until the recorder is there."
        run_cell(self.page, self.i, wait=False)
        return self.ready()
    def ready(self):
        try: self.root.and_(find(self.page, "[data-ready=true]")).wait_for()
        except Exception as e:
            raise AssertionError(
                f"no recorder is there; the cell shows {cell_output_text(self.page, self.i)[-2000:]!r}; "
                f"{kernel_state(self.page)}; {self.page.context.log[-5:]}\n"
                f"{self.server.stacks() if self.server else ''}") from e
        return self
    def reload(self):
        "Reload the page and run the cell again."
        reload(self.page, parked=True)
        return self.show()

    def phase(self, name): self.root.and_(find(self.page, f"[data-phase={name}]")).wait_for()
    def click(self, name): self.part(name).click()
    def key(self, k):
        """Press a key on the recorder. What JupyterLab asks meanwhile (a lost connection: seconds later on a busy
        machine) takes the focus: it is closed, and the key pressed again."""
        before = self.seen("keys")
        def reached():
            dialogs(self.page)
            self.root.focus()
            self.page.keyboard.press(k)
            return self.seen("keys") > before
        wait_for(reached, f"the key {k} to reach the recorder")
    def wait_said(self, pattern):
        "Wait until the status line says something, and return all of it."
        said = lambda: s if re.search(pattern, s := self.status) else None
        try: return wait_for(said, f"{pattern!r}", .05)
        except AssertionError as e:
            raise AssertionError(
                f"{e}; the recorder says {self.status!r}, {self.progress!r}; {self.page.context.log[-4:]}") from None

    def agree(self):
        if self.part("agree").count():
            self.click("agree")
            self.wait_said("Thank you")
        return self

    def start(self):
        self.before = len(self.seen("takes"))
        self.key("r")
        self.phase("recording")
    def stop(self):
        self.key("r")
        self.phase("idle")
    def hear(self, seconds):
        "Wait until the take that is being recorded has `seconds` of sound."
        wait_for(lambda: sum(self.seen("takes")[self.before:]) >= seconds*MIC_RATE, f"{seconds} s of sound", .05)
    def record(self, seconds):
        "A take of `seconds` of sound and the tail, whatever else the machine does; what it should hold."
        self.root.evaluate("""(o, n) => Object.assign(seen, {
            enough: n, stop: () => o.querySelector('[data-vx=record]').click() })""", round(seconds*MIC_RATE))
        before = len(self.seen("phases"))
        self.key("r")
        def over():
            phases = [p for p, *_ in self.seen("phases")[before:]]
            return "stopping" in phases and phases[-1] == "idle"
        try: wait_for(over, "the end of the take", .05)
        except AssertionError as e: raise AssertionError(f"{e}; the recorder says {self.status!r}") from None
        return self.expected()
    def expected(self):
        "What the audio thread handed over for the last take, tail included: as long as its own time from start to end."
        phases = wait_for(lambda: (o := self.seen("phases"))[-1][0] not in ("recording", "stopping") and o, "its tail")
        stop = max(i for i, (p, *_) in enumerate(phases) if p == "stopping")
        start = max(i for i, (p, *_) in enumerate(phases[:stop]) if p == "recording")
        seconds, clock = self.seen("takes")[-1]/MIC_RATE, phases[stop][2] - phases[start][2] + TAIL
        assert -.5 < clock - seconds < 5, f"{seconds:.2f} s of sound in {clock:.2f} s" # a busy page sees phases late
        return Take(seconds, bytes(self.page.evaluate(HASH)))
    def pcm(self):
        "The samples that the audio thread handed over for the last take."
        return np.frombuffer(base64.b64decode(self.page.evaluate(BASE64)), np.int16)
    def keep(self):
        "Keep the take; the name of its file."
        self.key("a")
        return re.search(r"Saved as (\S+\.wav)", self.wait_said("Saved as "))[1]

    def upload(self, *files):
        self.click("tab-upload")
        self.part("files").set_input_files([str(o) for o in files])
    def live_tracks(self):
        return self.page.evaluate("() => window.seen.tracks.filter(t => t.readyState === 'live').length")


def open_recorder(context, server, notebook, show=True):
    "Open a notebook whose first cell shows a recorder. `server` as `open_notebook` takes it."
    page = None if isinstance(server, tuple) else context.parked
    if page:
        context.parked = None
        open_next(page, Path(notebook).name)
    else:
        page = context.new_page()
        page.add_init_script(HOOKS)
        # JupyterLab asks when it likes, seconds after a kernel has died: whatever is clicked next waits for this
        page.add_locator_handler(find(page, ".jp-Dialog").last, lambda _: dialogs(page))
        open_notebook(page, server, Path(notebook).name)
    rec = RecorderPage(page)
    rec.server = server[0] if isinstance(server, tuple) else server
    return rec.show() if show else rec


def rows(folder): return list(SpeechDataset.open(Path(folder)/"data.jsonl"))

def check_clips(folder, source, expected={}):
    """The dataset is valid, and each clip that was recorded is what the microphone heard. `expected`: file name ->
    the Take that the audio thread handed over: not a sample may be missing or different."""
    ds, seen = SpeechDataset.open(Path(folder)/"data.jsonl"), {}
    assert ds.validate().problems == []
    for row in ds:
        if row["source"] != "recording": continue
        name = Path(row["audio_path"]).name
        x, sr = sf.read(Path(folder)/row["audio_path"], dtype="int16")
        assert sr == row["sampling_rate"] == MIC_RATE
        assert not (why := matches(x, sr, source)), f"{name}, {len(x)/sr:.2f} s: {why}"
        if name in expected: seen[name] = len(x), hashlib.sha256(x.tobytes()).digest()
    assert seen == {k: (round(v*MIC_RATE), v.hash) for k, v in expected.items()}
    return ds


def no_audio_in(notebook):
    "A notebook file that holds neither audio nor the state of widgets."
    text = Path(notebook).read_text(encoding="utf-8")
    nb = json.loads(text)
    assert "widgets" not in nb["metadata"], sorted(nb["metadata"])
    assert len(text) < 60_000, f"{Path(notebook).name} has {len(text):,} bytes"
    for word in ("RIFF", "UklGR", "data:audio", "getUserMedia"): assert word not in text, word


def desk_name(request):
    """What a test's notebooks and folders are called. The page's own storage may hold takes of a first try that failed:
    the second is in other notebooks."""
    n = getattr(request.node, "execution_count", 1)
    return re.sub(r"\[(.*)\]", r"-\1", request.node.name.removeprefix("test_")) + (f"-again{n}" if n > 1 else "")


class Desk:
    "A place to record at: each recorder in a notebook and on its own dataset folder."
    def __init__(self, server, context, name):
        self.server, self.context, self.name, self.notebooks = server, context, name, {}

    def notebook(self, args="language='en'", folder=None, more=(), before=""):
        name = f"{self.name}-{len(self.notebooks)}.ipynb"
        self.folder = self.server.folder/(folder or name.removesuffix(".ipynb"))
        code = (f"{before}from voxtral_nb.record.recorder import Recorder\n"
                f"rec = Recorder({str(self.folder)!r}, {args})\nrec")
        self.notebooks[name] = new_notebook(self.server.folder, name, [code, *more])
        return self.notebooks[name]
    def open(self, args="language='en'", url=None, context=None, agree=True, **kwargs):
        rec = open_recorder(context or self.context, (self.server, url) if url else self.server,
                            self.notebook(args, **kwargs))
        rec.folder, rec.name = self.folder, list(self.notebooks)[-1]
        return rec.agree() if agree else rec
    def close(self, keep):
        """`keep`: the test passed, and a page of JupyterLab stays, empty, for the next one; to load it is most of the
        time that a notebook takes to open."""
        lab = [p for p in self.context.pages if keep and p.url.startswith(f"{self.server.url}/lab/")]
        for p in self.context.pages:
            if p not in lab[:1]: p.close()
        self.context.parked = lab[0] if lab else None
        if lab:
            clear(lab[0])
            dialogs(lab[0])
            lab[0].evaluate("() => window.seen.anew()")
        self.stop_kernels()
        if not keep: # a second run begins as the first did
            for o in self.server.folder.iterdir(): shutil.rmtree(o, True) if o.is_dir() else o.unlink()
    def stop_kernels(self):
        for s in self.server.api("api/sessions"):
            try: self.server.api(f"api/sessions/{s['id']}", "DELETE")
            except urllib.error.HTTPError: pass # its kernel is just being started again; it ends with the server


def no_errors(context):
    """Nothing went wrong in the page unseen. (Notebook 7 has its own error about a `schema`, also in a notebook
    with nothing but 1 + 1.)"""
    assert not (bad := [o for o in context.log if o.startswith("uncaught") and "reading 'schema'" not in o]), bad


def axe(root, *leave_out):
    "What axe-core finds wrong in an element: [rule, impact, the first places]. `leave_out`: rules."
    import axe_playwright_python
    page = root.page
    if not page.evaluate("() => !!window.axe"):
        page.evaluate((Path(axe_playwright_python.__file__).parent/"axe.min.js").read_text(encoding="utf-8"))
    found = root.evaluate("""async (e) => (await axe.run(e)).violations.map(
        v => [v.id, v.impact, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))])""")
    return [o for o in found if o[0] not in leave_out]
