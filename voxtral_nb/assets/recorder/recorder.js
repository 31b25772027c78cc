// The recorder's page: takes from the microphone to the folder, what is shown, the keys. The other files of this folder come before it.

const LIVE = 250; // ms after which a part is sent to a model that writes while one reads
const SPARE = 0.3; // s of silence at the ends of a take from which trimming is offered

class App extends Page {
  constructor(model, el) {
    super(model);
    const safe = "What you recorded is safe in this browser";
    Object.assign(this, { view: "record", outbox: new Map(), loudness: 0, live: [], selected: null, leaving: new AbortController(), safe: [`${safe} and will come back.`, `${safe} and is sent when the kernel answers; after a restart, run this cell again.`] });
    this.kernel.onLive = (o) => { this.words = o; this.paintWords(); };
    this.mic = new Microphone((b) => this.block(b), () => this.ended(), () => this.lost());
    this.shelf = new Shelf();
    Object.assign(this, { check: new SoundCheck(this), prompts: new PromptList(this), uploads: new UploadPage(this), saved: new Saved(this), meter: new Meter() });
    this.build(el);
    this.hidden = () => {
      if (document.visibilityState === "hidden") this.release("The microphone was switched off while this page was hidden.");
      else this.kernel.request("hello").catch(() => {}); // somebody else may have recorded meanwhile
    };
    document.addEventListener("visibilitychange", this.hidden);
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

  close() { // the shelf has what has not arrived
    super.close();
    this.sizes.disconnect();
    this.leaving.abort();
    this.mic.close();
    this.check.stop();
    for (const out of this.outbox.values()) out.release?.();
    document.removeEventListener("visibilitychange", this.hidden);
  }

  // -- talking to Python
  wait(seconds) {
    if (this.kernel.gone && !this.out) for (const o of this.outbox.values()) o.release?.(); // the next view may restore them
    super.wait(seconds);
  }
  soundOf(bytes, what) { return what.take ? wav(bytes, this.state.takes.find((t) => t.id === what.take)?.rate || 48000) : super.soundOf(bytes); }
  promptShown() { return this.reading?.prompt || this.state?.prompt; } // while a take is on its way, what it was read from: the state may be further already

  // -- a take, from the microphone to the folder
  async toggle() {
    if (this.phase === "recording") return this.stop();
    if (this.phase === "opening") return this.mic.cancel?.();
    if (this.phase !== "idle" || !this.state) return;
    this.phase = "opening";
    this.paint();
    await this.moving;
    this.phase = "idle";
    if (this.state.consent || !this.state.prompt || this.closed) return this.paint();
    if (!(await this.openMic())) return;
    this.check.close();
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
    this.say("Waiting for the microphone: allow it if the browser asks. R cancels.", "info");
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
  block({ pcm, peak, power }) {
    this.loudness = Math.max(peak, this.loudness * 0.8);
    this.check.block({ peak, power });
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
    this.check.stop();
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
    const due = () => out.bytes - out.sent >= PART || (out.done && out.sent < out.bytes) || (out.sent < out.bytes && now() - out.last > (this.state.settings.live ? LIVE : HOLD));
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
    this.say(...this.verdict(take, out));
    this.paint();
    if (take && this.state.settings.check && !this.state.free) this.checkScript(out.id);
  }
  verdict(take, out) { // what can be done with a take, as the keys allow it: [text, kind]
    const seconds = (take?.seconds ?? out.seconds).toFixed(1), trim = take && !take.trimmed && take.spare >= SPARE ? `T leaves out ${take.spare.toFixed(1)} s of silence, ` : "";
    if (take?.problems.some((p) => p.refuse)) return [`${out?.said ? `${out.said} ` : ""}This take of ${seconds} s cannot be kept as it is, for the reason above. ${trim}R records it again, D discards it.`, "warn"];
    if (out?.said) return [out.said, "warn"];
    if (take?.problems.length) return [`Take of ${seconds} s, with a doubt: see above. ${trim}R records it again, A keeps it anyway.`, "warn"];
    return [`Take of ${seconds} s: listen to it, keep it, or record again.`, "info"];
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
    await this.ask("keep", { take: take.id, text: this.transcript.value }, (a) => `Saved as ${a.saved.split("/").pop()}.${a.replaced ? " The earlier clip is in the trash." : ""}`);
    this.keeping = false;
  }
  async trim() {
    const take = this.take();
    const a = await this.ask("trim", { take: take.id, on: !take.trimmed });
    if (a) this.say(...(this.take()?.trimmed ? [`${take.spare.toFixed(1)} s of silence are left out. T takes it back.`, "ok"] : ["The silence is back.", "info"]));
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

  // -- the page
  explain(name) { // why a button does nothing now
    if (this.phase !== "idle" || !this.state) return;
    const take = this.take();
    if (name === "undo") return this.say("There is nothing to undo.", "info");
    if (name === "trim") return this.say(take ? "There is no silence to leave out at its ends." : "There is no take to trim: press R to record.", "info");
    if (name === "skip" || name === "back" || name === "record") return this.say("There is no prompt here: look at what can be read next.", "info");
    this.say(...(take ? this.verdict(take) : [`There is no take to ${name}: press R to record.`, "info"]));
  }
  build(el) {
    const field = (...a) => this.field(...a);
    const tab = (name, label) => h("button", { type: "button", role: "tab", class: "vx-tab", "data-vx": `tab-${name}`, onclick: () => { this.view = name; if (this.phase === "idle") this.say(""); this.paint(); } }, label);
    this.tabs = { record: tab("record", "Record"), upload: tab("upload", "Upload"), saved: tab("saved", "Saved") };
    this.device = h("select", { "data-vx": "device", "aria-label": "Microphone", onchange: () => this.mic.on && this.phase === "idle" && this.openMic() }, h("option", { value: "" }, "Default microphone"));
    this.buttons = {
      record: this.button("record", "r", "Record", () => this.toggle()), play: this.button("play", "p", "Play", () => this.take() && this.hear({ take: this.take().id }, this.take().id)),
      keep: this.button("keep", "a", "Keep", () => this.keep()), skip: this.button("skip", "s", "Skip", () => this.ask("skip", { prompt: this.state.prompt.id }, "Skipped.")),
      flag: this.button("flag", "f", "Flag", () => this.ask("flag", { take: this.take().id, on: !this.take().flagged }, (a) => (this.take()?.flagged ? "Flagged for review." : "No longer flagged."))),
      discard: this.button("discard", "d", "Discard", () => this.ask("discard", { take: this.take().id }, "Discarded.")), trim: this.button("trim", "t", "Trim", () => this.trim()), undo: this.button("undo", "z", "Undo", () => this.ask("undo", {}, "Undone.")),
    };
    this.buttons.back = this.button("back", "b", "Back", () => this.ask("back", {}, ""));
    const inRow = Object.entries(this.buttons).filter(([k]) => k !== "back").map(([, b]) => b);
    const record = h("section", { class: "vx-page", "data-page": "record", role: "tabpanel", "aria-label": "Record" },
      h("div", { class: "vx-row vx-where" }, field("progressText", "div", { class: "vx-progress" }), h("span", { class: "vx-card-buttons" }, this.buttons.back, field("list", "button", { type: "button", class: "vx-small", "aria-expanded": "false", onclick: () => this.phase === "idle" && this.prompts.toggle() }, "Prompts"))), h("div", { class: "vx-track" }, field("progress", "div", { class: "vx-fill" })),
      this.prompts.root, this.check.root,
      field("prompt", "div", { class: "vx-prompt", "aria-live": "polite" }), field("readBefore", "div", { class: "vx-dim" }, "You have read this one: a new take replaces the clip when you keep it."),
      field("written", "div", { class: "vx-written", role: "log", "aria-label": "What the model hears", hidden: true }),
      field("finished", "div", { class: "vx-finished", hidden: true }),
      h("label", { class: "vx-field" }, h("span", {}, "Transcript"), field("transcript", "textarea", { rows: 2, spellcheck: true, dir: "auto" })),
      h("div", { class: "vx-sound" }, field("wave", "canvas", { class: "vx-wave", role: "img" }), field("time", "span", { class: "vx-time" })),
      h("div", { class: "vx-buttons" }, inRow),
      field("takes", "div", { class: "vx-takes", role: "radiogroup", "aria-label": "Takes" }), field("problems", "ul", { class: "vx-problems" }), field("diff", "div", { class: "vx-diff", role: "group", "aria-label": "What was heard" }),
      h("div", { class: "vx-mic" }, h("button", { type: "button", class: "vx-small", "data-vx": "mic", onclick: () => this.toggleMic() }, "Switch microphone on"), this.device, this.meter.root, this.meter.clip,
        field("checkAgain", "button", { type: "button", class: "vx-small", onclick: () => this.check.start() }, "Check level")),
      this.options());
    this.pages = { record, upload: this.uploads.root, saved: this.saved.root };
    field("consent", "section", { class: "vx-consent", hidden: true });
    field("status", "div", { class: "vx-status", role: "status", "aria-live": "polite" });
    field("unsent", "div", { class: "vx-unsent" });
    field("who", "span", { class: "vx-who" });
    this.root = h("div", { class: "vx", tabIndex: 0, role: "region", "aria-label": "Recorder", "data-vx": "root", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "vx-head" }, h("div", { role: "tablist", class: "vx-tabs" }, Object.values(this.tabs)), this.who), this.consent, ...Object.values(this.pages), this.unsent, this.status);
    el.append(this.root);
    const reason = blocked();
    if (reason) this.say(reason, "error");
    this.paint();
  }
  options() { // switches that most people need once: out of the way, and saved in the folder
    const set = (name) => (e) => this.ask("view", { name, value: e.target.checked });
    this.switches = {};
    const box = (name, text) => h("label", { class: "vx-check" }, (this.switches[name] = h("input", { type: "checkbox", "data-vx": `set-${name}`, onchange: set(name) })), text);
    this.sizesOf = [1, 2, 3].map((n) => h("button", { type: "button", class: "vx-small", "data-vx": `size-${n}`, "aria-label": `Text size ${n}`, "aria-pressed": "false", onclick: () => this.ask("view", { name: "size", value: n }) }, "A"));
    this.goal = h("input", { type: "number", min: 0, step: 1, "data-vx": "set-goal", onchange: (e) => this.ask("view", { name: "goal", value: e.target.value === "" ? null : Number(e.target.value) }) });
    this.speakers = h("select", { "data-vx": "speaker", "aria-label": "Speaker", onchange: (e) => this.speak(e.target.value) });
    this.newSpeaker = h("input", { type: "text", placeholder: "New pseudonym", "aria-label": "New pseudonym", maxLength: 40, "data-vx": "new-speaker", onchange: (e) => { if (e.target.value.trim()) this.speak(e.target.value.trim()); e.target.value = ""; } });
    return h("details", { class: "vx-more", "data-vx": "options" }, h("summary", {}, "Options"), h("div", { class: "vx-options" },
      h("fieldset", {}, h("legend", {}, "Hands-free"), box("auto_stop", "Stop when I stop speaking"), box("auto_keep", "Keep a take that nothing is wrong with"), box("trim", "Trim silence at both ends")),
      h("fieldset", {}, h("legend", {}, "View"), h("div", { class: "vx-row", role: "group", "aria-label": "Text size" }, "Text size", this.sizesOf), box("transcript", "Show the transcript")),
      h("fieldset", {}, h("legend", {}, "Goal"), h("label", { class: "vx-row" }, this.goal, "minutes of speech")),
      h("fieldset", {}, h("legend", {}, "Speaker"), h("div", { class: "vx-row" }, this.speakers, this.newSpeaker))));
  }
  async speak(name) {
    if (this.phase === "idle" && (await this.ask("speaker", { name }, `${name} speaks from here on.`))) this.recover();
    this.shown.options = null;
    this.paint();
  }
  paintOptions(s) {
    if (!this.changed("options", [s.settings, s.speakers, s.speaker])) return;
    for (const [k, o] of Object.entries(this.switches)) o.checked = !!s.settings[k];
    this.sizesOf.forEach((b, i) => b.setAttribute("aria-pressed", String(s.settings.size === i + 1)));
    if (document.activeElement !== this.goal) this.goal.value = s.settings.goal ?? "";
    this.speakers.replaceChildren(...s.speakers.map((o) => h("option", { value: o, selected: o === s.speaker }, o)));
  }
  key(e) {
    if (e.key !== "Escape" || e.ctrlKey || e.metaKey || !this.prompts.root.contains(e.target)) return super.key(e);
    e.stopPropagation(); // a search field would also be emptied
    e.preventDefault();
    this.prompts.toggle(false);
  }
  keysWork() { return this.view === "record" && !this.state.consent; }
  async devices() {
    const all = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "audioinput" && d.deviceId !== "default" && d.deviceId !== "communications");
    const was = this.device.value;
    this.device.replaceChildren(h("option", { value: "" }, "Default microphone"), ...all.map((d, i) => h("option", { value: d.deviceId }, d.label || `Microphone ${i + 1}`)));
    this.device.value = all.some((d) => d.deviceId === was) ? was : "";
  }
  paint() {
    if (this.closed) return;
    const s = this.state, held = this.root.contains(document.activeElement), able = (b, on) => b.setAttribute("aria-disabled", String(!on));
    const busy = this.phase !== "idle", take = this.take();
    Object.assign(this.root.dataset, { phase: this.phase, mic: this.mic.on ? "on" : "off", view: this.view, ready: String(!!s) });
    this.paintStatus();
    this.paintUnsent();
    this.hideHint();
    if (!s) return;
    this.root.dataset.size = s.settings.size;
    this.who.textContent = `${s.folder} · ${s.speaker}`;
    this.tabs.saved.textContent = `Saved ${s.clips}`;
    for (const [k, t] of Object.entries(this.tabs)) { t.setAttribute("aria-selected", String(k === this.view)); this.pages[k].hidden = k !== this.view || (!!s.consent && k !== "saved"); }
    this.paintConsent(s);
    this.paintPrompt(s);
    const b = this.buttons, label = (o, t, i) => { o.querySelector(".vx-label").textContent = t; if (i) o.querySelector("svg").replaceWith(icon(i)); };
    label(b.record, this.phase === "recording" ? "Stop" : this.phase === "stopping" ? "Stopping …" : this.phase === "opening" ? "Cancel" : this.phase === "checking" ? "Checking …" : this.phase === "sending" ? "Saving take …" : take ? "Again" : "Record", this.phase === "recording" || this.phase === "opening" ? "stop" : "record");
    able(b.record, (this.phase === "idle" && s.prompt) || this.phase === "recording" || this.phase === "opening");
    label(b.play, this.sound && this.sound.key === take?.id ? "Stop" : "Play", this.sound && this.sound.key === take?.id ? "stop" : "play");
    able(b.play, take && !busy);
    label(b.keep, take?.problems.length ? "Keep anyway" : "Keep");
    able(b.keep, take && !busy && !take.problems.some((p) => p.refuse));
    able(b.skip, s.prompt && !s.free && !busy);
    able(b.back, s.total && s.number !== 1 && !busy);
    b.trim.hidden = !take || !(take.trimmed || take.spare >= SPARE);
    able(b.trim, !b.trim.hidden && !busy);
    b.trim.setAttribute("aria-pressed", String(!!take?.trimmed));
    if (take) label(b.trim, take.trimmed ? `Trimmed ${take.spare.toFixed(1)} s` : `Trim ${take.spare.toFixed(1)} s`);
    able(b.flag, take && !busy);
    b.flag.setAttribute("aria-pressed", String(!!take?.flagged));
    able(b.discard, take && !busy);
    able(b.undo, s.undo && !busy);
    b.undo.title = s.undo ? `Undo: ${s.undo}` : "Nothing to undo";
    this.paintTakes(s, take);
    this.paintWords();
    for (const part of [this.check, this.prompts, this.uploads, this.saved]) part.paint(s);
    this.list.setAttribute("aria-expanded", String(this.prompts.open));
    this.paintOptions(s);
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
  download(out) { saveAs(wav(out.slice(0, out.bytes), out.rate), "take.wav"); }
  paintConsent(s) {
    this.consent.hidden = !s.consent || this.view === "saved";
    if (!s.consent || !this.changed("consent", s.consent)) return;
    this.consent.replaceChildren(h("h3", {}, "Before you record"), ...s.consent.text.split("\n").map((p) => h("p", {}, p)), h("p", { class: "vx-dim" }, `Stored with the date as version ${s.consent.version}, for ${s.speaker}.`),
      h("button", { type: "button", class: "vx-button vx-keep", "data-vx": "agree", onclick: () => this.ask("agree", { version: s.consent.version }, "Thank you. Press Record, or R, and speak.").then(() => this.root.focus()) }, "I agree"));
  }
  paintPrompt(s) {
    const p = this.promptShown(), note = this.shelf.broken ? " · this browser keeps no copy of takes" : "";
    const goal = s.settings.goal, left = !goal ? "" : s.left ? ` of ${goal} min · about ${about(s.left)} left` : ` of ${goal} min: done`;
    this.progressText.textContent = `${!s.total ? many(s.clips, "clip") : s.number ? `Prompt ${s.number} of ${s.total}` : `${s.done} of ${s.total} prompts done`} · ${clock(s.seconds)} recorded${left}${note}`;
    this.progress.style.width = goal ? `${Math.min(100, s.seconds / 0.6 / goal)}%` : s.total ? `${(100 * s.done) / s.total}%` : "0";
    this.progress.parentElement.hidden = !s.total && !goal;
    this.readBefore.hidden = !p || !s.again || p.id !== s.prompt?.id;
    if (p?.id !== this.promptId) { this.promptId = p?.id; this.transcript.value = p?.text || ""; this.selected = this.heard = null; }
    this.prompt.hidden = !p;
    this.prompt.textContent = p ? p.text || "Speak freely, then type what you said." : "";
    this.prompt.lang = p?.language || "";
    this.prompt.dir = (p?.id === s.prompt?.id && p?.dir) || "auto";
    this.transcript.lang = p?.language || "";
    this.transcript.placeholder = s.free ? "Type what you said" : "";
    this.transcript.parentElement.hidden = !p || (!s.settings.transcript && !s.free);
    this.finished.hidden = !!p;
    if (p || !this.changed("finished", [s.total, s.skipped, s.more, s.clips])) return;
    const goOn = (text, name, act) => h("button", { type: "button", class: "vx-button", "data-vx": name, onclick: act }, text);
    this.finished.replaceChildren(...[h("p", {}, `All ${s.total} prompts are ${s.skipped ? "recorded or skipped" : "recorded"}: ${clock(s.seconds)} of speech. What next?`),
      s.more ? goOn(`${s.more} more`, "more", () => this.ask("more", {}, "")) : null,
      s.skipped ? goOn(s.skipped === 1 ? "The skipped one" : `The ${s.skipped} skipped ones`, "unskip", () => this.ask("unskip", {}, "")) : null,
      goOn("Your own text", "own-next", () => this.prompts.toggle(true, true)), goOn("What a model got wrong", "wrong-next", () => this.prompts.toggle(true, true)),
      s.clips ? h("p", { class: "vx-dim" }, "Or train on it, in a cell: ", h("code", { "data-vx": "train-next" }, `from voxtral_nb import RunConfig, train; train(RunConfig(train_data=${JSON.stringify(s.path)}))`)) : null].filter(Boolean));
  }
  paintWords() { // what a model hears of the take that is read, or was read last
    const o = this.words, going = this.phase === "recording" || this.phase === "stopping", id = this.out?.id || this.reading?.id || this.take()?.id, mine = o && o.take === id;
    this.written.hidden = !this.state?.settings.live || this.view !== "record" || !(going || mine);
    this.written.textContent = mine ? o.error || o.text || "…" : "…";
    this.written.classList.toggle("vx-warn", !!(mine && o.error));
  }
  paintTakes(s, take) {
    if (this.changed("takes", [s.takes.map((t) => [t.id, t.seconds, t.interrupted, t.flagged]), take?.id], this.takes))
      this.takes.replaceChildren(...(s.takes.length > 1 || s.takes.some((t) => t.interrupted) ? s.takes : []).map((t, i) =>
        h("button", { type: "button", role: "radio", class: "vx-take", "data-vx": "take", "aria-checked": String(t.id === take?.id), onclick: () => { this.selected = t.id; this.paint(); } },
          `Take ${i + 1} · ${t.seconds.toFixed(1)} s${t.interrupted ? " · interrupted" : ""}${t.flagged ? " · flagged" : ""}`)));
    const problems = this.phase === "idle" ? take?.problems || [] : [];
    this.problems.replaceChildren(...problems.map((p) => h("li", { class: p.refuse ? "vx-refuse" : "vx-warn" }, p.text)));
    const heard = take && this.heard?.id === take.id ? this.heard : null;
    this.diff.replaceChildren(...(!heard ? [] : heard.diff ? [h("span", { class: "vx-dim" }, "Heard: "), ...heard.diff.flatMap(([k, t]) => [h({ same: "span", missing: "del", extra: "ins" }[k], {}, t), " "])] : [heard.text]));
  }
  paintWave(take) {
    const c = this.wave, live = this.phase === "recording" || this.phase === "stopping", w = c.clientWidth;
    const bars = live ? this.live.slice(-Math.floor(w / 3)).map((p) => 100 * p) : take?.peaks || [];
    this.time.textContent = live && this.out ? clock(this.out.seconds) : take && this.phase === "idle" ? `${take.seconds.toFixed(1)} s` : "";
    c.setAttribute("aria-label", live ? "Waveform of the recording" : take ? `Waveform of a take of ${take.seconds.toFixed(1)} seconds` : "No take yet");
    if (!w) return;
    const inside = (i) => live || !take?.trimmed || (i / bars.length >= take.edges[0] / take.whole && i / bars.length <= take.edges[1] / take.whole);
    this.bars(c, bars, live ? "--v-red" : "--v-accent", live ? 3 : 0, inside);
  }
  paintSound() { if (this.phase === "recording" || this.phase === "stopping") this.paintWave(); }
}

export default {
  render({ model, el }) {
    const app = new App(model, el);
    return () => app.close();
  },
};
