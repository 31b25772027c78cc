// The review of drafts: a clip, what a model wrote, the words that it was not sure of, and the correction. The files kernel.js and page.js come before it.

class ReviewPage extends Page {
  constructor(model, el) {
    super(model);
    Object.assign(this, { heardId: null, safe: ["What you accepted is in the folder.", "What you accepted is in the folder; the rest is sent when the kernel answers."] });
    this.build(el);
    this.visible = () => document.visibilityState === "visible" && this.kernel.request("hello").catch(() => {}); // more may have been drafted meanwhile
    document.addEventListener("visibilitychange", this.visible);
    this.sizes = new ResizeObserver(() => this.root.clientWidth && this.paint());
    this.sizes.observe(this.root);
    this.kernel.request("hello").catch((e) => this.say(e.message, "error"));
  }
  close() {
    super.close();
    this.sizes.disconnect();
    document.removeEventListener("visibilitychange", this.visible);
  }
  build(el) {
    const draft = () => this.state.draft?.id;
    const on = (act) => () => draft() && act(draft());
    this.buttons = {
      play: this.button("play", "p", "Play", on((id) => this.play(id))), keep: this.button("keep", "a", "Accept", on((id) => this.accept(id))),
      edit: this.button("note", "e", "Edit", on(() => this.edit())), skip: this.button("skip", "s", "Later", on((id) => this.next("later", { draft: id }, "It comes again at the end."))),
      discard: this.button("discard", "d", "Reject", on((id) => this.next("reject", { draft: id }, "Rejected: not speech, or not to be used."))),
      undo: this.button("undo", "z", "Undo", () => this.next("undo", {}, "Undone.")),
    };
    this.buttons.back = this.button("back", "b", "Back", () => this.next("back", {}, ""));
    this.least = h("input", { type: "number", min: 50, max: 100, step: 1, value: 95, "aria-label": "Least confidence of a word, in percent", "data-vx": "least" });
    this.autoplay = h("input", { type: "checkbox", "data-vx": "set-autoplay", onchange: (e) => this.ask("view", { autoplay: e.target.checked }) });
    this.field("status", "div", { class: "vx-status", role: "status", "aria-live": "polite" });
    this.root = h("div", { class: "vx", tabIndex: 0, role: "region", "aria-label": "Review of drafts", "data-vx": "root", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "vx-head" }, h("b", {}, "Review"), this.field("who", "span", { class: "vx-who" })),
      h("div", { class: "vx-row vx-where" }, this.field("progressText", "div", { class: "vx-progress" }), h("span", { class: "vx-card-buttons" }, this.buttons.back)), h("div", { class: "vx-track" }, this.field("progress", "div", { class: "vx-fill" })),
      this.field("finished", "div", { class: "vx-finished", hidden: true }),
      this.field("work", "section", { "aria-label": "Draft" },
        this.field("draft", "div", { class: "vx-prompt", "aria-live": "polite" }), this.field("about", "div", { class: "vx-dim" }),
        h("label", { class: "vx-field" }, h("span", {}, "Transcript"), this.field("transcript", "textarea", { rows: 2, spellcheck: true, dir: "auto", oninput: () => this.paintButtons() })),
        h("div", { class: "vx-sound" }, this.field("wave", "canvas", { class: "vx-wave", role: "img" }), this.field("time", "span", { class: "vx-time" }))),
      h("div", { class: "vx-buttons" }, Object.entries(this.buttons).filter(([k]) => k !== "back").map(([, b]) => b)),
      this.field("options", "details", { class: "vx-more" }, h("summary", {}, "Options"), h("div", { class: "vx-options" },
        h("fieldset", {}, h("legend", {}, "Listening"), h("label", { class: "vx-check" }, this.autoplay, "Play each clip as it comes")),
        h("fieldset", {}, h("legend", {}, "Without looking"), h("div", { class: "vx-row" }, h("button", { type: "button", class: "vx-small", "data-vx": "accept-sure", onclick: () => this.acceptSure() }, "Accept all drafts"), "whose words are all at least", this.least, "% sure")))),
      this.status);
    el.append(this.root);
    this.paint();
  }
  async play(id) { this.heardId = id; await this.hear({ draft: id }, id); }
  async accept(id) {
    const a = await this.next("accept", { draft: id, text: this.transcript.value, heard: this.heardId === id }, (a) => `Saved as ${a.saved.split("/").pop()}${a.how === "unheard" ? ", marked as accepted without listening" : ""}.`);
    if (a) this.root.focus({ preventScroll: true });
  }
  async next(op, args, said) { // something was decided: what is shown moves on
    if (this.deciding) return null;
    this.deciding = true;
    this.stopSound();
    const a = await this.ask(op, args, said);
    this.deciding = false;
    if (a && this.state.draft && this.state.autoplay && op !== "undo") this.play(this.state.draft.id);
    return a;
  }
  acceptSure() { return this.next("accept_sure", { least: Number(this.least.value) / 100 }, (a) => `${many(a.n, "draft")} accepted; their rows say that nobody looked.`); }
  edit(i) { // to a word, else to the first that the model was not sure of
    const words = this.state.draft.words, at = i ?? Math.max(0, words.findIndex((w) => w.doubtful)), t = this.transcript;
    t.focus();
    if (words[at] && t.value === this.state.draft.text) t.setSelectionRange(words[at].start, words[at].end);
  }
  key(e) {
    if (e.key !== "Enter" || !(e.ctrlKey || e.metaKey)) return super.key(e);
    e.stopPropagation();
    e.preventDefault();
    this.buttons.keep.click();
  }
  explain(name) { if (name === "undo") this.say("There is nothing to undo."); else if (name === "back") this.say("This is the first one."); else this.say("Nothing is left to decide."); }
  paintButtons() {
    const s = this.state, b = this.buttons, able = (o, on) => o.setAttribute("aria-disabled", String(!on)), label = (o, t, i) => { o.querySelector(".vx-label").textContent = t; if (i) o.querySelector("svg").replaceWith(icon(i)); };
    for (const k of ["play", "edit", "skip", "discard", "keep"]) able(b[k], s.draft);
    able(b.undo, s.undo);
    able(b.back, s.back);
    b.undo.title = s.undo ? `Undo: ${s.undo}` : "Nothing to undo";
    label(b.keep, s.draft && this.transcript.value.trim() !== s.draft.text ? "Accept correction" : "Accept");
    label(b.play, this.sound ? "Stop" : "Play", this.sound ? "stop" : "play");
  }
  paint() {
    if (this.closed) return;
    const s = this.state, held = this.root.contains(document.activeElement);
    this.root.dataset.ready = String(!!s);
    this.root.dataset.phase = this.phase;
    this.paintStatus();
    this.hideHint();
    if (!s) return;
    this.who.textContent = s.folder;
    this.progressText.textContent = `${many(s.left, "draft")} left · ${s.accepted} accepted · ${clock(s.seconds)} of speech${s.rejected ? ` · ${s.rejected} rejected` : ""}`;
    this.progress.style.width = `${(100 * (s.total - s.left)) / Math.max(1, s.total)}%`;
    this.autoplay.checked = s.autoplay;
    this.work.hidden = this.options.hidden = !s.draft;
    this.finished.hidden = !!s.draft;
    this.finished.textContent = s.total ? "Every draft is decided. Train on the folder, draft again with the new model, and only what it gets wrong is left to correct." : "There are no drafts in this folder yet: draft_transcripts(folder, model) writes them.";
    if (s.draft && this.changed("draft", [s.draft.id, s.draft.text, s.draft.accepted])) this.paintDraft(s.draft);
    if (s.draft) this.bars(this.wave, s.draft.peaks, "--v-accent");
    this.paintButtons();
    if (held && (!this.root.contains(document.activeElement) || !document.activeElement.offsetParent)) this.root.focus({ preventScroll: true });
  }
  paintDraft(d) {
    const parts = [];
    let done = 0;
    d.words.forEach((w, i) => {
      parts.push(d.text.slice(done, w.start));
      const text = d.text.slice(w.start, w.end), title = `${Math.round(100 * w.confidence)} % sure`;
      parts.push(w.doubtful ? h("button", { type: "button", class: "vx-doubt", "data-vx": "doubt", title, "aria-label": `${text}, ${title}: correct it`, onclick: () => this.edit(i) }, text) : text);
      done = w.end;
    });
    this.draft.replaceChildren(...parts, d.text.slice(done), d.text ? "" : h("span", { class: "vx-dim" }, "The model heard no words."));
    this.draft.dir = d.dir;
    this.draft.lang = this.transcript.lang = d.language || "";
    this.about.textContent = [`${d.file} at ${clock(d.at)}`, `${Math.round(100 * d.confidence)} % sure`, d.again ? "the same words as another draft" : "", d.accepted ? `accepted before (${d.accepted})` : ""].filter(Boolean).join(" · ");
    this.transcript.value = d.shown;
    this.time.textContent = `${d.seconds.toFixed(1)} s`;
    this.wave.setAttribute("aria-label", `Waveform of a clip of ${d.seconds.toFixed(1)} seconds`);
  }
}

export default {
  render({ model, el }) {
    const page = new ReviewPage(model, el);
    return () => page.close();
  },
};
