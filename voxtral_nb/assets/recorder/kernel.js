// What the parts of the recorder's page share, and requests to the kernel with answers. Everything from outside is shown as text, never as HTML.
// The files of this folder are one program, in the order that nbs/record/06_page.ipynb names. That notebook also says why it works as it does.

const PART = 1 << 20; // bytes in a message: Jupyter's websocket drops messages over 10 MiB
const TAIL = 0.5; // s that are recorded after "stop", so that endings are not cut
const SETTLE = 200; // ms from opening a microphone to the first sample that counts: devices click and stutter when they start
const PATIENCE = 3000; // ms without an answer before somebody asks whether anybody is there
const IDLE = 300000; // ms after which a microphone that nobody uses is switched off
const HOLD = 10000; // ms after which a part is sent even if it is small

const hex = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
const now = () => performance.now();
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

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
  undo: "M6.5 2.8L2 6.8l4.5 4V8.3c3 0 5 .9 6.5 3.2c-.5-3.600-2.500-6-6.500-6.300z", back: "M13.500 3v10l-6-5zM7.500 3v10l-5-5z", trim: "M4 2.500h1.500v11H4zM10.500 2.500H12v11h-1.500zM6.500 7.250h3v1.500h-3z", note: "M3 2.500h10v8l-3 3H3zM5 5.200v1.200h6V5.200zM5 7.800v1.200h4V7.800z",
  again: "M8 2.500a5.500 5.500 0 1 0 5.400 6.600h-1.800A3.800 3.800 0 1 1 8 4.300v2.500l4-3.400L8 0z",
};
function icon(name) {
  const ns = "http://www.w3.org/2000/svg", s = document.createElementNS(ns, "svg"), p = document.createElementNS(ns, "path");
  s.setAttribute("viewBox", "0 0 16 16"); s.setAttribute("aria-hidden", "true"); s.setAttribute("class", "vx-icon");
  p.setAttribute("d", ICONS[name]); s.append(p);
  return s;
}

const dB = (x) => 20 * Math.log10(Math.max(1e-5, x)); // of an amplitude, full scale is 0
const about = (s) => (s < 90 ? `${Math.max(1, Math.round(s))} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`);
const many = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const later = (act, ms) => { let t; return (...a) => { clearTimeout(t); t = setTimeout(() => act(...a), ms); }; }; // once it is quiet

// ---- Requests with answers
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
    if (msg.live) this.onLive?.(msg.live);
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
