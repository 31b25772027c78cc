// Takes on their way to the kernel, and the browser's own copy of those that have not arrived.

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
