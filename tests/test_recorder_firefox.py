"""The recorder in Debian's Firefox: with a microphone that plays speech, without one, without a way out for sound."""
import os, shutil, subprocess, time
from contextlib import contextmanager

import pytest
import soundfile as sf
from browser import Server, new_notebook, picture, wait_for
from firefox import Firefox, firefox
from recorder_page import CELL, desk_name, heard, matches, rows, speech_wav

pytestmark = pytest.mark.skipif(
    not firefox() or not shutil.which("pulseaudio"), reason="no Firefox, or no PulseAudio, which gives it a microphone")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("notebooks")) as server: yield server

@contextmanager
def sound_server(folder):
    """A separate sound card that exists only in memory: what is played on it is what its microphone hears. Yields the
    environment of programs that use it."""
    env = os.environ | dict(XDG_RUNTIME_DIR=str(folder), HOME=str(folder), PULSE_SERVER=f"unix:{folder}/socket")
    card = ["-n", "--exit-idle-time=-1", "--daemonize=no", "-L", f"module-native-protocol-unix socket={folder}/socket",
            "-L", "module-null-sink sink_name=voice rate=44100 channels=1"]
    p = subprocess.Popen(["pulseaudio", *card], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (folder/"socket").exists(), "the sound server")
        yield {k: env[k] for k in ("XDG_RUNTIME_DIR", "PULSE_SERVER")}
    finally:
        p.terminate()
        p.wait(10)

NOTEBOOK = "[...window.jupyterapp?.shell.widgets('main') ?? []].find(o => o.sessionContext)" # not what has the focus
NOTHING = dict(XDG_RUNTIME_DIR="/nonexistent", PULSE_SERVER="unix:/nonexistent/socket") # no sound server at all

@contextmanager
def recorder(lab, name, env=NOTHING):
    "Firefox with a recorder that the speaker has agreed to."
    new_notebook(lab.folder, f"{name}.ipynb", [CELL.replace("'voice'", repr(name))])
    with Firefox(env) as fox:
        fox.go(f"{lab.url}/{lab.page.format(name)}/{name}.ipynb")
        fox.wait(f"(o => o?.context.isReady && o.sessionContext.session?.kernel?.connectionStatus == 'connected' "
                 f"&& o.sessionContext.session.kernel.status == 'idle')({NOTEBOOK})", "the kernel")
        fox.js("window.jupyterapp.commands.execute('notebook:run-all-cells', "
               f"{{ semanticWidget: {NOTEBOOK}.id }}) && 1")
        fox.wait("!!document.querySelector('.vx[data-ready=true]')", what="the recorder")
        click(fox, "agree")
        said(fox, "Thank you")
        try: yield fox
        finally:
            if path := picture(name): fox.shot(path)

def click(fox, name): fox.js(f"document.querySelector('.vx [data-vx={name}]').click()")
def phase(fox, name): fox.wait(f"document.querySelector('.vx').dataset.phase == '{name}'")
def said(fox, text): fox.wait(f"document.querySelector('.vx-status').textContent.includes({text!r})")


def test_with_a_microphone(lab, tmp_path, request):
    wav = speech_wav(tmp_path/"mic.wav", 20)
    name = desk_name(request) # the speaker agrees once for each folder
    with sound_server(tmp_path) as env, recorder(lab, name, env=env) as fox:
        play = subprocess.Popen(["paplay", wav], env=os.environ | env)
        try:
            began = time.monotonic()
            click(fox, "record")
            phase(fox, "recording")
            time.sleep(3)
            click(fox, "record")
            phase(fox, "idle")
            pressed = time.monotonic() - began
            click(fox, "keep")
            said(fox, "Saved as recording_0000.wav")
        finally:
            play.terminate()
            play.wait()
        row = rows(lab.folder/name)[0]
        x, sr = sf.read(lab.folder/name/row["audio_path"], dtype="float32")
        assert 2.5 < len(x)/sr < pressed, pressed
        # on one core PulseAudio plays with gaps: .73 of its half seconds was seen; other speech has at most .27
        assert not (why := matches(x, sr, heard(wav), least=.6)), why


def test_nothing_to_open(lab, request):
    "The recorder gives up with a message, and can be pressed again."
    with recorder(lab, desk_name(request)) as fox:
        click(fox, "record")
        said(fox, "No microphone was found")
        phase(fox, "idle")
        fox.set("media.navigator.streams.fake", True) # one that hums
        click(fox, "record")
        said(fox, "the browser's sound does not start") # Firefox waits for a way out for sound, without end
        phase(fox, "idle")
