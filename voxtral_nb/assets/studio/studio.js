// The Studio's page. Python writes its HTML; this file shows it, keeps what a person is typing, and reports what they do.
// Nothing is kept in the notebook: HTML and sound come as messages, never as the widget's state.
const LATE = 8000; // ms without an answer before the page says so
const PART = 1 << 20; // bytes of a file in a message: larger ones are lost on their way
const SEEN = 5000; // ms between two notes of what the page has; what a lost connection swallowed is sent again then

function sameKind(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
}

function copyAttributes(to, from) {
  for (const { name } of [...to.attributes])
    if (!from.hasAttribute(name) && !(to.tagName === "DETAILS" && name === "open")) to.removeAttribute(name);
  for (const { name, value } of [...from.attributes]) {
    if (to.tagName === "DETAILS" && name === "open") continue; // the reader opens and closes it
    if (to.getAttribute(name) !== value) to.setAttribute(name, value);
  }
}

function copyValue(to, from) { // what is being typed stays
  if (to === document.activeElement && to.tagName !== "SELECT" && to.type !== "checkbox") return;
  if (to.tagName === "INPUT" && to.type === "checkbox") to.checked = from.hasAttribute("checked");
  else if (to.tagName === "INPUT") { if (to.value !== from.value) to.value = from.value; }
  else if (to.tagName === "TEXTAREA") { if (to.value !== from.textContent) to.value = from.textContent; }
  else if (to.tagName === "SELECT") { const v = from.querySelector("option[selected]")?.value ?? from.value; if (to.value !== v) to.value = v; }
}

// Make `to` hold what `from` holds, and leave alone what is the same: focus, scroll positions and folds survive.
function morph(to, from) {
  const olds = [...to.childNodes], news = [...from.childNodes];
  let i = 0;
  for (const n of news) {
    let o = olds[i];
    if (o && n.nodeType === 1 && n.id && !sameKind(o, n)) { // a block that moved, or others before it that are gone
      const k = olds.findIndex((x, j) => j > i && sameKind(x, n));
      if (k > 0) { while (i < k) olds[i++].remove(); o = olds[i]; }
    }
    if (!o) { to.append(n); continue; }
    if (!sameKind(o, n)) { to.insertBefore(n, o); continue; }
    i += 1;
    if (n.nodeType === 3) { if (o.data !== n.data) o.data = n.data; continue; }
    if (n.nodeType !== 1) continue;
    if (o.isEqualNode(n) && !("value" in o)) continue;
    copyAttributes(o, n);
    if (n.dataset.force === "true" && !o.forced) o.open = true; // an error in it: once
    o.forced = n.dataset.force === "true";
    morph(o, n);
    copyValue(o, n);
  }
  while (i < olds.length) olds[i++].remove();
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "vs";
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // keys typed here are not JupyterLab's
  const late = document.createElement("div");
  late.className = "vs-late"; late.setAttribute("role", "alert"); late.hidden = true;
  const body = document.createElement("div");
  root.append(late, body); el.append(root);
  const waiting = new Map(), answered = new Map(), audio = new Audio();
  let next = 1, rev = 0, url = null, playing = null, speech = null, ready = false;

  function watch() {
    const now = performance.now(), old = [...waiting.values()].some((t) => now - t > LATE);
    const text = "Python has not answered for several seconds. It may be busy with another cell. If the kernel was restarted, run this cell again: running jobs continue, and nothing is lost.";
    if (old && late.hidden) late.textContent = text;
    late.hidden = !old;
  }
  const clock = setInterval(watch, 1000), seen = setInterval(() => send("seen", { rev }), SEEN);

  function send(name, args = {}, buffers = undefined) {
    const id = next++;
    waiting.set(id, performance.now());
    if (name !== "seen") root.dataset.busy = "true";
    try { model.send({ id, do: name, args }, undefined, buffers); }
    catch (e) { console.warn(`the Studio could not ask Python for ${name}: ${e.message}`); } // no kernel: `watch` says so
    return id;
  }
  async function upload(o) { // file by file, part by part, each after the answer to the one before
    const name = o.dataset.upload;
    for (const f of [...o.files])
      for (let at = 0; at < f.size || at === 0; at += PART) {
        const part = await f.slice(at, at + PART).arrayBuffer();
        const m = await new Promise((done) => answered.set(send(name, { name: f.name, at, size: f.size }, [part]), done));
        if (m.trouble) break; // the page says it
      }
    o.value = "";
  }
  function received(message, buffers) {
    waiting.clear(); // whatever comes, Python is there
    answered.get(message.answer)?.(message); answered.delete(message.answer);
    if (message.answer !== undefined) root.dataset.busy = "false";
    if (message.html !== undefined) {
      rev = message.rev;
      const t = document.createElement("template");
      t.innerHTML = message.html;
      morph(body, t.content);
      if (playing !== null) mark(playing, true);
      if (speech) markSpeak();
      if (document.body.dataset.voila) document.title = `${body.querySelector(".vs-name").textContent} · Studio`; // its own tab
      if (!ready) { ready = true; root.dataset.ready = "true"; }
    }
    if (message.trouble) body.querySelector('.vs-notice[data-kind="error"]')?.scrollIntoView({ block: "nearest" }); // the button may be far below
    if (message.focus) { const o = body.querySelector(message.focus); if (o) o.focus({ preventScroll: false }); }
    if (message.sound !== undefined && message.sound === playing && buffers?.length) {
      if (url) URL.revokeObjectURL(url);
      url = URL.createObjectURL(new Blob([buffers[0]], { type: "audio/wav" }));
      audio.src = url;
      audio.play().catch(() => stopSound());
    }
    if (message.sound !== undefined && !buffers?.length) stopSound();
    watch();
  }

  // Clips
  function mark(key, on) {
    for (const b of body.querySelectorAll("[data-play]")) if (b.dataset.play === key) {
      b.setAttribute("aria-pressed", on ? "true" : "false");
      b.textContent = on ? "■" : "▶";
    }
  }
  function stopSound() { audio.pause(); if (playing !== null) mark(playing, false); playing = null; }
  function play(key) {
    const again = playing === key;
    stopSound();
    if (again) return;
    playing = key; mark(key, true);
    send("play", { key });
  }
  audio.addEventListener("ended", stopSound);

  // A few words for the new model to hear
  const SOUND = 10_000; // ms: a browser without a way out for sound would wait forever
  let opening = false;
  function markSpeak() { // again after each new page
    for (const b of body.querySelectorAll("[data-speak]")) {
      speech ? b.setAttribute("aria-pressed", "true") : b.removeAttribute("aria-pressed");
      b.textContent = speech ? "Stop and transcribe" : "Speak";
    }
  }
  async function speak() {
    if (speech) return endSpeech();
    if (opening) return;
    if (!navigator.mediaDevices) return send("no_microphone", { why: "this page is not on https or localhost" });
    opening = true;
    let stream, context, late;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
      context = new AudioContext();
      const parts = [], limit = new Promise((_, no) => { late = setTimeout(() => no("the browser's sound does not start; it may have no device for output"), SOUND); });
      await Promise.race([limit, listen(stream, context, parts)]);
      speech = { stream, context, parts };
      markSpeak();
    } catch (e) {
      stream?.getTracks().forEach((t) => t.stop());
      context?.close();
      send("no_microphone", { why: e.name ?? e });
    } finally { clearTimeout(late); opening = false; }
  }
  async function listen(stream, context, parts) { // until the first samples are there
    const code = "registerProcessor('vs-take', class extends AudioWorkletProcessor { process(i) { if (i[0][0]) this.port.postMessage(i[0][0].slice()); return true; } })";
    const at = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    await context.audioWorklet.addModule(at);
    URL.revokeObjectURL(at);
    const node = new AudioWorkletNode(context, "vs-take");
    context.createMediaStreamSource(stream).connect(node);
    return new Promise((yes) => {
      node.port.onmessage = ({ data }) => { parts.push(data); yes(); if (speech && parts.length * 128 > 30 * context.sampleRate) endSpeech(); };
    });
  }
  function endSpeech(keep = true) {
    const { stream, context, parts } = speech, rate = Math.round(context.sampleRate);
    speech = null;
    stream.getTracks().forEach((t) => t.stop());
    context.close();
    if (!keep) return;
    const pcm = new Int16Array(parts.reduce((n, p) => n + p.length, 0));
    let k = 0;
    for (const p of parts) for (const x of p) pcm[k++] = Math.max(-32768, Math.min(32767, Math.round(32768 * x)));
    markSpeak();
    send("speak", { rate }, [pcm.buffer]);
  }

  // What a person does
  const value = (o) => (o.type === "checkbox" ? o.checked : o.value);
  body.addEventListener("click", (e) => {
    const b = e.target.closest("[data-do], [data-play], [data-speak]");
    if (!b || b.getAttribute("aria-disabled") === "true") return;
    if (b.dataset.play !== undefined) return play(b.dataset.play);
    if (b.dataset.speak !== undefined) return speak();
    if (e.detail > 1) return; // of a double click the first counts: the second may meet another button, such as "Yes, delete"
    send(b.dataset.do, JSON.parse(b.dataset.args || "{}"));
  });
  body.addEventListener("change", (e) => {
    if (e.target.dataset.upload) return upload(e.target);
    const o = e.target.closest("[data-set]");
    if (o) send(o.dataset.set, { ...JSON.parse(o.dataset.args || "{}"), value: value(o) });
  });
  let typed = null;
  body.addEventListener("input", (e) => {
    const o = e.target.closest("[data-live]");
    if (!o) return;
    clearTimeout(typed);
    typed = setTimeout(() => send(o.dataset.set, { ...JSON.parse(o.dataset.args || "{}"), value: value(o) }), 250);
  });
  body.addEventListener("keydown", (e) => { if (e.key === "Enter" && e.target.matches("input[data-set]")) e.target.blur(); });

  model.on("msg:custom", received);
  send("hello");
  return () => { clearInterval(clock); clearInterval(seen); stopSound(); if (speech) endSpeech(false); model.off("msg:custom", received); if (url) URL.revokeObjectURL(url); };
}

export default { render };
