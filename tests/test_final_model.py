"""final-model/ belongs to the user: transformers and peft alone load it, in a process where voxtral_nb cannot be
imported, and it transcribes the same."""
import json

from conftest import BIN, last_json, sh
from voxtral_nb.measure.evaluation import transcribe
from voxtral_nb.model.models import load_voxtral
from voxtral_nb.core.assets import sample_speech

WITHOUT_VOXTRAL_NB = '''
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "voxtral_nb": raise ImportError("voxtral_nb is blocked")
sys.meta_path.insert(0, Blocked())
try: import voxtral_nb
except ImportError: pass
else: sys.exit("voxtral_nb can be imported")
import soundfile as sf, torch
from peft import PeftConfig, PeftModel
from transformers import AutoProcessor, VoxtralForConditionalGeneration

adapter, full, *clips = sys.argv[1:]

def load(folder):
    return VoxtralForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)

def load_adapter(folder):
    return PeftModel.from_pretrained(load(PeftConfig.from_pretrained(folder).base_model_name_or_path), folder)

def transcript(model, processor, folder, clip):
    (x, sr), seconds = sf.read(clip, dtype="float32"), processor.feature_extractor.chunk_length
    # transformers' default window is that of the real model, 30 s; the tiny model's is in its feature extractor
    batch = processor.apply_transcription_request(
        audio=[x], sampling_rate=sr, format=["wav"], language="en", model_id=folder,
        audio_kwargs=dict(pad_to_multiple_of=seconds*sr, max_source_positions=seconds*100))
    with torch.no_grad(): out = model.eval().generate(**batch, max_new_tokens=64, do_sample=False)
    return processor.batch_decode(out[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)[0].strip()

def transcripts(model, folder):
    processor = AutoProcessor.from_pretrained(folder)
    return [transcript(model, processor, folder, o) for o in clips]

models = dict(lora=(load_adapter(adapter), adapter), full=(load(full), full))
print(json.dumps({k: transcripts(*o) for k, o in models.items()}))
'''


def test_it_loads_without_this_package_and_transcribes_the_same(adapted, tuned, tmp_path):
    rows = [json.loads(l) for l in sample_speech("accent_eval").read_text().splitlines()][:12]
    clips = [str(sample_speech("accent_eval").parent/o["audio_path"]) for o in rows]
    def ours(folder):
        return transcribe(*load_voxtral(str(folder), device="cpu", verbose=False), clips, language="en",
                          max_new_tokens=64, verbose=False)
    folders = dict(lora=adapted/"final-model", full=tuned/"final-model")
    (tmp_path/"transcribe.py").write_text(WITHOUT_VOXTRAL_NB)
    theirs = last_json(sh(BIN/"python", tmp_path/"transcribe.py", *folders.values(), *clips, cwd=tmp_path,
                          check=True).stdout)
    assert theirs == {k: ours(o) for k, o in folders.items()}
    untrained = ours("tiny") # both have learned something, so equal texts mean something
    for texts in theirs.values():
        assert sum(t == o["text"] != u for t, o, u in zip(texts, rows, untrained)) >= 2, texts
