// Files: sent in parts, looked at in a table, saved when nothing is wrong with them.

class UploadPage {
  constructor(app) {
    this.app = app;
    const field = (name, tag, props, ...kids) => (this[name] = h(tag, { "data-vx": name, ...props }, ...kids));
    this.root = h("section", { class: "vx-page", "data-page": "upload", role: "tabpanel", "aria-label": "Upload" },
      field("drop", "div", { class: "vx-drop", ondragover: (e) => e.preventDefault(), ondrop: (e) => { e.preventDefault(); this.send([...e.dataTransfer.files]); } },
        h("label", {}, h("span", { title: ENDINGS.join(" ") }, "Choose or drop audio (WAV, FLAC, MP3, M4A, Opus and others) and, if you have them, transcripts (CSV, TXT, JSONL, SRT, TextGrid and others)"),
          field("files", "input", { type: "file", multiple: true, accept: [...ENDINGS, "audio/*"].join(), onchange: (e) => this.send([...e.target.files]) }))),
      field("sendingList", "ul", { class: "vx-sending" }), field("table", "div", { class: "vx-table" }),
      h("label", { class: "vx-field" }, h("span", {}, "Paste transcripts: one line for each file, in this order"), field("pasted", "textarea", { rows: 3, dir: "auto" })),
      h("div", { class: "vx-buttons" }, field("use", "button", { type: "button", class: "vx-small", onclick: () => app.ask("upload_paste", { text: this.pasted.value }, (a) => `${a.n} transcripts assigned.`) }, "Use these lines"),
        field("save", "button", { type: "button", class: "vx-button vx-keep", onclick: () => this.save.getAttribute("aria-disabled") !== "true" && app.ask("upload_save", {}, (a) => `${many(a.saved, "file")} saved${a.left ? `, ${a.left} left to fix` : ""}.`) }, "Save")));
    this.table.addEventListener("focusout", () => setTimeout(() => this.app.paint())); // what could not be shown under a typing hand
  }
  async send(files) {
    for (const f of files) {
      const id = hex(), row = { name: f.name, done: 0 };
      this.sending = [...(this.sending || []), row];
      try {
        let { have } = await this.app.kernel.request("file_begin", { file: id, name: f.name, size: f.size });
        while (have < f.size) {
          this.app.paint();
          const part = await f.slice(have, have + PART).arrayBuffer();
          have = (await this.app.kernel.request("file_part", { file: id, offset: have }, [part])).have;
          row.done = have / f.size;
        }
        await this.app.kernel.request("file_end", { file: id });
        this.sending = this.sending.filter((o) => o !== row);
      } catch (e) { row.failed = e.message; }
      this.app.paint();
    }
    await this.app.kernel.request("uploads").catch((e) => this.app.say(e.message, "error"));
    this.files.value = "";
    const bad = this.sending.filter((o) => o.failed).length;
    this.app.say(bad ? `${bad} files did not arrive.` : "Look at the list, add transcripts, then save.", bad ? "error" : "info");
  }
  paint(s) {
    const sending = this.sending || [];
    this.sendingList.replaceChildren(...sending.map((o) => h("li", { class: o.failed ? "vx-refuse" : "" }, o.failed ? `${o.name.slice(0, 80)}: ${o.failed}` : `${o.name.slice(0, 80)} ${Math.round(100 * o.done)} %`)));
    const good = s.uploads.filter((o) => !o.problems.length).length;
    this.save.textContent = s.uploads.length ? `Save ${good} of ${s.uploads.length} files` : "Save";
    this.save.setAttribute("aria-disabled", String(!good));
    this.pasted.parentElement.hidden = this.use.hidden = this.save.hidden = !s.uploads.length;
    if (!this.app.changed("uploads", [s.uploads, s.notices], this.table)) return;
    this.app.refill(this.table, [...s.notices.map((t) => h("div", { class: "vx-warn" }, t)), ...(s.uploads.length ? [h("table", {}, h("thead", {}, h("tr", {}, ["File", "Length", "Transcript"].map((t) => h("th", { scope: "col" }, t)), h("td", {}))),
      h("tbody", {}, s.uploads.map((o) => h("tr", { class: o.problems.length ? "vx-bad" : "" }, h("td", { class: "vx-name" }, o.name), h("td", {}, o.seconds ? `${o.seconds.toFixed(1)} s` : "–"),
        h("td", {}, h("input", { type: "text", value: o.text || "", dir: "auto", "data-vx": "upload-text", "aria-label": `Transcript of ${o.name}`, onchange: (e) => this.app.ask("upload_text", { upload: o.id, text: e.target.value }) }),
          [...o.problems.map((p) => h("div", { class: "vx-refuse" }, p)), ...o.warnings.map((p) => h("div", { class: "vx-warn" }, p))]),
        h("td", {}, h("button", { type: "button", class: "vx-small", "aria-label": `Remove ${o.name}`, onclick: () => this.app.ask("upload_remove", { upload: o.id }, "Removed.") }, "Remove"))))))] : [])]);
  }
}
