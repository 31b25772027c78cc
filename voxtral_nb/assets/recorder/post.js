// The server of a demo in place of a kernel: what a page asks goes by POST, one request after the other, each with all that waits; answers bring the state.

class Post {
  constructor(url) { Object.assign(this, { url, id: hex(), asked: "server", heard: [], waiting: [], state: null }); this.timer = setInterval(() => this.state?.writing && this.flush(true), 300); }
  on(name, f) { if (name === "msg:custom") this.heard.push(f); }
  off(name, f) { this.heard = this.heard.filter((o) => o !== f); if (!this.heard.length) clearInterval(this.timer); }
  send(msg, _, buffers = []) { this.waiting.push({ msg, data: buffers[0] }); this.flush(); }
  async flush(ask = false) {
    if (this.busy || !(ask || this.waiting.length)) return;
    this.busy = true;
    const now = this.waiting.splice(0, 100), size = (o) => o.data?.byteLength || 0;
    const head = JSON.stringify({ who: this.id, messages: now.map((o) => ({ msg: o.msg, size: size(o) })) });
    try {
      const r = await fetch(this.url, { method: "POST", body: new Blob([head, "\n", ...now.filter(size).map((o) => o.data)]) });
      if (!r.ok) throw new Error(`${r.status}`);
      const { answers, state } = await r.json();
      this.state = state;
      if (state) this.tell({ state });
      for (const o of answers) this.tell(o);
    } catch (e) { await new Promise((ok) => setTimeout(ok, 1000)); } // what was lost is sent again when a ping is answered
    this.busy = false;
    this.flush();
  }
  tell(o) { for (const f of this.heard) f(o, []); }
}

export function live(el, url) { return new LivePage(new Post(url), el); }
