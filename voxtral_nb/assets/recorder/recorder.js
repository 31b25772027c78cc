// The page's side of the recorder: microphone, takes on their way to the kernel, and what is shown.
// How it works together with Python, and why: nbs/record/06_recorder.ipynb. Everything from outside is shown as text, never as HTML.

const PART = 1 << 20; // bytes in a message: Jupyter's websocket drops messages over 10 MiB
const TAIL = 0.5; // s that are recorded after "stop", so that endings are not cut
const SETTLE = 200; // ms from opening a microphone to the first sample that counts: devices click and stutter when they start
const PATIENCE = 3000; // ms without an answer before somebody asks whether anybody is there
const IDLE = 300000; // ms after which a microphone that nobody uses is switched off
const HOLD = 10000; // ms after which a part is sent even if it is small

const hex = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
const now = () => performance.now();
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

// ---- Kernel: requests with answers ----------------------------------------------------------------------------------------------------
// Answers come in the order of the requests. So when a ping is answered, what was sent before it and is still open was lost: send it again.
// A kernel that is only busy answers the ping as late as everything else, and nothing is sent twice.
class Kernel {
  constructor(model, onState, onSilence) {
    Object.assign(this, { model, onState, onSilence, open: new Map(), seq: 0, pinged: 0, every: PATIENCE });
    this.receive = (msg, buffers) => this.answer(msg, buffers || []);
    this.changed = () => this.request("ping").catch(() => {}); // Jupyter says this when the kernel was restarted or killed: look whether it still knows us
    model.on("msg:custom", this.receive);
    model.on("comm_live_update", this.changed);
    this.timer = setInterval(() => this.look(), 500);
  }
  request(op, args = {}, buffers = []) {
    return new Promise((resolve, reject) => {
      const r = { msg: { id: hex(), op, args }, buffers, first: now(), resolve, reject };
      this.open.set(r.msg.id, r);
      this.post(r);
    });
  }
  post(r) {
    r.seq = ++this.seq;
    r.at = now();
    try {
      this.model.send(r.msg, undefined, r.buffers);
      this.gone = false;
    } catch (e) { this.gone = true; } // Jupyter throws when the kernel has forgotten this widget; look() goes on asking
  }
  answer(msg, buffers) {
    try { if (msg.state) this.onState(msg.state); } catch (e) { console.error("recorder: this state cannot be shown", e); }
    const r = this.open.get(msg.id);
    if (!r) return;
    this.open.delete(msg.id);
    this.every = PATIENCE;
    if (r.msg.op === "ping") for (const o of [...this.open.values()]) if (o.seq < r.seq) o.msg.op === "ping" ? this.open.delete(o.msg.id) : this.post(o);
    if (msg.ok) r.resolve({ ...msg, buffers });
    else r.reject(new Error(msg.error));
  }
  look() {
    const t = now(), asked = [...this.open.values()].filter((o) => o.msg.op !== "ping");
    this.onSilence(asked.length ? (t - Math.min(...asked.map((o) => o.first))) / 1000 : 0);
    if (!asked.some((o) => t - o.at > PATIENCE) || t - this.pinged < this.every) return;
    this.pinged = t;
    this.every = Math.min(30000, this.every * 1.5);
    this.request("ping").catch(() => {});
  }
  close() { clearInterval(this.timer); this.model.off("msg:custom", this.receive); this.model.off("comm_live_update", this.changed); }
}

// ---- Shelf: the browser's own copy of takes that have not arrived -----------------------------------------------------------------------
const done = (r) => new Promise((ok, no) => { r.onsuccess = () => ok(r.result); r.onerror = () => no(r.error); });

class Shelf {
  async open() {
    try {
      const r = indexedDB.open("voxtral_nb.recorder", 1);
      r.onupgradeneeded = () => { r.result.createObjectStore("takes", { keyPath: "id" }); r.result.createObjectStore("parts"); };
      this.opened = done(r).then((db) => Object.assign(this, { db, broken: null }));
      const late = new Promise((_, no) => setTimeout(() => no(new Error("the browser's storage does not answer")), 3000));
      await Promise.race([this.opened, late]); // it may still come later: `opened`
    } catch (e) { this.broken = e?.message || "no storage"; }
  }
  async use(work) { // `work` gets the two stores; undefined if it failed: a full or closed storage is shown, and recording goes on without it
    if (!this.db) return undefined;
    try {
      const t = this.db.transaction(["takes", "parts"], "readwrite");
      const over = new Promise((ok, no) => { t.oncomplete = () => ok(true); t.onabort = t.onerror = () => no(t.error || new Error("storage failed")); });
      over.catch(() => {});
      const result = await work(t.objectStore("takes"), t.objectStore("parts"));
      await over; // only now it is kept
      return result ?? true;
    } catch (e) { this.broken = e?.message || "storage failed"; return undefined; }
  }
  range(id) { return IDBKeyRange.bound([id, 0], [id, Infinity]); }
  begin(take) { return this.use((takes) => done(takes.put(take))); }
  part(id, offset, buffer) { return this.use((_, parts) => done(parts.put(buffer, [id, offset]))); }
  async parts(id) { // without a hole: what follows one is skipped
    const [keys, values] = (await this.use((_, parts) => Promise.all([done(parts.getAllKeys(this.range(id))), done(parts.getAll(this.range(id)))]))) || [[], []];
    let size = 0;
    return values.filter((v, i) => keys[i][1] === size && (size += v.byteLength));
  }
  drop(id) { return this.use((takes, parts) => Promise.all([done(parts.delete(this.range(id))), done(takes.delete(id))])); }
  async list() { return (await this.use((takes) => done(takes.getAll()))) || []; }
}

// ---- Outgoing: a take on its way ---------------------------------------------------------------------------------------------------------
class Outgoing {
  constructor(take) {
    Object.assign(this, { id: hex(), created_at: new Date().toISOString(), bytes: 0, sent: 0, shelved: 0, done: false, last: now(), pcm: new Uint8Array(1 << 18) }, take);
  }
  add(block) { // ArrayBuffer of int16 samples
    if (this.bytes + block.byteLength > this.pcm.length) {
      const more = new Uint8Array(2 * this.pcm.length + block.byteLength);
      more.set(this.pcm.subarray(0, this.bytes));
      this.pcm = more;
    }
    this.pcm.set(new Uint8Array(block), this.bytes);
    this.bytes += block.byteLength;
  }
  slice(from, to) { return this.pcm.slice(from, to).buffer; }
  get seconds() { return this.bytes / 2 / this.rate; }
  get meta() { const { id, created_at, rate, prompt, dataset, speaker } = this; return { id, created_at, rate, prompt, dataset, speaker }; }
}

function wav(pcm, rate) { // 16-bit mono
  const head = new DataView(new ArrayBuffer(44)), n = pcm.byteLength;
  const text = (at, s) => [...s].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); head.setUint32(4, 36 + n, true); text(8, "WAVEfmt "); head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, 2 * rate, true); head.setUint16(32, 2, true); head.setUint16(34, 16, true); text(36, "data"); head.setUint32(40, n, true);
  return new Blob([head, pcm], { type: "audio/wav" });
}

// ---- Microphone --------------------------------------------------------------------------------------------------------------------------
const WORKLET = `
const clamp = (v) => Math.max(-32768, Math.min(32767, Math.round(v * 32768)));
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    Object.assign(this, { pcm: new Int16Array(2048), n: 0, peak: 0, take: 0, left: Infinity }); // take: number of the one that is recorded, 0 for none
    this.port.onmessage = ({ data }) => {
      if (data.start) { this.flush(); this.take = data.start; this.left = Infinity; }
      else if (this.take && this.left === Infinity) this.left = data.tail;
    };
  }
  flush() { if (this.n) this.port.postMessage({ take: this.take, pcm: this.pcm.slice(0, this.take ? this.n : 0).buffer, peak: this.peak }); this.n = this.peak = 0; }
  process([input]) {
    const x = input[0] || new Float32Array(128);
    for (const v of x) {
      this.peak = Math.max(this.peak, Math.abs(v));
      this.pcm[this.n++] = clamp(v);
      if (this.take && --this.left <= 0) { this.flush(); this.port.postMessage({ take: this.take, done: true }); this.take = 0; }
      if (this.n === this.pcm.length) this.flush();
    }
    return true;
  }
}
registerProcessor("voxtral-nb-tap", Tap);`;

const inVSCode = () => location.protocol === "vscode-webview:" || "vscodeThemeKind" in document.body.dataset;
const UPLOAD = "You can upload files instead.";

function blocked() { // why there can be no microphone here; empty if there can
  const port = location.port || 8888;
  if (inVSCode()) return `VS Code does not let notebooks use the microphone. Open this notebook with JupyterLab in a browser. ${UPLOAD}`;
  if (!window.isSecureContext) return `Browsers hide the microphone from pages that come over plain http from another machine (${location.origin}). Use https, or an ssh tunnel: run  ssh -L ${port}:localhost:${port} ${location.hostname}  on your computer and open http://localhost:${port} there. ${UPLOAD}`;
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return `This browser cannot record. Use a current Chrome, Edge, Firefox or Safari. ${UPLOAD}`;
  return "";
}

const WHY = {
  NotAllowedError: `The browser did not allow the microphone. Allow it for this page (the icon left of the address, or the system's privacy settings), then press Record again. ${UPLOAD}`,
  NotFoundError: `No microphone was found. Plug one in, or switch it on in the system's sound settings, then press Record again. ${UPLOAD}`,
  NotReadableError: `The microphone cannot be opened: another program may be using it. Close that program and press Record again. ${UPLOAD}`,
  OverconstrainedError: "The chosen microphone is no longer connected: choose another and press Record again.",
};
const why = (e) => WHY[e.name] || (e.name === "Error" ? e.message : `The microphone could not be opened (${e.name}: ${e.message}). ${UPLOAD}`);

class Microphone {
  constructor(onBlock, onDone, onLost) { Object.assign(this, { onBlock, onDone, onLost, run: 0 }); }
  get on() { return !!this.node; }
  async open(device) {
    this.close();
    const reason = blocked(), run = this.run;
    this.wanted = device;
    if (reason) throw new Error(reason);
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: { ...(device ? { deviceId: { exact: device } } : {}), channelCount: { ideal: 1 }, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    if (run !== this.run) { stream.getTracks().forEach((t) => t.stop()); throw new Error("The microphone was closed again."); }
    this.stream = stream;
    try { await this.listen(stream, run); } catch (e) { this.close(); throw e; }
  }
  async listen(stream, run) {
    const track = stream.getAudioTracks()[0], rate = track.getSettings().sampleRate;
    this.ctx = new AudioContext();
    if (rate && rate !== this.ctx.sampleRate) { this.ctx.close(); this.ctx = new AudioContext({ sampleRate: rate }); } // the device's own rate, where the browser tells it
    const url = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    try { await this.ctx.audioWorklet.addModule(url); } finally { URL.revokeObjectURL(url); }
    await this.ctx.resume();
    if (run !== this.run) throw new Error("The microphone was closed again.");
    this.node = new AudioWorkletNode(this.ctx, "voxtral-nb-tap", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.node.port.onmessage = ({ data }) => {
      const mine = this.busy && data.take === this.take;
      this.heardAt = now();
      this.first?.();
      if (!data.done) this.onBlock(mine ? data : { peak: data.peak });
      else if (mine) this.finished();
    };
    const sounds = new Promise((ok, no) => { this.first = ok; setTimeout(() => no(new Error(`The microphone gives no sound: is it muted or used by another program? ${UPLOAD}`)), 5000); });
    sounds.catch(() => {}); // it is awaited below, if nothing else goes wrong before
    this.ctx.createMediaStreamSource(stream).connect(this.node);
    this.rate = this.ctx.sampleRate;
    this.device = track.getSettings().deviceId;
    track.onended = () => this.onLost();
    await sounds; // a graph that is built may still take a quarter of a second to run
    if (run !== this.run) throw new Error("The microphone was closed again.");
  }
  start() {
    this.busy = true;
    this.take = (this.take || 0) + 1;
    this.node.port.postMessage({ start: this.take });
  }
  stop(tail) { // the worklet counts the tail in samples; only when nothing has come from it for a second, what is there is the take
    if (!this.node) return this.finished();
    this.node.port.postMessage({ tail: Math.max(1, Math.round(tail * this.rate)) });
    const look = () => { this.late = setTimeout(() => (now() - this.heardAt < 1000 ? look() : this.finished()), 500); };
    this.late = setTimeout(look, 1000 * (tail + 1));
  }
  finished() { clearTimeout(this.late); if (this.busy) { this.busy = false; this.onDone(); } }
  close() {
    this.run++;
    this.stream?.getTracks().forEach((t) => { t.onended = null; t.stop(); });
    this.ctx?.close().catch(() => {});
    this.stream = this.ctx = this.node = null;
    this.finished();
  }
}

// ---- What is shown -----------------------------------------------------------------------------------------------------------------------
function h(tag, props = {}, ...children) { // an element; texts become text nodes
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k === "class" || k.includes("-") || k === "role" || k === "for" || k === "lang" || k === "dir") e.setAttribute(k, v);
    else e[k] = v;
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return e;
}

const ICONS = {
  record: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11z", stop: "M3.5 3.5h9v9h-9z", play: "M4 2.5v11l9-5.5z", keep: "M2.5 8.5l1.6-1.7 2.6 2.6 5.3-6 1.7 1.5-6.9 7.9z",
  skip: "M2.5 3v10l6-5zM8.5 3v10l5-5z", flag: "M3.5 2v12.5h1.6V9.6h7.4l-1.8-3.6 1.8-3.6z", discard: "M3 4.2h10v1.3H3zM6.2 2.4h3.6v1.3H6.2zM4 6.3h8l-.7 7.5H4.7z",
  undo: "M6.5 2.8L2 6.8l4.5 4V8.3c3 0 5 .9 6.5 3.2c-.5-3.600-2.500-6-6.500-6.300z", again: "M8 2.500a5.500 5.500 0 1 0 5.400 6.600h-1.800A3.800 3.800 0 1 1 8 4.300v2.500l4-3.400L8 0z",
};
function icon(name) {
  const ns = "http://www.w3.org/2000/svg", s = document.createElementNS(ns, "svg"), p = document.createElementNS(ns, "path");
  s.setAttribute("viewBox", "0 0 16 16"); s.setAttribute("aria-hidden", "true"); s.setAttribute("class", "vx-icon");
  p.setAttribute("d", ICONS[name]); s.append(p);
  return s;
}

class App {
  constructor(model, el) {
    Object.assign(this, { state: null, rev: -1, phase: "idle", view: "record", outbox: new Map(), loudness: 0, live: [], selected: null, shown: {}, silence: 0, closed: false, leaving: new AbortController() });
    this.kernel = new Kernel(model, (s) => this.learn(s), (s) => this.wait(s));
    this.mic = new Microphone((b) => this.block(b), () => this.ended(), () => this.lost());
    this.shelf = new Shelf();
    this.build(el);
    this.hidden = () => {
      if (document.visibilityState === "hidden") this.release("The microphone was switched off while this page was hidden.");
      else this.kernel.request("hello").catch(() => {}); // somebody else may have recorded meanwhile
    };
    document.addEventListener("visibilitychange", this.hidden);
    this.keydown = (e) => this.root.contains(e.target) && this.key(e); // on its way down, at the window: Notebook 7 listens at the document and heeds no attribute
    window.addEventListener("keydown", this.keydown, true);
    this.sizes = new ResizeObserver(() => (this.root.clientWidth ? this.paint() : this.release("The microphone was switched off while the recorder was hidden.")));
    this.sizes.observe(this.root);
    this.start();
  }

  async start() {
    const opened = this.shelf.open();
    try {
      await this.kernel.request("hello");
      await opened;
      if (this.shelf.db) await this.recover();
      else this.shelf.opened?.then(() => this.recover()).catch((e) => console.warn("recorder: no storage", e));
    } catch (e) { this.say(e.message, "error"); }
  }

  close() { // the cell was run again, cleared or deleted, or the page closes: the shelf has what has not arrived
    this.closed = true;
    this.sizes.disconnect();
    window.removeEventListener("keydown", this.keydown, true);
    this.leaving.abort();
    this.mic.close();
    this.sound?.pause();
    this.kernel.close();
    for (const out of this.outbox.values()) out.release?.();
    document.removeEventListener("visibilitychange", this.hidden);
    cancelAnimationFrame(this.frame);
  }

  // -- talking to Python
  learn(s) {
    if (s.broken) { this.broken = s.broken; return this.paint(); }
    if (s.rev <= this.rev) return;
    this.broken = null;
    this.rev = s.rev;
    this.state = s;
    this.paint();
  }
  promptShown() { return this.reading?.prompt || this.state?.prompt; } // while a take is on its way, what it was read from: the state may be further already
  wait(seconds) {
    this.silence = seconds;
    if (this.kernel.gone && !this.out) for (const o of this.outbox.values()) o.release?.(); // the next view may bring them back
    this.paintStatus();
  }
  async ask(op, args, said) { // a request whose failure is shown
    try {
      const request = this.kernel.request(op, args);
      this.moving = Promise.allSettled([this.moving, request]); // the prompt may change: recording waits
      const a = await request;
      this.say(typeof said === "function" ? said(a) : said || "", "ok");
      return a;
    } catch (e) { this.say(e.message, "error"); return null; }
  }

  // -- a take, from the microphone to the folder
  async toggle() {
    if (this.phase === "recording") return this.stop();
    if (this.phase !== "idle" || !this.state) return;
    this.phase = "opening";
    this.paint();
    await this.moving;
    this.phase = "idle";
    if (this.state.consent || !this.state.prompt || this.closed) return this.paint();
    if (!(await this.openMic())) return;
    this.stopSound();
    const { prompt, dataset, speaker } = this.state;
    const out = (this.out = this.reading = new Outgoing({ rate: this.mic.rate, prompt: { id: prompt.id, text: prompt.text, language: prompt.language }, dataset, speaker, loud: 0, quiet: 0 }));
    this.outbox.set(out.id, out);
    this.holdLock(out);
    this.shelf.begin(out.meta);
    this.live = [];
    this.phase = "recording";
    this.mic.start();
    this.pump(out);
    this.say(this.state.free ? "Recording. Speak freely." : "Recording. Read the sentence aloud.", "info");
    this.paint();
  }
  async openMic() {
    if (this.mic.on && this.mic.wanted === this.device.value) return true;
    this.phase = "opening";
    this.say("Waiting for the microphone: allow it if the browser asks.", "info");
    this.paint();
    try {
      await this.mic.open(this.device.value);
      await new Promise((ok) => setTimeout(ok, SETTLE));
      if (!this.mic.on) throw new Error("The microphone was closed again.");
      this.devices();
      this.usedAt = now();
      this.say("The microphone is on.", "ok");
      return true;
    } catch (e) { this.say(why(e), "error"); return false; } finally { if (this.phase === "opening") this.phase = "idle"; this.paint(); }
  }
  async toggleMic() { this.mic.on ? this.release("The microphone is off.") : await this.openMic(); }
  block({ pcm, peak }) {
    this.loudness = Math.max(peak, this.loudness * 0.8);
    if (peak >= 0.999) this.clippedAt = now();
    this.animate();
    const out = this.out;
    if (this.phase !== "idle") this.usedAt = now();
    else if (this.mic.on && now() - this.usedAt > IDLE) this.release("The microphone was switched off after five minutes without a recording.");
    if (!out || !pcm?.byteLength) return;
    out.add(pcm);
    this.live.push(peak);
    if (out.bytes - out.shelved >= 2 * out.rate) this.copy(out);
    this.pump(out);
    if (this.phase !== "recording") return;
    const { auto_stop, longest } = this.state.settings;
    out.loud = Math.max(out.loud, peak);
    out.quiet = peak < Math.max(0.02, 0.1 * out.loud) ? out.quiet + pcm.byteLength / 2 / out.rate : 0;
    if (auto_stop && out.loud > 0.05 && out.quiet >= auto_stop) this.stop(0.05);
    else if (out.seconds >= longest) this.stop(0.05, `The take was stopped at ${clock(longest)}, the longest allowed.`);
  }
  async copy(out) { // the browser's own copy grows once a second, until a part of it cannot be kept
    if (out.holed || out.shelved === out.bytes) return;
    const from = out.shelved;
    out.shelved = out.bytes;
    if (!(await this.shelf.part(out.id, from, out.slice(from, out.bytes)))) out.holed = true;
  }
  stop(tail = TAIL, said = "") {
    if (this.phase !== "recording") return;
    this.phase = "stopping";
    this.out.said = said;
    this.mic.stop(tail);
    this.paint();
  }
  async ended() { // all samples of the take are here
    const out = this.out;
    this.out = null;
    if (!out) return;
    this.phase = "sending";
    out.done = true;
    this.paint();
    const copied = this.copy(out).then(() => this.shelf.begin({ ...out.meta, bytes: out.cut ? Infinity : out.bytes }));
    if (this.closed) return;
    if (out.failed) return this.refused(out, new Error(out.failed)); // a part was refused while the recording went on
    await this.pump(out);
    await copied;
  }
  lost() { this.release("The microphone was unplugged or disabled."); }
  release(said) {
    if (!this.mic.on && this.phase !== "opening") return;
    if (this.phase === "recording" || this.phase === "stopping") {
      this.phase = "stopping";
      Object.assign(this.out, { said: `${said} The take up to that point is kept.`, cut: true });
      this.mic.close();
    }
    else { this.mic.close(); this.say(said, "info"); }
    this.loudness = 0;
    this.animate();
    this.paint();
  }
  async pump(out) { // send what is there, one part after the other
    const due = () => out.bytes - out.sent >= PART || (out.done && out.sent < out.bytes) || (out.sent < out.bytes && now() - out.last > HOLD);
    if (out.busy || out.failed || !(due() || !out.begun || out.done)) return;
    out.busy = true;
    try {
      if (!out.begun) {
        const { id, rate, prompt, created_at } = out;
        out.sent = Math.min(out.bytes, (await this.kernel.request("begin", { take: id, rate, prompt, created_at })).have);
        out.begun = true;
      }
      for (let stuck = 0; ;) {
        while (due()) {
          const from = out.sent, to = Math.min(out.bytes, from + PART);
          out.last = now();
          out.sent = (await this.kernel.request("part", { take: out.id, offset: from }, [out.slice(from, to)])).have;
          if (out.sent <= from && ++stuck > 5) throw new Error("The kernel cannot accept this take. Download it, and upload it as a file.");
        }
        if (!out.done) break;
        out.sent = (await this.kernel.request("end", { take: out.id, samples: out.bytes / 2, interrupted: !!out.cut })).have;
        if (out.sent >= out.bytes) { await this.arrived(out); break; }
      }
    } catch (e) { await this.refused(out, e); } finally { out.busy = false; }
    if (out.done && !out.arrived && !out.failed) this.pump(out); // it ended while the last part was on its way
  }
  async arrived(out) {
    out.arrived = true;
    this.outbox.delete(out.id);
    this.shelf.drop(out.id).then(() => out.release?.());
    if (this.phase === "sending") this.phase = "idle";
    const take = this.state.takes.find((t) => t.id === out.id);
    this.selected = take ? out.id : this.selected;
    if (this.reading === out) this.reading = null;
    if (out.recovered) return this.say(`A take of ${(take?.seconds || out.seconds).toFixed(1)} s was restored from this browser.`, "warn");
    if (take && this.state.settings.auto_keep && !out.said && !take.problems.length && !this.state.free) return this.keep();
    this.say(out.said || `Take of ${out.seconds.toFixed(1)} s: listen to it, keep it, or record again.`, out.said ? "warn" : "info");
    this.paint();
    if (take && this.state.settings.check && !this.state.free) this.checkScript(out.id);
  }
  async refused(out, e) {
    if (out.done && !out.bytes && out.begun) { this.outbox.delete(out.id); this.shelf.drop(out.id); out.release?.(); }
    else out.failed = e.message;
    if (out.done && this.reading === out) this.reading = null;
    if (this.phase === "sending" && out.done) this.phase = "idle";
    this.say(e.message, "error");
    this.paint();
  }
  retry(out) { out.failed = null; this.say("Sending again.", "info"); this.paint(); this.pump(out); }
  async checkScript(id) {
    this.heard = { id, text: "listening …" };
    this.paint();
    try { this.heard = { ...(await this.kernel.request("check", { take: id })), id }; } catch (e) { this.heard = { id, text: e.message }; }
    this.paint();
  }
  async keep() {
    const take = this.take();
    if (!take || this.phase !== "idle" || this.keeping) return;
    this.keeping = true;
    await this.ask("keep", { take: take.id, text: this.transcript.value }, (a) => `Saved as ${a.saved.split("/").pop()}.`);
    this.keeping = false;
  }
  take() { const t = this.state?.takes || []; return t.find((o) => o.id === this.selected) || t[t.length - 1]; }

  // -- takes that did not arrive: a page that was closed, a kernel that was killed
  holdLock(out) { navigator.locks?.request(`voxtral_nb.take.${out.id}`, () => new Promise((ok) => { out.release = ok; })); }
  async recover() {
    const old = Date.now() - 30 * 86400e3;
    for (const meta of await this.shelf.list()) {
      if (Date.parse(meta.created_at) < old) await this.shelf.drop(meta.id); // nobody restored it
      else if (meta.dataset === this.state?.dataset && meta.speaker === this.state?.speaker && !this.outbox.has(meta.id)) this.whenFree(meta);
    }
  }
  whenFree(meta) { // another view may be recording it just now: its turn comes when that view is done or gone
    if (!navigator.locks) return this.bringBack(meta).catch((e) => this.say(e.message, "error"));
    return navigator.locks.request(`voxtral_nb.take.${meta.id}`, { signal: this.leaving.signal }, () => this.bringBack(meta)).catch((e) => e.name === "AbortError" || this.say(e.message, "error"));
  }
  async bringBack({ id }) {
    const meta = (await this.shelf.list()).find((m) => m.id === id);
    if (!meta || this.closed) return;
    const parts = await this.shelf.parts(id), { what } = await this.kernel.request("known", { take: id });
    if (what === "kept" || what === "finished" || !parts.length) { await this.shelf.drop(id); return; }
    const out = new Outgoing({ ...meta, bytes: 0, recovered: true, done: true });
    parts.forEach((p) => out.add(p));
    out.cut = out.bytes !== meta.bytes;
    out.shelved = out.bytes;
    this.outbox.set(id, out);
    await this.pump(out);
  }

  // -- hearing
  stopSound() { this.hearing = (this.hearing || 0) + 1; if (this.sound) { this.sound.pause(); this.sound = null; this.paint(); } }
  async hear(what, key) {
    if (this.phase !== "idle") return;
    const same = this.sound?.key === key;
    this.stopSound();
    if (same) return;
    const run = this.hearing;
    try {
      const parts = [];
      for (let have = 0, size = 1; have < size; ) {
        const a = await this.kernel.request("audio", { ...what, offset: have });
        size = a.size;
        if (!a.buffers[0]?.byteLength) break;
        parts.push(a.buffers[0]);
        have += a.buffers[0].byteLength;
      }
      const pcm = await new Blob(parts).arrayBuffer();
      if (run !== this.hearing || this.phase !== "idle" || this.closed) return; // something else began meanwhile
      const url = URL.createObjectURL(what.take ? wav(pcm, this.state.takes.find((t) => t.id === what.take)?.rate || 48000) : new Blob([pcm], { type: "audio/wav" }));
      const sound = (this.sound = Object.assign(new Audio(url), { key }));
      sound.onended = sound.onpause = () => { URL.revokeObjectURL(url); if (this.sound === sound) this.sound = null; this.paint(); };
      await sound.play();
      this.paint();
    } catch (e) { this.sound = null; this.say(`It could not be played: ${e.message}`, "error"); }
  }

  // -- files
  async send(files) {
    for (const f of files) {
      const id = hex(), row = { name: f.name, done: 0 };
      this.sending = [...(this.sending || []), row];
      try {
        let { have } = await this.kernel.request("file_begin", { file: id, name: f.name, size: f.size });
        while (have < f.size) {
          this.paint();
          const part = await f.slice(have, have + PART).arrayBuffer();
          have = (await this.kernel.request("file_part", { file: id, offset: have }, [part])).have;
          row.done = have / f.size;
        }
        await this.kernel.request("file_end", { file: id });
        this.sending = this.sending.filter((o) => o !== row);
      } catch (e) { row.failed = e.message; }
      this.paint();
    }
    await this.kernel.request("uploads").catch((e) => this.say(e.message, "error"));
    this.files.value = "";
    const bad = this.sending.filter((o) => o.failed).length;
    this.say(bad ? `${bad} files did not arrive.` : "Look at the list, add transcripts, then save.", bad ? "error" : "info");
  }
  async saveUploads() {
    await this.ask("upload_save", {}, (a) => `${a.saved} files saved${a.left ? `, ${a.left} left to fix` : ""}.`);
  }

  // -- the page
  button(name, key, label, act, more = {}) {
    const keyed = key ? { "aria-keyshortcuts": key.toUpperCase() } : {};
    const b = h("button", { type: "button", class: `vx-button vx-${name}`, "data-vx": name, ...keyed, ...more, onclick: () => b.getAttribute("aria-disabled") !== "true" && act() },
      icon(ICONS[name] ? name : "record"), h("span", { class: "vx-label" }, label), key ? h("kbd", {}, key.toUpperCase()) : null);
    if (key) this.keys[key] = b;
    return b;
  }
  build(el) {
    this.keys = {};
    const field = (name, tag, props, ...kids) => (this[name] = h(tag, { "data-vx": name, ...props }, ...kids));
    const tab = (name, label) => h("button", { type: "button", role: "tab", class: "vx-tab", "data-vx": `tab-${name}`, onclick: () => { this.view = name; if (this.phase === "idle") this.say(""); this.paint(); } }, label);
    this.tabs = { record: tab("record", "Record"), upload: tab("upload", "Upload"), saved: tab("saved", "Saved") };
    this.device = h("select", { "data-vx": "device", "aria-label": "Microphone", onchange: () => this.mic.on && this.phase === "idle" && this.openMic() }, h("option", { value: "" }, "Default microphone"));
    this.bar = h("div", { class: "vx-level-bar" });
    this.buttons = {
      record: this.button("record", "r", "Record", () => this.toggle()), play: this.button("play", "p", "Play", () => this.take() && this.hear({ take: this.take().id }, this.take().id)),
      keep: this.button("keep", "a", "Keep", () => this.keep()), skip: this.button("skip", "s", "Skip", () => this.ask("skip", { prompt: this.state.prompt.id }, "Skipped.")),
      flag: this.button("flag", "f", "Flag", () => this.ask("flag", { take: this.take().id, on: !this.take().flagged }, (a) => (this.take()?.flagged ? "Flagged for review." : "No longer flagged."))),
      discard: this.button("discard", "d", "Discard", () => this.ask("discard", { take: this.take().id }, "Discarded.")), undo: this.button("undo", "z", "Undo", () => this.ask("undo", {}, "Undone.")),
    };
    const record = h("section", { class: "vx-page", "data-page": "record", role: "tabpanel" },
      field("progressText", "div", { class: "vx-progress" }), h("div", { class: "vx-track" }, field("progress", "div", { class: "vx-fill" })),
      field("prompt", "div", { class: "vx-prompt", "aria-live": "polite" }),
      field("finished", "div", { class: "vx-finished", hidden: true }),
      h("label", { class: "vx-field" }, h("span", {}, "Transcript"), field("transcript", "textarea", { rows: 2, spellcheck: true, dir: "auto" })),
      h("div", { class: "vx-sound" }, field("wave", "canvas", { class: "vx-wave", role: "img" }), field("time", "span", { class: "vx-time" })),
      h("div", { class: "vx-buttons" }, Object.values(this.buttons)),
      field("takes", "div", { class: "vx-takes", role: "radiogroup", "aria-label": "Takes" }), field("problems", "ul", { class: "vx-problems" }), field("diff", "div", { class: "vx-diff", "aria-label": "What was heard" }),
      h("div", { class: "vx-mic" }, h("button", { type: "button", class: "vx-small", "data-vx": "mic", onclick: () => this.toggleMic() }, "Switch microphone on"), this.device,
        field("level", "div", { class: "vx-level", role: "meter", "aria-label": "Level", "aria-valuemin": "-60", "aria-valuemax": "0" }, this.bar), field("clip", "span", { class: "vx-clip" }, "clipping")));
    const upload = h("section", { class: "vx-page", "data-page": "upload", role: "tabpanel" },
      field("drop", "div", { class: "vx-drop", ondragover: (e) => e.preventDefault(), ondrop: (e) => { e.preventDefault(); this.send([...e.dataTransfer.files]); } },
        h("label", {}, h("span", {}, "Choose or drop audio (WAV, FLAC, MP3, OGG, Opus) and, if you have them, transcripts (CSV, TXT, JSONL)"),
          field("files", "input", { type: "file", multiple: true, accept: ".wav,.flac,.mp3,.ogg,.opus,.csv,.tsv,.txt,.jsonl,audio/*", onchange: (e) => this.send([...e.target.files]) }))),
      field("sendingList", "ul", { class: "vx-sending" }), field("table", "div", { class: "vx-table" }),
      h("label", { class: "vx-field" }, h("span", {}, "Paste transcripts: one line for each file, in this order"), field("pasted", "textarea", { rows: 3, dir: "auto" })),
      h("div", { class: "vx-buttons" }, field("use", "button", { type: "button", class: "vx-small", onclick: () => this.ask("upload_paste", { text: this.pasted.value }, (a) => `${a.n} transcripts assigned.`) }, "Use these lines"),
        field("save", "button", { type: "button", class: "vx-button vx-keep", onclick: () => this.save.getAttribute("aria-disabled") !== "true" && this.saveUploads() }, "Save")));
    const saved = h("section", { class: "vx-page", "data-page": "saved", role: "tabpanel" }, field("clips", "ol", { class: "vx-clips" }));
    this.pages = { record, upload, saved };
    field("consent", "section", { class: "vx-consent", hidden: true });
    field("status", "div", { class: "vx-status", role: "status", "aria-live": "polite" });
    field("unsent", "div", { class: "vx-unsent" });
    field("who", "span", { class: "vx-who" });
    this.root = h("div", { class: "vx", tabIndex: 0, role: "region", "aria-label": "Recorder", "data-vx": "root", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "vx-head" }, h("div", { role: "tablist", class: "vx-tabs" }, Object.values(this.tabs)), this.who), this.consent, record, upload, saved, this.unsent, this.status);
    el.append(this.root);
    for (const box of [this.table, this.clips]) box.addEventListener("focusout", () => setTimeout(() => this.paint())); // what could not be shown under a typing hand
    const reason = blocked();
    if (reason) this.say(reason, "error");
    this.paint();
  }
  key(e) {
    if ((e.ctrlKey || e.metaKey) && e.key === "s") return; // the notebook may save itself
    e.stopPropagation();
    if (e.ctrlKey || e.metaKey) return;
    if (e.target.matches("textarea, select, input:not([type=checkbox]):not([type=radio])")) { if (e.key === "Escape") this.root.focus(); return; }
    if (e.altKey || e.repeat) return;
    const k = /^[a-z]$/i.test(e.key) ? e.key.toLowerCase() : e.code?.startsWith("Key") ? e.code[3].toLowerCase() : "";
    if (this.view !== "record" || !this.keys[k] || !this.state || this.state.consent) return;
    e.preventDefault();
    this.keys[k].click();
  }
  say(text, kind = "info") {
    this.message = { text, kind };
    this.paintStatus();
  }
  paintStatus() {
    const safe = "What you recorded is safe in this browser";
    const waiting = this.kernel.gone ? `The kernel was restarted and no longer knows this recorder: run this cell again. ${safe} and will come back.` : this.silence > 3 ? `The kernel does not answer: it is busy, or the connection is gone. ${safe} and is sent when the kernel answers; after a restart, run this cell again.` : "";
    const m = this.broken ? { text: this.broken, kind: "error" } : waiting ? { text: waiting, kind: "warn" } : this.message || { text: "", kind: "info" };
    if (this.status.textContent === m.text && this.status.dataset.kind === m.kind) return;
    this.status.textContent = m.text;
    this.status.dataset.kind = m.kind;
    this.status.setAttribute("aria-live", m.kind === "error" ? "assertive" : "polite");
  }
  async devices() {
    const all = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "audioinput" && d.deviceId !== "default" && d.deviceId !== "communications");
    const was = this.device.value;
    this.device.replaceChildren(h("option", { value: "" }, "Default microphone"), ...all.map((d, i) => h("option", { value: d.deviceId }, d.label || `Microphone ${i + 1}`)));
    this.device.value = all.some((d) => d.deviceId === was) ? was : "";
  }
  refill(box, nodes) { // rebuild a list; the focus stays where it was in it
    const all = () => [...box.querySelectorAll("input, button")], at = all().indexOf(document.activeElement);
    box.replaceChildren(...nodes);
    if (at >= 0) all()[Math.min(at, all().length - 1)]?.focus({ preventScroll: true });
  }
  changed(name, value) { // has what `name` shows changed? Lists are rebuilt only then, and never under a typing hand
    const s = JSON.stringify(value), box = { takes: this.takes, saved: this.clips, uploads: this.table }[name];
    if (this.shown[name] === s || (box?.contains(document.activeElement) && document.activeElement.matches("input"))) return false;
    this.shown[name] = s;
    return true;
  }
  paint() {
    if (this.closed) return;
    const s = this.state, held = this.root.contains(document.activeElement), able = (b, on) => b.setAttribute("aria-disabled", String(!on));
    const busy = this.phase !== "idle", take = this.take();
    Object.assign(this.root.dataset, { phase: this.phase, mic: this.mic.on ? "on" : "off", view: this.view, ready: String(!!s) });
    this.paintStatus();
    this.paintUnsent();
    if (!s) return;
    this.who.textContent = `${s.folder} · ${s.speaker}`;
    this.tabs.saved.textContent = `Saved ${s.clips}`;
    for (const [k, t] of Object.entries(this.tabs)) { t.setAttribute("aria-selected", String(k === this.view)); this.pages[k].hidden = k !== this.view || (!!s.consent && k !== "saved"); }
    this.paintConsent(s);
    this.paintPrompt(s);
    const b = this.buttons, label = (o, t, i) => { o.querySelector(".vx-label").textContent = t; if (i) o.querySelector("svg").replaceWith(icon(i)); };
    label(b.record, this.phase === "recording" ? "Stop" : this.phase === "stopping" ? "Stopping …" : this.phase === "opening" ? "Opening …" : this.phase === "sending" ? "Saving take …" : take ? "Again" : "Record", this.phase === "recording" ? "stop" : "record");
    able(b.record, (this.phase === "idle" && s.prompt) || this.phase === "recording");
    label(b.play, this.sound && this.sound.key === take?.id ? "Stop" : "Play", this.sound && this.sound.key === take?.id ? "stop" : "play");
    able(b.play, take && !busy);
    label(b.keep, take?.problems.length ? "Keep anyway" : "Keep");
    able(b.keep, take && !busy && !take.problems.some((p) => p.refuse));
    able(b.skip, s.prompt && !s.free && !busy);
    able(b.flag, take && !busy);
    b.flag.setAttribute("aria-pressed", String(!!take?.flagged));
    able(b.discard, take && !busy);
    able(b.undo, s.undo && !busy);
    b.undo.title = s.undo ? `Undo: ${s.undo}` : "Nothing to undo";
    this.paintTakes(s, take);
    this.paintUploads(s);
    this.paintClips(s);
    this.paintWave(take);
    this.root.querySelector("[data-vx=mic]").textContent = `Switch microphone ${this.mic.on ? "off" : "on"}`;
    if (held && (!this.root.contains(document.activeElement) || !document.activeElement.offsetParent)) this.root.focus({ preventScroll: true }); // what had it is gone or hidden
  }
  paintUnsent() {
    const lost = [...this.outbox.values()].filter((o) => o.failed);
    if (!this.changed("unsent", lost.map((o) => [o.id, o.failed, o.done]))) return;
    this.unsent.replaceChildren(...lost.map((o) => h("div", {}, `A take of ${o.seconds.toFixed(1)} s has not arrived. `,
      h("button", { type: "button", class: "vx-small", "data-vx": "retry", onclick: () => this.retry(o) }, "Retry"),
      h("button", { type: "button", class: "vx-small", "data-vx": "download", onclick: () => this.download(o) }, "Download it"),
      h("button", { type: "button", class: "vx-small", "data-vx": "forget", onclick: () => this.forget(o) }, "Delete it"))));
  }
  async forget(out) {
    this.outbox.delete(out.id);
    await this.shelf.drop(out.id);
    out.release?.();
    this.say("The take was deleted from this browser.", "info");
    this.paint();
  }
  download(out) {
    const a = h("a", { href: URL.createObjectURL(wav(out.slice(0, out.bytes), out.rate)), download: "take.wav" });
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 60000);
  }
  paintConsent(s) {
    this.consent.hidden = !s.consent || this.view === "saved";
    if (!s.consent || !this.changed("consent", s.consent)) return;
    this.consent.replaceChildren(h("h3", {}, "Before you record"), ...s.consent.text.split("\n").map((p) => h("p", {}, p)), h("p", { class: "vx-dim" }, `Stored with the date as version ${s.consent.version}, for ${s.speaker}.`),
      h("button", { type: "button", class: "vx-button vx-keep", "data-vx": "agree", onclick: () => this.ask("agree", { version: s.consent.version }, "Thank you. Press Record, or R, and speak.").then(() => this.root.focus()) }, "I agree"));
  }
  paintPrompt(s) {
    const p = this.promptShown(), note = this.shelf.broken ? " · this browser keeps no copy of takes" : "";
    this.progressText.textContent = (!s.total ? `${s.clips} clips · ${clock(s.seconds)} recorded` : `${s.number ? `Prompt ${s.number} of ${s.total}` : `${s.done} of ${s.total} prompts done`} · ${clock(s.seconds)} recorded`) + note;
    this.progress.style.width = s.total ? `${(100 * s.done) / s.total}%` : "0";
    this.progress.parentElement.hidden = !s.total;
    if (p?.id !== this.promptId) { this.promptId = p?.id; this.transcript.value = p?.text || ""; this.selected = this.heard = null; }
    this.prompt.hidden = !p;
    this.prompt.textContent = p ? p.text || "Speak freely, then type what you said." : "";
    this.prompt.lang = p?.language || "";
    this.prompt.dir = (p?.id === s.prompt?.id && p?.dir) || "auto";
    this.transcript.lang = p?.language || "";
    this.transcript.placeholder = s.free ? "Type what you said" : "";
    this.transcript.parentElement.hidden = !p;
    this.finished.hidden = !!p;
    if (p || !this.changed("finished", [s.total, s.skipped, s.more])) return;
    this.finished.replaceChildren(...[h("p", {}, `All ${s.total} prompts are ${s.skipped ? "recorded or skipped" : "recorded"}.`),
      s.more ? h("button", { type: "button", class: "vx-button", "data-vx": "more", onclick: () => this.ask("more", {}, "") }, `${s.more} more`) : null,
      s.skipped ? h("button", { type: "button", class: "vx-button", "data-vx": "unskip", onclick: () => this.ask("unskip", {}, "") }, `The ${s.skipped} skipped ones`) : null].filter(Boolean));
  }
  paintTakes(s, take) {
    if (this.changed("takes", [s.takes.map((t) => [t.id, t.seconds, t.interrupted, t.flagged]), take?.id]))
      this.takes.replaceChildren(...(s.takes.length > 1 || s.takes.some((t) => t.interrupted) ? s.takes : []).map((t, i) =>
        h("button", { type: "button", role: "radio", class: "vx-take", "data-vx": "take", "aria-checked": String(t.id === take?.id), onclick: () => { this.selected = t.id; this.paint(); } },
          `Take ${i + 1} · ${t.seconds.toFixed(1)} s${t.interrupted ? " · interrupted" : ""}${t.flagged ? " · flagged" : ""}`)));
    const problems = this.phase === "idle" ? take?.problems || [] : [];
    this.problems.replaceChildren(...problems.map((p) => h("li", { class: p.refuse ? "vx-refuse" : "vx-warn" }, p.text)));
    const heard = take && this.heard?.id === take.id ? this.heard : null;
    this.diff.replaceChildren(...(!heard ? [] : heard.diff ? [h("span", { class: "vx-dim" }, "Heard: "), ...heard.diff.flatMap(([k, t]) => [h({ same: "span", missing: "del", extra: "ins" }[k], {}, t), " "])] : [heard.text]));
  }
  paintWave(take) {
    const c = this.wave, live = this.phase === "recording" || this.phase === "stopping", ratio = devicePixelRatio || 1, w = c.clientWidth, hgt = c.clientHeight;
    const bars = live ? this.live.slice(-Math.floor(w / 3)).map((p) => 100 * p) : take?.peaks || [];
    this.time.textContent = live && this.out ? clock(this.out.seconds) : take && this.phase === "idle" ? `${take.seconds.toFixed(1)} s` : "";
    c.setAttribute("aria-label", live ? "Waveform of the recording" : take ? `Waveform of a take of ${take.seconds.toFixed(1)} seconds` : "No take yet");
    if (!w) return;
    if (c.width !== Math.round(w * ratio) || c.height !== Math.round(hgt * ratio)) { c.width = Math.round(w * ratio); c.height = Math.round(hgt * ratio); }
    const g = c.getContext("2d"), step = live ? 3 : w / Math.max(1, bars.length);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, w, hgt);
    g.fillStyle = getComputedStyle(this.root).getPropertyValue(live ? "--vx-red" : "--vx-accent");
    bars.forEach((p, i) => { const y = Math.max(1, (Math.min(100, p) / 100) * (hgt - 4)); g.fillRect(i * step, (hgt - y) / 2, Math.max(1, step * 0.7), y); });
  }
  animate() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      const db = 20 * Math.log10(Math.max(1e-3, this.loudness)), clipping = now() - (this.clippedAt || -1e9) < 1500;
      this.bar.style.width = `${Math.max(0, Math.min(100, (100 * (db + 60)) / 60))}%`;
      this.level.setAttribute("aria-valuenow", String(Math.max(-60, Math.round(db))));
      this.clip.dataset.on = String(clipping);
      if (this.phase === "recording" || this.phase === "stopping") this.paintWave();
    });
  }
  paintUploads(s) {
    const sending = this.sending || [];
    this.sendingList.replaceChildren(...sending.map((o) => h("li", { class: o.failed ? "vx-refuse" : "" }, o.failed ? `${o.name.slice(0, 80)}: ${o.failed}` : `${o.name.slice(0, 80)} ${Math.round(100 * o.done)} %`)));
    const good = s.uploads.filter((o) => !o.problems.length).length;
    this.save.textContent = s.uploads.length ? `Save ${good} of ${s.uploads.length} files` : "Save";
    this.save.setAttribute("aria-disabled", String(!good));
    this.pasted.parentElement.hidden = this.use.hidden = this.save.hidden = !s.uploads.length;
    if (!this.changed("uploads", [s.uploads, s.notices])) return;
    this.refill(this.table, [...s.notices.map((t) => h("div", { class: "vx-warn" }, t)), ...(s.uploads.length ? [h("table", {}, h("thead", {}, h("tr", {}, ["File", "Length", "Transcript", ""].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, s.uploads.map((o) => h("tr", { class: o.problems.length ? "vx-bad" : "" }, h("td", { class: "vx-name" }, o.name), h("td", {}, o.seconds ? `${o.seconds.toFixed(1)} s` : "–"),
        h("td", {}, h("input", { type: "text", value: o.text || "", dir: "auto", "data-vx": "upload-text", "aria-label": `Transcript of ${o.name}`, onchange: (e) => this.ask("upload_text", { upload: o.id, text: e.target.value }) }),
          [...o.problems.map((p) => h("div", { class: "vx-refuse" }, p)), ...o.warnings.map((p) => h("div", { class: "vx-warn" }, p))]),
        h("td", {}, h("button", { type: "button", class: "vx-small", "aria-label": `Remove ${o.name}`, onclick: () => this.ask("upload_remove", { upload: o.id }, "Removed.") }, "Remove"))))))] : [])]);
  }
  paintClips(s) {
    if (!this.changed("saved", s.saved)) return;
    const small = (name, act, title, file, pressed) => h("button", { type: "button", class: "vx-small", title, "aria-label": `${title}: ${file}`, "data-vx": `clip-${name}`, ...(pressed === undefined ? {} : { "aria-pressed": String(pressed) }), onclick: act }, icon(name));
    this.refill(this.clips, [...s.saved.map((o) => {
      const file = o.file;
      return h("li", { "data-clip": o.id }, h("span", { class: "vx-dim" }, `${file} · ${(o.seconds || 0).toFixed(1)} s`),
        h("input", { type: "text", value: o.text, dir: o.dir, lang: o.language || "", "aria-label": `Transcript of ${file}`, "data-vx": "clip-text", onchange: (e) => this.ask("edit", { clip: o.id, text: e.target.value }, "Corrected.") }),
        h("span", { class: "vx-clip-buttons" }, small("play", () => this.hear({ clip: o.id }, o.id), "Play", file), small("flag", () => this.ask("flag", { clip: o.id, on: !o.flagged }, ""), "Flag", file, o.flagged),
          ...(!o.again ? [] : [small("again", () => this.ask("again", { clip: o.id }, "Read it again; the old clip is in the trash.").then((a) => { if (a) this.view = "record"; this.paint(); }), "Record again", file)]),
          small("discard", () => this.ask("delete", { clip: o.id }, `${file} is in the trash.`), "Delete", file)));
    }), ...(s.clips > s.saved.length ? [h("li", { class: "vx-dim" }, `and ${s.clips - s.saved.length} earlier ones`)] : []), ...(s.undo ? [h("li", { class: "vx-wide" }, h("button", { type: "button", class: "vx-small", "data-vx": "undo-saved", onclick: () => this.ask("undo", {}, "Undone.") }, `Undo: ${s.undo}`))] : [])]);
  }
}

export default {
  render({ model, el }) {
    const app = new App(model, el);
    return () => app.close();
  },
};
