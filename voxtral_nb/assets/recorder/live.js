// Live transcription: the microphone in numbered parts to the kernel, words back. The files kernel.js, page.js, microphone.js and level.js come before it.

const EVERY = 0.1; // s of sound in a part
const LATE = 2; // s behind the speech from which the page says that the machine is too slow

class LivePage extends Page {
  constructor(model, el) {
    super(model);
    const safe = "What was said until then";
    Object.assign(this, { loudness: 0, behind: 0, safe: [`${safe} is written in the cell's object as long as the kernel lives.`, `${safe} is kept in this page, and sent when the ${this.asked} answers.`] });
    this.mic = new Microphone((b) => this.block(b), () => this.ended(), () => this.lost());
    this.build(el);
    this.kernel.request("hello").catch((e) => this.say(e.message, "error"));
  }
  close() { // what was said until now is still written
    this.mic.close();
    super.close();
  }
  build(el) {
    this.buttons = { record: this.button("record", "r", "Start", () => this.toggle()), discard: this.button("discard", "c", "Clear", () => this.clear()) };
    this.meter = new Meter();
    this.delay = h("select", { "aria-label": "Delay", "data-vx": "delay", onchange: (e) => this.ask("delay", { ms: Number(e.target.value) }) });
    this.field("status", "div", { class: "vx-status", role: "status", "aria-live": "polite" });
    this.root = h("div", { class: "vx", tabIndex: 0, role: "region", "aria-label": "Live transcription", "data-vx": "root", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "vx-head" }, h("b", {}, "Live"), this.field("who", "span", { class: "vx-who" })),
      this.field("transcript", "div", { class: "vx-prompt vx-live", role: "log", "aria-label": "Transcript", tabIndex: 0 }),
      this.field("figures", "div", { class: "vx-dim" }),
      h("div", { class: "vx-buttons" }, Object.values(this.buttons)),
      h("div", { class: "vx-mic" }, h("label", { class: "vx-dim" }, "Delay ", this.delay), this.meter.root, this.meter.clip),
      this.status);
    el.append(this.root);
    this.paint();
  }

  // -- speech, from the microphone to the kernel
  async toggle() {
    if (this.phase === "recording") return this.stop();
    if (this.phase === "opening") return this.mic.cancel?.();
    if (this.phase !== "idle" || !this.state || this.writing()) return this.explain("record");
    this.phase = "opening";
    this.say("Waiting for the microphone: allow it if the browser asks. R cancels.");
    this.paint();
    try {
      await this.mic.open();
      await new Promise((ok) => setTimeout(ok, SETTLE));
      if (!this.mic.on) throw new Error("The microphone was closed again.");
      this.take = { id: hex(), rate: this.mic.rate, parts: 0, samples: 0, held: [], size: 0, failed: "" };
      await this.kernel.request("begin", { take: this.take.id, rate: this.take.rate });
    } catch (e) {
      this.take = null;
      this.mic.close();
      this.phase = "idle";
      this.say(why(e).replaceAll(` ${UPLOAD}`, "").replaceAll("press Record", "press Start"), "error");
      return this.paint();
    }
    if (this.closed || !this.mic.on) return this.ended();
    this.behind = 0;
    this.phase = "recording";
    this.mic.start();
    this.say("Speak: the words appear above. R stops.");
    this.paint();
  }
  block({ pcm, peak }) {
    this.loudness = Math.max(peak, this.loudness * 0.8);
    if (peak >= 0.999) this.clippedAt = now();
    this.animate();
    const t = this.take;
    if (!t || !pcm?.byteLength) return;
    t.held.push(pcm);
    t.size += pcm.byteLength / 2;
    t.samples += pcm.byteLength / 2;
    if (this.state.take === t.id) this.behind += 0.2 * (Math.max(0, t.samples / t.rate - this.state.read) - this.behind);
    if (t.size >= EVERY * t.rate) this.send(t);
    if (this.phase === "recording" && t.samples >= this.state.longest * t.rate) this.stop(`Stopped at ${clock(this.state.longest)}, the longest allowed: press Start to continue.`);
  }
  async send(t) {
    if (!t.size) return;
    const data = new Blob(t.held), number = t.parts++;
    t.held = [];
    t.size = 0;
    try { await this.kernel.request("sound", { take: t.id, number }, [await data.arrayBuffer()]); } catch (e) { this.refused(t, e); }
  }
  refused(t, e) { // nothing of this take can be written any more
    if (t.failed) return;
    t.failed = e.message;
    this.said = "";
    this.say(e.message, "error");
    this.mic.close();
  }
  stop(said = "") {
    if (this.phase !== "recording") return;
    this.phase = "stopping";
    this.said = said;
    this.mic.stop(TAIL);
    this.paint();
  }
  lost() {
    this.said = "The microphone was unplugged or disabled. What was said until then is written.";
    this.mic.close();
  }
  ended() { // all samples are here, or the page closes
    const t = this.take;
    this.take = null;
    this.loudness = 0;
    if (!t) return;
    this.phase = "idle";
    this.send(t);
    this.kernel.request("end", { take: t.id, total: t.parts }).catch((e) => this.refused(t, e));
    if (this.mic.on) this.mic.close();
    if (this.closed) return;
    this.last = t;
    if (!t.failed) this.say(this.said || "", this.said ? "warn" : "ok");
    this.said = "";
    this.paint();
  }
  clear() { if (this.phase === "idle") this.ask("clear", {}, "Cleared."); else this.explain("discard"); }

  // -- what is shown
  writing() { return !!this.state?.writing && !this.take; } // what was said before
  explain(name) {
    if (this.phase !== "idle") this.say(name === "discard" ? "Press Stop first." : "One moment: the last words are on their way.");
    else if (this.writing()) this.say("What you said is still being written. Wait, or press Clear to drop the rest.", "warn");
  }
  paintSound() { this.paintFigures(); }
  paintFigures() {
    const s = this.state, t = this.take || this.last;
    if (!s || !t || s.take !== t.id) { this.figures.textContent = ""; return; }
    const said = t.samples / t.rate, left = Math.max(0, said - s.read), slow = s.speed && s.speed < 1 && left > LATE;
    const lag = this.take ? `words appear ${(s.delay_ms / 1000 + this.behind).toFixed(1)} s after they are said (delay ${s.delay_ms} ms, ${this.behind.toFixed(1)} s behind)` : s.writing ? `${about(left)} of speech left to write` : "written to its end";
    this.figures.textContent = [`${said.toFixed(1)} s heard`, lag, s.speed ? `model ${s.speed.toFixed(1)}x real time` : ""].filter(Boolean).join(" · ");
    this.figures.classList.toggle("vx-warn", !!slow);
    if (slow && this.take && this.phase === "recording") this.say(`This machine reads at ${s.speed.toFixed(1)}x real time, slower than you speak: words come later and later. No sound is lost; after Stop the rest is written.`, "warn");
  }
  paint() {
    if (this.closed) return;
    const s = this.state, going = this.phase === "recording" || this.phase === "stopping", able = (o, on) => o.setAttribute("aria-disabled", String(!on));
    this.root.dataset.ready = String(!!s);
    this.root.dataset.phase = this.phase === "idle" && this.writing() ? "writing" : this.phase;
    this.paintStatus();
    this.hideHint();
    if (!s) return;
    this.who.textContent = s.model;
    const { record, discard } = this.buttons;
    record.querySelector(".vx-label").textContent = going ? "Stop" : this.phase === "opening" ? "Cancel" : "Start";
    record.querySelector("svg").replaceWith(icon(going ? "stop" : "record"));
    able(record, this.phase !== "stopping" && !this.writing());
    able(discard, this.phase === "idle" && s.lines.length);
    if (this.changed("delays", s.delays)) this.delay.replaceChildren(...s.delays.map((o) => h("option", { value: o }, `${o} ms`)));
    this.delay.value = s.next_delay;
    if (s.error && this.shown.error !== s.error) this.say(s.error, "error");
    this.shown.error = s.error;
    if (s.error && this.take?.id === s.take) this.refused(this.take, new Error(s.error));
    this.paintText(s);
    this.paintFigures();
  }
  paintText(s) {
    if (!this.changed("lines", s.lines)) return;
    this.transcript.replaceChildren(...(s.lines.some(Boolean) ? s.lines.filter(Boolean).map((o) => h("div", { dir: "auto" }, o)) : [h("span", { class: "vx-dim" }, s.lines.length ? "…" : "Press Start and speak.")]));
    this.transcript.scrollTop = this.transcript.scrollHeight;
  }
}

export default {
  render({ model, el }) {
    const page = new LivePage(model, el);
    return () => page.close();
  },
};
