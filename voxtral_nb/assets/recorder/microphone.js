// The microphone: why there can be none, opening it, and an audio thread that hands over 16-bit samples.

const LIMITS = { none: 5000, allowed: 15000, asked: 60000, sound: 10000 }; // ms to wait for it: no device is listed, it is allowed already, somebody is asked; for its sound

const WORKLET = `
const clamp = (v) => Math.max(-32768, Math.min(32767, Math.round(v * 32768)));
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    Object.assign(this, { pcm: new Int16Array(2048), n: 0, peak: 0, power: 0, take: 0, left: Infinity }); // take: number of the one that is recorded, 0 for none
    this.port.onmessage = ({ data }) => {
      if (data.start) { this.flush(); this.take = data.start; this.left = Infinity; }
      else if (this.take && this.left === Infinity) this.left = data.tail;
    };
  }
  flush() { if (this.n) this.port.postMessage({ take: this.take, pcm: this.pcm.slice(0, this.take ? this.n : 0).buffer, peak: this.peak, power: this.power / this.n }); this.n = this.peak = this.power = 0; }
  process([input]) {
    const x = input[0] || new Float32Array(128);
    for (const v of x) {
      this.peak = Math.max(this.peak, Math.abs(v));
      this.power += v * v;
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
    const stream = await this.ask({
      audio: { ...(device ? { deviceId: { exact: device } } : {}), channelCount: { ideal: 1 }, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    if (run !== this.run) { stream.getTracks().forEach((t) => t.stop()); throw new Error("The microphone was closed again."); }
    this.stream = stream;
    const listening = this.listen(stream, run);
    listening.catch(() => {}); // it may fail after it was given up
    try { await this.within(LIMITS.sound, listening, () => new Error(`The microphone is open, but the browser's sound does not start: it may have no device for output. Connect headphones or speakers, reload the page, or use another browser. ${UPLOAD}`)); } catch (e) { this.close(); throw e; }
  }
  async ask(wanted) { // getUserMedia, which may never answer: Firefox waits without end where there is no device
    const media = navigator.mediaDevices, known = (work, other) => Promise.race([work.catch(() => other), new Promise((ok) => setTimeout(ok, 1500, other))]);
    const some = (await known(media.enumerateDevices(), [])).some((d) => d.kind === "audioinput");
    const allowed = (await known(navigator.permissions?.query({ name: "microphone" }) ?? Promise.resolve({}), {})).state === "granted";
    const limit = LIMITS[!some ? "none" : allowed ? "allowed" : "asked"];
    const asked = media.getUserMedia(wanted), late = () => (some ? new Error(`The microphone did not open within ${limit / 1000} s. If the browser asks whether it may be used, allow it (look left of the address), then press Record again. ${UPLOAD}`) : Object.assign(new Error(), { name: "NotFoundError" }));
    try { return await this.within(limit, asked, late); } catch (e) {
      asked.then((s) => s.getTracks().forEach((t) => t.stop()), () => {}); // it may still open
      throw e;
    }
  }
  async within(ms, work, late) { // `work`, unless it takes too long or the person gives up
    let timer;
    const over = new Promise((_, no) => {
      this.cancel = () => no(new Error("The microphone was not opened."));
      timer = setTimeout(() => no(late()), ms);
    });
    try { return await Promise.race([work, over]); } finally { clearTimeout(timer); this.cancel = null; }
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
      if (!data.done) this.onBlock(mine ? data : { peak: data.peak, power: data.power });
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
  stop(tail) { // the worklet counts the tail in samples; if nothing arrives from it for a second, the take is what is there
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
