// The list of prompts, with search and jump; texts of one's own; what a model got wrong.

class PromptList {
  constructor(app) {
    Object.assign(this, { app, open: false, offset: 0, found: null, asked: 0 });
    const look = later(() => this.load(0), 250);
    this.query = h("input", { type: "search", placeholder: "Search the prompts", "aria-label": "Search the prompts", "data-vx": "prompts-query", oninput: look });
    this.show = h("select", { "aria-label": "Which prompts", "data-vx": "prompts-show", onchange: () => this.load(0) }, [["all", "All"], ["open", "To read"], ["read", "Read"], ["skipped", "Skipped"]].map(([v, t]) => h("option", { value: v }, t)));
    this.list = h("ol", { class: "vx-list", "data-vx": "prompts-list" });
    this.pager = pager("prompt", (to) => this.load(to));
    this.own = h("textarea", { rows: 4, dir: "auto", "data-vx": "own-text" });
    this.file = h("input", { type: "file", accept: ".txt,.md,text/plain", "data-vx": "own-file", "aria-label": "Load a text file", onchange: () => this.read() });
    this.add = h("button", { type: "button", class: "vx-small", "data-vx": "own-add", onclick: () => this.addText() }, "Add to the prompts");
    this.texts = h("ul", { class: "vx-list", "data-vx": "own-texts" });
    this.wrong = h("select", { "aria-label": "Evaluation", "data-vx": "wrong-result" });
    this.wrongSaid = h("span", { class: "vx-dim", "data-vx": "wrong-none" });
    this.useWrong = h("button", { type: "button", class: "vx-small", "data-vx": "wrong-add", onclick: () => this.wrong.value && this.said(app.ask("add_wrong", { result: this.wrong.value }), "from the evaluation") }, "Read what it got wrong");
    this.more = h("details", { class: "vx-more", "data-vx": "more-to-read" }, h("summary", {}, "More to read"),
      h("label", { class: "vx-field" }, h("span", {}, "Paste your own text; it is cut into phrases"), this.own),
      h("div", { class: "vx-row" }, this.add, h("span", { class: "vx-dim" }, "or load one:"), this.file),
      this.texts,
      h("div", { class: "vx-row" }, this.wrong, this.useWrong, this.wrongSaid));
    this.more.addEventListener("toggle", () => this.more.open && this.results());
    this.root = h("section", { class: "vx-card", "data-vx": "prompts", hidden: true, "aria-label": "Prompts" }, h("div", { class: "vx-row" }, this.query, this.show), this.list, this.pager.root, this.more);
  }
  toggle(open = !this.open, more = false) {
    this.open = open;
    if (more) this.more.open = true;
    this.app.paint();
    if (!open) return this.app.root.focus({ preventScroll: true });
    this.load(0);
    (more ? this.own : this.query).focus();
  }
  async load(offset) {
    const run = ++this.asked;
    try {
      const a = await this.app.kernel.request("prompts", { query: this.query.value, show: this.show.value, offset });
      if (run !== this.asked) return;
      Object.assign(this, { offset, found: a });
      this.fill();
    } catch (e) { this.app.say(e.message, "error"); }
  }
  fill() {
    const now = this.app.state?.prompt?.id, words = { read: "read", skipped: "skipped", open: "" };
    this.app.refill(this.list, this.found.rows.map((o) => h("li", {}, h("button", { type: "button", class: "vx-jump", "data-vx": "jump", "data-status": o.status, "aria-current": String(o.id === now), onclick: () => this.jump(o.id) },
      h("span", { class: "vx-dim" }, `${o.number}`), h("span", { dir: o.dir, lang: this.app.state?.prompt?.language || "" }, o.text), h("span", { class: "vx-dim" }, words[o.status])))));
    if (!this.found.rows.length) this.list.replaceChildren(h("li", { class: "vx-dim" }, "No prompt is like that."));
    this.pager.paint(this.offset, this.found.rows.length, this.found.total, 30);
  }
  async jump(id) {
    if (this.app.phase !== "idle") return;
    if (await this.app.ask("goto", { prompt: id }, "")) this.toggle(false);
  }
  paint(s) {
    this.root.hidden = !this.open;
    if (!this.open) return;
    if (this.app.changed("prompts", [s.version, s.prompt?.id, s.done, s.skipped, s.script])) this.load(this.offset);
    if (this.app.changed("texts", s.texts)) this.app.refill(this.texts, s.texts.map((o) => h("li", {}, h("span", {}, `${o.title} · ${many(o.n, "phrase")} `),
      h("button", { type: "button", class: "vx-small", "data-vx": "own-remove", "aria-label": `Remove ${o.title}`, onclick: () => this.app.ask("remove_text", { id: o.id }, "Removed; clips that were read from it stay.") }, "Remove"))));
  }
  async said(request, from) {
    const a = await request;
    if (!a) return null;
    this.app.say(`${many(a.n, "phrase")} ${from}, to be read next.`, "ok");
    this.toggle(false);
    return a;
  }
  async addText(title = "") {
    if (await this.said(this.app.ask("add_text", { text: this.own.value, title }), "added")) this.own.value = "";
  }
  async read() { // UTF-8, or said
    const f = this.file.files[0];
    this.file.value = "";
    if (!f) return;
    if (f.size > 2e6) return this.app.say(`${f.name.slice(0, 80)} has ${(f.size / 1e6).toFixed(1)} MB: load a shorter text.`, "error");
    try { this.own.value = new TextDecoder("utf-8", { fatal: true }).decode(await f.arrayBuffer()); } catch (e) { return this.app.say(`${f.name.slice(0, 80)} is not UTF-8 text: save it as UTF-8, or paste the text.`, "error"); }
    await this.addText(f.name);
  }
  async results() {
    try {
      const { results } = await this.app.kernel.request("results");
      this.wrong.replaceChildren(...results.map((o) => h("option", { value: o.name }, o.name)));
      this.wrong.hidden = this.useWrong.hidden = !results.length;
      this.wrongSaid.textContent = results.length ? "" : "After an evaluation, what the model got wrong can be read here.";
    } catch (e) { this.app.say(e.message, "error"); }
  }
}

function pager(name, go) { // "1 to 30 of 134", and two buttons
  const at = { offset: 0, page: 30 }, text = h("span", { class: "vx-dim", "data-vx": `${name}s-count`, "aria-live": "polite" });
  const button = (label, title, to, id) => h("button", { type: "button", class: "vx-small", "data-vx": `${name}s-${id}`, "aria-label": title, onclick: (e) => e.currentTarget.getAttribute("aria-disabled") !== "true" && go(to()) }, label);
  const before = button("‹", "Page before", () => Math.max(0, at.offset - at.page), "before"), next = button("›", "Next page", () => at.offset + at.page, "next");
  const root = h("div", { class: "vx-row vx-pager" }, before, text, next);
  return { root, paint(offset, shown, total, page) {
    Object.assign(at, { offset, page });
    text.textContent = total > shown ? `${offset + 1} to ${offset + shown} of ${many(total, name)}` : many(total, name);
    before.hidden = next.hidden = total <= page;
    before.setAttribute("aria-disabled", String(offset === 0));
    next.setAttribute("aria-disabled", String(offset + shown >= total));
  } };
}
