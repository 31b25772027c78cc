// The saved clips: search, filter, hear, correct, note, delete one or many, export.

class Saved {
  constructor(app) {
    Object.assign(this, { app, offset: 0, rows: [], total: 0, page: 30, asked: 0, chosen: new Set(), all: false, noting: null });
    const small = (name, label, act) => h("button", { type: "button", class: "vx-small", "data-vx": name, onclick: act }, label);
    this.query = h("input", { type: "search", placeholder: "Search transcripts, notes, files", "aria-label": "Search the saved clips", "data-vx": "clips-query", oninput: later(() => this.look(), 250) });
    this.show = h("select", { "aria-label": "Which clips", "data-vx": "clips-show", onchange: () => this.look() }, [["all", "All"], ["flagged", "Flagged"], ["doubtful", "Doubtful"]].map(([v, t]) => h("option", { value: v }, t)));
    this.every = h("input", { type: "checkbox", "aria-label": "Choose all on this page", "data-vx": "choose-page", onchange: () => this.choosePage() });
    this.chosenText = h("span", { class: "vx-dim", "data-vx": "chosen", "aria-live": "polite" });
    this.chooseAll = small("choose-all", "", () => { this.all = true; this.paintChosen(); });
    this.remove = small("delete-chosen", "Delete", () => this.deleteChosen());
    this.none = small("choose-none", "Clear", () => this.clear());
    this.undo = small("undo-saved", "", () => app.ask("undo", {}, "Undone."));
    this.list = h("ol", { class: "vx-clips", "data-vx": "clips" });
    this.pager = pager("clip", (to) => this.load(to));
    this.exports = h("details", { class: "vx-more", "data-vx": "exports" }, h("summary", {}, "Export"), h("div", { class: "vx-row" },
      ...[["zip", "Dataset with audio (zip)"], ["csv", "Table (CSV)"], ["ljspeech", "LJ Speech (zip)"]].map(([k, t]) => small(`export-${k}`, t, () => this.export(k)))));
    this.root = h("section", { class: "vx-page", "data-page": "saved", role: "tabpanel", "aria-label": "Saved" },
      h("div", { class: "vx-row" }, this.query, this.show), h("div", { class: "vx-row vx-bulk" }, h("label", { class: "vx-check" }, this.every, "Choose"), this.chosenText, this.chooseAll, this.remove, this.none, this.undo),
      this.list, this.pager.root, this.exports);
    this.list.addEventListener("focusout", () => setTimeout(() => this.app.paint())); // what could not be shown under a typing hand
  }
  look() { this.clear(); this.load(0); }
  clear() { this.chosen.clear(); this.all = false; this.paintChosen(); }
  async load(offset) {
    const run = ++this.asked;
    try {
      const a = await this.app.kernel.request("clips", { query: this.query.value, show: this.show.value, offset });
      if (run !== this.asked) return;
      if (!a.rows.length && a.total) return this.load(Math.max(0, Math.floor((a.total - 1) / a.page) * a.page)); // the last page became empty
      Object.assign(this, { offset, rows: a.rows, total: a.total, page: a.page });
      this.fill();
    } catch (e) { this.app.say(e.message, "error"); }
  }
  paint(s) {
    if (this.app.view !== "saved") return;
    this.undo.hidden = !s.undo;
    this.undo.textContent = `Undo: ${s.undo}`;
    this.exports.hidden = !s.clips;
    const typing = this.list.contains(document.activeElement) && document.activeElement.matches("input[type=text]");
    if (!typing && this.app.changed("clips", [s.version, s.speaker])) this.load(this.offset);
  }
  fill() {
    const filtered = this.query.value || this.show.value !== "all";
    this.app.refill(this.list, this.rows.length ? this.rows.map((o) => this.row(o)) : [h("li", { class: "vx-dim vx-wide" }, filtered ? "No clips match." : "Nothing is saved yet.")]);
    this.pager.paint(this.offset, this.rows.length, this.total, this.page);
    this.paintChosen();
  }
  row(o) {
    const app = this.app, file = o.file;
    const small = (name, act, title, pressed) => h("button", { type: "button", class: "vx-small", title, "aria-label": `${title}: ${file}`, "data-vx": `clip-${name}`, ...(pressed === undefined ? {} : { "aria-pressed": String(pressed) }), onclick: act }, icon(name));
    const field = (props) => h("input", { type: "text", dir: o.dir, lang: o.language || "", ...props });
    return h("li", { "data-clip": o.id },
      h("label", { class: "vx-check" }, h("input", { type: "checkbox", checked: this.all || this.chosen.has(o.id), "aria-label": `Choose ${file}`, "data-vx": "choose", onchange: (e) => { this.all = false; e.target.checked ? this.chosen.add(o.id) : this.chosen.delete(o.id); this.paintChosen(); } }),
        h("span", { class: "vx-dim" }, `${file} · ${o.seconds.toFixed(1)} s${app.state.speakers.length > 1 && o.speaker ? ` · ${o.speaker}` : ""}`)),
      field({ value: o.text, "aria-label": `Transcript of ${file}`, "data-vx": "clip-text", onchange: (e) => app.ask("edit", { clip: o.id, text: e.target.value }, "Corrected.") }),
      h("span", { class: "vx-clip-buttons" }, small("play", () => app.hear({ clip: o.id }, o.id), "Play"), small("flag", () => app.ask("flag", { clip: o.id, on: !o.flagged }, o.flagged ? "No longer flagged." : "Flagged for review."), "Flag", o.flagged),
        small("note", () => { this.noting = o.id; this.fill(); this.list.querySelector(`[data-clip="${CSS.escape(o.id)}"] [data-vx=clip-note-text]`)?.focus(); }, "Note"),
        ...(!o.again ? [] : [small("again", () => this.again(o), "Record again")]),
        small("discard", () => app.ask("delete", { clips: [o.id] }, `${file} is in the trash.`), "Delete")),
      ...(o.note || this.noting === o.id ? [h("div", { class: "vx-wide" }, field({ value: o.note, placeholder: "Note", "aria-label": `Note on ${file}`, "data-vx": "clip-note-text", onchange: (e) => { this.noting = null; app.ask("note", { clip: o.id, text: e.target.value }, "Noted."); } }))] : []),
      ...o.doubts.map((t) => h("div", { class: "vx-wide vx-warn", "data-vx": "clip-doubt" }, t)));
  }
  async again(o) {
    if (!(await this.app.ask("again", { clip: o.id }, "Read it again: the clip is replaced when you keep the new take."))) return;
    this.app.view = "record";
    this.app.paint();
  }
  choosePage() {
    this.all = false;
    for (const o of this.rows) this.every.checked ? this.chosen.add(o.id) : this.chosen.delete(o.id);
    this.paintChosen();
  }
  paintChosen() {
    const n = this.all ? this.total : this.chosen.size, here = this.rows.length > 0 && this.rows.every((o) => this.all || this.chosen.has(o.id));
    for (const box of this.list.querySelectorAll("[data-vx=choose]")) box.checked = this.all || this.chosen.has(box.closest("[data-clip]").dataset.clip);
    this.every.checked = here;
    this.chosenText.textContent = n ? `${n} chosen` : "";
    this.remove.hidden = this.none.hidden = !n;
    this.chooseAll.hidden = this.all || !here || this.total <= this.rows.length;
    this.chooseAll.textContent = `All ${this.total} found`;
  }
  async deleteChosen() {
    const args = this.all ? { query: this.query.value, show: this.show.value } : { clips: [...this.chosen] };
    if (await this.app.ask("delete", args, (a) => `${many(a.n, "clip")} in the trash.`)) this.clear();
  }
  async export(kind) { // it lies beside the dataset; the browser gets a copy
    const app = this.app, a = await app.ask("export", { kind }, (a) => `Written to ${a.file} in the dataset's folder.`);
    if (!a || a.size > 3e8) return;
    try {
      const parts = [];
      for (let have = 0; have < a.size; ) {
        const { buffers } = await app.kernel.request("export_part", { offset: have });
        if (!buffers[0]?.byteLength) break;
        parts.push(buffers[0]);
        have += buffers[0].byteLength;
      }
      saveAs(new Blob(parts), a.file.split("/").pop());
    } catch (e) { app.say(e.message, "error"); }
  }
}

function saveAs(blob, name) {
  const a = h("a", { href: URL.createObjectURL(blob), download: name });
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 60000);
}
