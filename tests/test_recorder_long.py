"""A take of two minutes, in real time; VOXTRAL_NB_LONG_TAKE=600 records for ten."""
import hashlib, os, time

import psutil
import soundfile as sf
from browser import Server, browser, new_notebook, save
from recorder_page import CELL, correlation, heard, matches, no_audio_in, open_recorder, rows, speech_wav

SECONDS = float(os.environ.get("VOXTRAL_NB_LONG_TAKE", 120))


def test_long_take(tmp_path):
    """Every sample arrives, start and end match the source, the kernel's memory stays flat while the take comes in, and
    saving takes seconds."""
    wav, folder = speech_wav(tmp_path/"mic.wav", 60), tmp_path/"notebooks"
    source = heard(wav)
    with Server(folder) as server, browser(wav) as context:
        notebook = new_notebook(folder, "long.ipynb", [CELL])
        rec = open_recorder(context, server, notebook).agree()
        kernel = psutil.Process(server.kernel_pid("long.ipynb"))
        before = kernel.memory_info().rss
        rec.start()
        most = before
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(min(5, max(0, end - time.monotonic())))
            most = max(most, kernel.memory_info().rss)
            assert rec.root.get_attribute("data-phase") == "recording", rec.status
        rec.stop()
        seconds, t0 = rec.expected(), time.monotonic()
        arrived = rec.seen("phases")[-2:]
        rec.shot("long")
        after = kernel.memory_info().rss
        # the gate warns, and does not refuse
        assert "long" in rec.part("problems").inner_text().lower() or SECONDS < 30
        rec.keep()
        kept = time.monotonic() - t0
        save(rec.page)
        clips = rows(folder/"voice")
        x, sr = sf.read(folder/"voice"/clips[0]["audio_path"], dtype="float32")
        first, last = correlation(x[:30*sr], sr, source), correlation(x[-30*sr:], sr, source)
        print(f"\n{len(x)/sr:.3f} s of {seconds:.3f} s; first 30 s {first:.4f}, last 30 s {last:.4f}; "
              f"kernel {before/1e6:.0f} MB, at most {most/1e6:.0f} MB while recording, {after/1e6:.0f} MB measured; "
              f"stop to arrived {(arrived[1][1] - arrived[0][1])/1000:.2f} s; keep {kept:.2f} s")
        # every sample that the audio thread handed over
        samples = sf.read(folder/"voice"/clips[0]["audio_path"], dtype="int16")[0]
        assert len(x) == round(seconds*sr) and hashlib.sha256(samples.tobytes()).digest() == seconds.hash
        for part in (x[:25*sr], x[-25*sr:]): assert not (why := matches(part, sr, source)), why
        assert most - before < seconds*48_000 # half of what its samples take
        no_audio_in(notebook)
