// A check of room and voice before the first take.

const ROOM = -50; // dB of full scale: a room above that is heard in the recording
const QUIET = 2500, SPEAK = 5000; // ms that the check listens to the room, and to the voice

class SoundCheck {
  constructor(app) {
    Object.assign(this, { app, step: null, result: null, done: false });
    this.said = h("div", { "data-vx": "check-said", "aria-live": "polite" });
    this.list = h("ul", { class: "vx-problems", "data-vx": "check-result" });
    this.go = h("button", { type: "button", class: "vx-small", "data-vx": "check-start", onclick: () => (this.step ? this.stop() : this.start()) });
    this.away = h("button", { type: "button", class: "vx-small", "data-vx": "check-close", onclick: () => { this.close(); app.paint(); } });
    this.root = h("section", { class: "vx-card", "data-vx": "check", hidden: true }, h("div", { class: "vx-card-head" }, h("strong", {}, "Room and level"), h("span", { class: "vx-card-buttons" }, this.go, this.away)), this.said, this.list);
  }
  async start() {
    const app = this.app;
    if (app.phase !== "idle" || !(await app.openMic())) return;
    app.stopSound();
    Object.assign(this, { step: "quiet", result: null, quiet: [], voice: [], done: false });
    app.phase = "checking";
    app.say("Listening to the room.", "info");
    app.paint();
    this.timer = setTimeout(() => {
      this.step = "speak";
      app.paint();
      this.timer = setTimeout(() => this.judge(), SPEAK);
    }, QUIET);
  }
  stop() {
    clearTimeout(this.timer);
    if (!this.step) return;
    this.step = null;
    if (this.app.phase === "checking") this.app.phase = "idle";
    this.app.paint();
  }
  close() { this.stop(); Object.assign(this, { done: true, result: null }); }
  block({ peak, power }) {
    if (this.step === "quiet") this.quiet.push(power);
    else if (this.step === "speak") this.voice.push({ peak, power });
  }
  judge() {
    this.result = soundVerdict(this.quiet, this.voice);
    this.stop();
    this.app.say(this.result.every((o) => o.good) ? "Room and level are good: press Record." : "Look at what the check found, then press Record.", this.result.every((o) => o.good) ? "ok" : "warn");
  }
  paint(s) {
    this.root.hidden = !(this.step || this.result || (s.clips === 0 && s.prompt && !s.takes.length)) || this.done;
    if (this.root.hidden) return;
    const text = this.step === "quiet" ? "Be quiet for a moment …" : this.step === "speak" ? "Now read the sentence aloud, as you will for the recording …" : this.result ? "" : "Before the first take: eight seconds that tell whether the room is quiet enough and your voice loud enough.";
    if (this.said.textContent !== text) this.said.textContent = text;
    this.go.textContent = this.step ? "Stop" : this.result ? "Check again" : "Check room and level";
    this.away.textContent = this.result ? "Close" : "Not now";
    this.list.replaceChildren(...(this.result || []).map((o) => h("li", { class: o.good ? "vx-good" : "vx-warn" }, o.text)));
  }
}

function soundVerdict(quiet, voice) { // powers of the room; peaks and powers of the voice: what to say of them
  const middle = (a) => [...a].sort((x, y) => x - y)[Math.floor(a.length / 2)] || 0, loud = [...voice].sort((x, y) => y.power - x.power).slice(0, Math.ceil(voice.length / 4));
  const room = dB(Math.sqrt(middle(quiet))), peak = dB(middle(loud.map((o) => o.peak))), over = dB(Math.sqrt(middle(loud.map((o) => o.power)))) - room, top = Math.max(0, ...voice.map((o) => o.peak));
  const n = (x) => Math.round(x);
  return [
    room <= ROOM ? { good: true, text: `Room: ${n(room)} dB, quiet enough.` } : { good: false, text: `Room: ${n(room)} dB, more than ${ROOM}. Close the window, switch off fans, or move closer to the microphone.` },
    top >= 0.999 ? { good: false, text: "Voice: it clips. Turn the microphone down, or move away from it." }
      : over < 15 ? { good: false, text: `Voice: only ${n(Math.max(0, over))} dB above the room. Speak closer to the microphone; check that the right one is selected and not muted.` }
      : peak < ZONE[0] ? { good: false, text: `Voice: peaks at ${n(peak)} dB, below the target zone (${ZONE[0]} to ${ZONE[1]}). Speak closer to the microphone, or turn it up.` }
      : peak > ZONE[1] ? { good: false, text: `Voice: peaks at ${n(peak)} dB, above the target zone (${ZONE[0]} to ${ZONE[1]}). Move away from the microphone a little, or turn it down.` }
      : { good: true, text: `Voice: peaks at ${n(peak)} dB, in the target zone.` },
  ];
}
