// The level of the microphone: a meter with a target zone.

const ZONE = [-24, -6]; // dB of full scale: where the peaks of speech should lie, with room for louder words
const FLOOR = -60; // dB, where the scale begins

class Meter {
  constructor() {
    const at = (db) => `${(100 * (db - FLOOR)) / -FLOOR}%`;
    this.bar = h("div", { class: "vx-level-bar" });
    this.zone = h("div", { class: "vx-zone" });
    this.zone.style.left = at(ZONE[0]);
    this.zone.style.right = `${100 - parseFloat(at(ZONE[1]))}%`;
    this.level = h("div", { class: "vx-level", role: "meter", "aria-label": "Level", "aria-valuemin": String(FLOOR), "aria-valuemax": "0", "aria-valuenow": String(FLOOR), "data-vx": "level" }, this.zone, this.bar);
    const ticks = [-60, -40, -24, -6, 0].map((db) => { const t = h("span", {}, db === FLOOR ? `${db} dB` : String(db)); t.style.left = at(db); return t; });
    this.clip = h("span", { class: "vx-clip", "data-vx": "clip" }, "clipping");
    this.root = h("div", { class: "vx-meter" }, this.level, h("div", { class: "vx-scale", "aria-hidden": "true" }, ticks));
  }
  show(loudness, clipping) {
    const db = Math.max(FLOOR, dB(loudness)), inside = db >= ZONE[0] && db <= ZONE[1];
    this.bar.style.width = `${Math.min(100, (100 * (db - FLOOR)) / -FLOOR)}%`;
    this.level.setAttribute("aria-valuenow", String(Math.round(db)));
    this.level.setAttribute("aria-valuetext", `${Math.round(db)} dB${inside ? ", in the target zone" : ""}`);
    this.clip.dataset.on = String(clipping);
  }
}
