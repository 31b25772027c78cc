// A table of clips with a button to play each. The sound is asked for when it is wanted, and is not kept in the notebook.
function element(tag, attributes = {}, html = "") {
  const o = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) o.setAttribute(k, v);
  o.innerHTML = html;
  return o;
}

function render({ model, el }) {
  const rows = model.get("rows"), head = model.get("head");
  const table = element("table", { class: "vnb-clips" });
  const titles = element("tr", {}, "<th><span class='vnb-hidden'>Play</span></th>" + head.map((o) => `<th>${o}</th>`).join(""));
  const audio = new Audio(), buttons = [];
  const says = element("div", { role: "status", class: "vnb-says" });
  let wanted = null, url = null;

  function show(i) {
    buttons.forEach((b, k) => {
      b.textContent = k === i ? "■" : "▶";
      b.setAttribute("aria-label", `${k === i ? "Stop" : "Play"} clip ${k + 1}`);
    });
  }
  function stop() { audio.pause(); wanted = null; show(null); }
  function play(i) {
    const again = wanted === i;
    stop();
    if (again) return;
    wanted = i; says.textContent = ""; show(i);
    model.send({ play: i });
  }
  function received(message, buffers) {
    if (message.clip !== wanted) return; // another clip has been asked for since
    if (message.error) { stop(); says.textContent = message.error; return; }
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([buffers[0]], { type: "audio/wav" }));
    audio.src = url;
    audio.play().catch((e) => { stop(); says.textContent = `The browser does not play this clip: ${e.message}`; });
  }

  rows.forEach((cells, i) => {
    const row = element("tr"), first = element("td"), b = element("button", { type: "button" });
    b.addEventListener("click", () => play(i));
    buttons.push(b); first.append(b); row.append(first);
    cells.forEach((o) => row.append(element("td", {}, o)));
    table.append(row);
  });
  const thead = element("thead"), tbody = element("tbody");
  let by = null, down = false;
  function sort(k) { // by a column: numbers as numbers, nothing first
    down = by === k ? !down : true; by = k;
    const key = (r) => r.cells[k].textContent.trim(), number = (s) => (s === "" ? -Infinity : Number(s));
    const order = (p, q) => (isNaN(number(p)) || isNaN(number(q)) ? p.localeCompare(q, undefined, { numeric: true }) : number(p) > number(q) ? 1 : number(p) < number(q) ? -1 : 0);
    tbody.append(...[...tbody.rows].sort((x, y) => (down ? 1 : -1) * order(key(x), key(y))));
    [...titles.cells].forEach((o, c) => c === k ? o.setAttribute("aria-sort", down ? "ascending" : "descending") : o.removeAttribute("aria-sort"));
  }
  [...titles.cells].forEach((th, k) => {
    if (k === 0 || rows.length < 2 || !th.textContent.trim()) return;
    const b = element("button", { type: "button", title: "Sort" });
    b.textContent = th.textContent; b.addEventListener("click", () => sort(k)); th.replaceChildren(b);
  });
  thead.append(titles); tbody.append(...table.children); table.append(thead, tbody);
  show(null);
  audio.addEventListener("ended", stop);
  model.on("msg:custom", received);
  el.append(element("div", {}, model.get("above")), table, says);
  return () => { stop(); model.off("msg:custom", received); if (url) URL.revokeObjectURL(url); };
}

export default { render };
