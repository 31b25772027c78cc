// What every page does: it learns the state, asks, says what came of it, plays clips, and has keys. The recorder and the review of drafts are two of them.

const FRAME = 80; // ms between two pictures of the sound: each is a frame of the whole page, some 8 ms in JupyterLab in a Chromium that draws without a GPU

class Page {
  constructor(model) {
    Object.assign(this, { state: null, rev: -1, phase: "idle", shown: {}, silence: 0, closed: false, keys: {}, safe: ["", ""], asked: model.asked || "kernel" });
    this.kernel = new Kernel(model, (s) => this.learn(s), (s) => this.wait(s));
    this.keydown = (e) => this.root.contains(e.target) && this.key(e); // on its way down, at the window: Notebook 7 listens at the document and heeds no attribute
    window.addEventListener("keydown", this.keydown, true);
  }
  close() { // the cell was run again, cleared or deleted, or the page closes
    this.closed = true;
    window.removeEventListener("keydown", this.keydown, true);
    this.sound?.pause();
    this.kernel.close();
    clearTimeout(this.frame);
    for (const o of this.hints || []) o.hidden = false;
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
  wait(seconds) { this.silence = seconds; this.paintStatus(); }
  async ask(op, args, said) { // a request whose failure is shown
    try {
      const request = this.kernel.request(op, args);
      this.moving = Promise.allSettled([this.moving, request]); // what is shown may change: what begins next waits
      const a = await request;
      this.say(typeof said === "function" ? said(a) : said || "", "ok");
      return a;
    } catch (e) { this.say(e.message, "error"); return null; }
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
      const url = URL.createObjectURL(this.soundOf(pcm, what));
      const sound = (this.sound = Object.assign(new Audio(url), { key }));
      sound.onended = sound.onpause = () => { URL.revokeObjectURL(url); if (this.sound === sound) this.sound = null; this.paint(); };
      await sound.play();
      this.paint();
    } catch (e) { this.sound = null; this.say(`It could not be played: ${e.message}`, "error"); }
  }
  soundOf(bytes) { return new Blob([bytes], { type: "audio/wav" }); }

  // -- what is shown
  field(name, tag, props, ...kids) { return (this[name] = h(tag, { "data-vx": name, ...props }, ...kids)); }
  button(name, key, label, act, more = {}) {
    const keyed = key ? { "aria-keyshortcuts": key.toUpperCase() } : {};
    const b = h("button", { type: "button", class: `vx-button vx-${name}`, "data-vx": name, ...keyed, ...more, onclick: () => (b.getAttribute("aria-disabled") !== "true" ? act() : this.explain(name)) },
      icon(ICONS[name] ? name : "record"), h("span", { class: "vx-label" }, label), key ? h("kbd", {}, key.toUpperCase()) : null);
    if (key) this.keys[key] = b;
    return b;
  }
  explain() {} // why a button does nothing now
  hideHint() { // what the output says while no page is alive
    if (this.hints?.length || !this.root.isConnected) return;
    const outputs = this.root.closest(".jp-OutputArea, .jp-Cell, .output, #output-area");
    this.hints = [...(outputs?.querySelectorAll(".vx-hint") || [])];
    for (const o of this.hints) o.hidden = true;
  }
  key(e) {
    if ((e.ctrlKey || e.metaKey) && e.key === "s") return; // the notebook may save itself
    e.stopPropagation();
    if (e.ctrlKey || e.metaKey) return;
    if (e.target.matches("textarea, select, input:not([type=checkbox]):not([type=radio])")) { if (e.key === "Escape") this.root.focus(); return; }
    if (e.altKey || e.repeat) return;
    const k = /^[a-z]$/i.test(e.key) ? e.key.toLowerCase() : e.code?.startsWith("Key") ? e.code[3].toLowerCase() : "";
    if (!this.keys[k] || !this.state || !this.keysWork()) return;
    e.preventDefault();
    this.keys[k].click();
  }
  keysWork() { return true; }
  say(text, kind = "info") {
    this.message = { text, kind };
    this.paintStatus();
  }
  paintStatus() {
    const waiting = this.kernel.gone ? `The kernel was restarted and no longer knows this page: run this cell again. ${this.safe[0]}` : this.silence > 3 ? `The ${this.asked} does not answer: it is busy, or the connection is gone. ${this.safe[1]}` : "";
    const m = this.broken ? { text: this.broken, kind: "error" } : waiting ? { text: waiting, kind: "warn" } : this.message || { text: "", kind: "info" };
    if (this.status.textContent === m.text && this.status.dataset.kind === m.kind) return;
    this.status.textContent = m.text;
    this.status.dataset.kind = m.kind;
    this.status.setAttribute("aria-live", m.kind === "error" ? "assertive" : "polite");
  }
  refill(box, nodes) { // rebuild a list; the focus stays where it was in it
    const all = () => [...box.querySelectorAll("input, button")], at = all().indexOf(document.activeElement);
    box.replaceChildren(...nodes);
    if (at >= 0) all()[Math.min(at, all().length - 1)]?.focus({ preventScroll: true });
  }
  changed(name, value, box) { // has what `name` shows in `box` changed? Lists are rebuilt only then, and never under a typing hand
    const s = JSON.stringify(value);
    if (this.shown[name] === s || (box?.contains(document.activeElement) && document.activeElement.matches("input"))) return false;
    this.shown[name] = s;
    return true;
  }
  animate() { // there is new sound: show its level, and what else moves with it
    this.frame ||= setTimeout(() => {
      this.frame = 0;
      this.meter.show(this.loudness, now() - (this.clippedAt || -1e9) < 1500);
      this.paintSound();
    }, FRAME);
  }
  bars(canvas, bars, colour, step, inside = () => true) { // a waveform: each bar from 0 to 100; no `step`: over the whole width
    const ratio = devicePixelRatio || 1, w = canvas.clientWidth, hgt = canvas.clientHeight;
    if (!w) return;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(hgt * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(hgt * ratio); }
    const g = canvas.getContext("2d"), wide = step || w / Math.max(1, bars.length);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, w, hgt);
    g.fillStyle = getComputedStyle(this.root).getPropertyValue(colour);
    bars.forEach((p, i) => { g.globalAlpha = inside(i) ? 1 : 0.25; const y = Math.max(1, (Math.min(100, p) / 100) * (hgt - 4)); g.fillRect(i * wide, (hgt - y) / 2, Math.max(1, wide * 0.7), y); });
  }
}
