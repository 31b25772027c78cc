"""What the browser tests stand on: the fake microphone, the three ways in which there is none, a connection that is
cut, and the comparison of a take with its source."""
import sys, threading, urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest

from browser import MIC_RATE, PATIENCE, Proxy, best_match, browser, follow, microphone_wav, wait_for
from conftest import sh

PAGE = """<!doctype html><title>microphone</title><script>
const code = `registerProcessor('tap', class extends AudioWorkletProcessor {
  process(i) { if (i[0].length) this.port.postMessage(i[0][0].slice()); return true }
})`
async function take(seconds) {
  if (!navigator.mediaDevices) return 'no mediaDevices'
  let stream
  const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false}
  try { stream = await navigator.mediaDevices.getUserMedia({audio: plain}) } catch (e) { return e.name }
  const context = new AudioContext(), x = []
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})))
  const tap = new AudioWorkletNode(context, 'tap', {numberOfOutputs: 0})
  await new Promise(done => {
    tap.port.onmessage = e => { x.push(...e.data); if (x.length > seconds*context.sampleRate) done() }
    context.createMediaStreamSource(stream).connect(tap)
  })
  stream.getTracks().forEach(o => o.stop())
  return {x, rate: context.sampleRate}
}
</script>"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    "Of a web server with a page that opens the microphone."
    folder = tmp_path_factory.mktemp("page")
    (folder/"index.html").write_text(PAGE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def voice(seconds, sr, seed=0):
    "Noise that swells and falls as syllables do."
    rng, n = np.random.default_rng(seed), int(seconds*sr)
    x = np.convolve(rng.standard_normal(n), np.hanning(sr//1000), "same")
    return .4*x/np.abs(x).max()*np.abs(np.sin(np.arange(n)*np.pi*3/sr))


@pytest.mark.parametrize("kw, host, expected", [
    (dict(permission=False), "127.0.0.1", "NotAllowedError"),
    (dict(fake_device=False), "127.0.0.1", "NotFoundError"),
    (dict(host_rules="MAP recorder.test 127.0.0.1"), "recorder.test", "no mediaDevices")],
    ids=["refused", "absent", "insecure"])
def test_no_microphone(port, kw, host, expected):
    with browser(**kw) as context:
        page = context.new_page()
        page.goto(f"http://{host}:{port}")
        assert page.evaluate("take(1)") == expected


def test_the_microphone_hears_the_file(port, tmp_path):
    "From its beginning each time; in a Chromium that was there before, and on a page that is open, too."
    import soundfile as sf
    files = [microphone_wav(tmp_path/f"voice{i}.wav", voice(4, 16_000, i), 16_000) for i in range(3)]
    def hears(page, wav):
        heard, sr = sf.read(wav)
        take = page.evaluate("take(2)")
        assert take["rate"] == MIC_RATE == sr
        correlation, slip = follow(take["x"], heard, sr)
        assert correlation > .9 and slip < .5 # on a busy machine 10 ms are lost or doubled now and then
        at = best_match(take["x"][:sr], heard, sr)[0]
        assert abs(at) < 2 # s of 4; on one busy core the page hears the first sound later
        same = heard[max(0, round(at*sr)):][:len(take["x"])]
        assert abs(np.abs(take["x"]).max()/np.abs(same).max() - 1) < .1 # gain 1; the loudest 10 ms may be lost
    for first in files[:2]:
        with browser(first) as context:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}")
            for wav in (first, files[2]):
                context.hear(wav)
                hears(page, wav)


ONE_DRIVER = """import asyncio, os, sys
sys.path.insert(0, os.getcwd())
import psutil
from browser import browser
for i in range(2):
    with browser(fake_device=False) as context:
        page = context.new_page()
        page.goto(f"data:text/html,<title>{i}</title>")
        assert page.title() == str(i) and page.evaluate("() => 1") == 1
    asyncio.run(asyncio.sleep(0))
    driver, = psutil.Process().children()
    print(driver.pid, *(o.pid for o in driver.children()))
"""

def test_one_driver_and_chromium_for_a_process():
    "They serve one browser after the other, let asyncio.run work between them, and end with the process."
    first, second = sh(sys.executable, "-c", ONE_DRIVER, cwd=Path(__file__).parent, check=True).stdout.splitlines()
    assert first == second and len(first.split()) >= 2
    wait_for(lambda: not any(psutil.pid_exists(int(o)) for o in first.split()), "the end of the driver and Chromium")


def test_a_connection_that_is_cut(port):
    get = lambda url: urllib.request.urlopen(url, timeout=PATIENCE).read().decode()
    with Proxy(port) as proxy:
        assert get(proxy.url) == PAGE
        proxy.cut()
        with pytest.raises(OSError): get(proxy.url)
        proxy.restore()
        assert get(proxy.url) == PAGE
        proxy.stall()
        answer = []
        def wait(): answer.append(get(proxy.url))
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(.5)
        assert not answer
        proxy.restore()
        waiting.join(PATIENCE)
        assert answer == [PAGE]


def test_best_match():
    sr = 8_000
    x = voice(4, sr)
    for take, lag in ((x[sr:3*sr], 1), (.01*x[sr:3*sr] + .2, 1), (np.r_[np.zeros(sr//2), x], -.5), (x[2*sr:], 2)):
        got, r = best_match(take, x, sr)
        assert abs(got - lag) < 1e-6 and r > .999
    assert best_match(voice(2, sr, seed=1), x, sr)[1] < .3
    assert best_match(np.zeros(sr), x, sr) == (0, 0)
    slipped = np.r_[x[:2*sr], x[2*sr+80:]]  # 10 ms are missing
    assert best_match(slipped, x, sr)[1] < .8
    r, slip = follow(slipped, x, sr)
    assert r > .999 and abs(slip - .01) < 1e-6
    assert follow(np.r_[x[:sr], x[2*sr:]], x, sr)[1] > .9
