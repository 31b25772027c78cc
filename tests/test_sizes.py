"""Nothing in the package knows the tiny model's sizes: the same run with a 30 s window, and with the real processor's
settings."""
import json
from pathlib import Path

import mistral_common, pytest

from voxtral_nb.model.collator import AudioWindows
from voxtral_nb.core.config import RunConfig
from voxtral_nb.model.models import load_voxtral
from voxtral_nb.testing.speech import asterisk_prompts, write_test_audio
from voxtral_nb.data.audio import read_audio
from voxtral_nb.core.assets import sample_speech
from voxtral_nb.model.tiny import make_processor, make_tiny_model, write_tekken
from voxtral_nb.training.trainer import train


def save(folder, **tekken):
    "A model of random weights whose windows last 30 s."
    write_tekken(folder, window_seconds=30, **tekken)
    processor = make_processor(folder)
    make_tiny_model(window_seconds=30, hidden_size=64, encoder_layers=1, decoder_layers=1,
                    vocab_size=len(processor.tokenizer)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


REAL = dict(n_control=1000, source=Path(mistral_common.__file__).parent/"data"/"tekken_240911.json")


@pytest.mark.parametrize("tekken, vocab", [({}, 320), (REAL, 131_072)], ids=["tiny, 30 s window", "real processor"])
def test_run(tmp_path, tekken, vocab):
    folder = save(tmp_path/"model", **tekken)
    model, processor = load_voxtral(str(folder), verbose=False)
    w = AudioWindows(processor)
    assert (w.tokens, w.frames, w.n_mels, w.seconds) == (375, 3000, 128, 30)
    assert model.config.text_config.vocab_size == vocab == len(processor.tokenizer)
    (tmp_path/"data").mkdir()
    # over a minute: three windows
    long = max((p for p,_ in asterisk_prompts("en")), key=lambda p: Path(p).stat().st_size)
    rows = [dict(audio_path=str(sample_speech().parent/r["audio_path"]), text=r["text"], language="en")
            for r in map(json.loads, sample_speech().read_text().splitlines()[:6])]
    rows.append(dict(audio_path=str(write_test_audio(tmp_path/"data"/"long.flac", read_audio(long))),
                     text="Où ça? Zażółć, Straße.", language="fr"))
    manifest = tmp_path/"data"/"manifest.jsonl"
    manifest.write_text("".join(json.dumps(r)+"\n" for r in rows))
    r = train(RunConfig(model_id=str(folder), method="full", train_data=str(manifest), eval_data=str(sample_speech()),
                        max_eval_clips=1, eval_before=False, batch_size=4, max_steps=1, learning_rate=1e-3,
                        max_new_tokens=4, tracking="none", output_dir=str(tmp_path/"run")), verbose=False)
    assert r.steps == 1 and r.final_model.is_dir()
    again, _ = load_voxtral(str(r.final_model), verbose=False)
    assert again.config.text_config.vocab_size == vocab
