"""How Voxtral is fine-tuned by the scripts that people publish, in our own words: what our engine is compared with.

Plain, and not crippled: each clip goes through the processor (`apply_transcription_request`) into its own window,
the transcript and `</s>` are appended, the loss is the one transformers computes (logits at every position), LoRA's
targets are named by their endings and so also land in the audio encoder, as in the published scripts; every epoch runs
the encoder again. The loop is what transformers' Trainer does (AdamW, warm-up and cosine, gradients clipped at 1)
without its bookkeeping. `</s>` is learned here; the best-known script learns it since September 2025.

Two peers are what a careful user makes of the recipe: LoRA in the language model only (`lm_only`), so that nothing is
backpropagated through the encoder, and with that, logits of the transcript only (`few_logits`)."""
import math, time

import numpy as np, torch

from voxtral_nb.data.audio import read_audio
from voxtral_nb.model.collator import AudioWindows, processor_kwargs

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class RecipeCollator:
    "Prompts from the processor, transcripts after them."
    def __init__(self,
        processor, # a `VoxtralProcessor`
        language="en", # of all rows
    ): self.processor, self.language = processor, language

    def __call__(self,
        rows, # dicts with audio and text
    ) -> dict: # input_ids, attention_mask, labels, input_features
        p, rate = self.processor, AudioWindows(self.processor).sampling_rate
        tok = p.tokenizer
        audio = [read_audio(r["audio"], rate) for r in rows]
        given = p.apply_transcription_request(audio, model_id="voxtral", language=self.language, sampling_rate=rate,
                                              format=["wav"]*len(audio), **processor_kwargs(p))
        ids, labels = [], []
        for prompt,mask,row in zip(given["input_ids"], given["attention_mask"], rows):
            prompt = prompt[mask.bool()].tolist()
            learned = tok(row["text"], add_special_tokens=False)["input_ids"] + [tok.eos_token_id]
            ids.append(prompt+learned)
            labels.append([-100]*len(prompt)+learned)
        n = max(map(len, ids))
        pad = lambda seqs, v: torch.tensor([s+[v]*(n-len(s)) for s in seqs])
        return dict(input_ids=pad(ids, tok.pad_token_id), attention_mask=pad([[1]*len(s) for s in ids], 0),
                    labels=pad(labels, -100), input_features=given["input_features"])


def recipe_model(
    model, # from `from_pretrained`
    method="lora", # "lora" or "full": all weights
    r=16, alpha=32, dropout=.05, # of the adapter
    lm_only=False, # LoRA in the language model only
): # model in training mode
    "What learns in the recipe."
    if method == "full":
        model.requires_grad_(True)
        return model.train()
    from peft import LoraConfig, get_peft_model
    where = r".*\.language_model\..*\.(" + "|".join(TARGETS) + ")" if lm_only else TARGETS
    return get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, bias="none",
                                            target_modules=where, task_type="CAUSAL_LM")).train()


def loss_of(
    model, # from `recipe_model`
    batch, # of `RecipeCollator`, on the model's device
    few_logits=False, # by `logits_to_keep`, as far as the transcripts of a batch reach
): # mean over the transcripts' tokens
    "The loss that transformers computes, or the same from fewer logits."
    if not few_logits: return model(**batch).loss
    labels = batch["labels"]
    first = (labels != -100).int().argmax(1).min().item() # of the tokens to learn
    inputs = {k: v for k,v in batch.items() if k != "labels"}
    logits = model(**inputs, logits_to_keep=labels.shape[1]-first+1).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels[:, first:].flatten())


def order_of(
    n, # clips
    seed,
): # yields clip numbers without end, shuffled again for each epoch; the same order as in our runs
    "Which clip comes when."
    k = 0
    while True:
        yield from np.random.default_rng((seed, k)).permutation(n).tolist()
        k += 1


def recipe_optimizer(model, lr, total, weight_decay=.01, warmup=.05, fused=False):
    "AdamW with a linear warm-up and a cosine."
    first = min(math.ceil(warmup*total), total-1)
    opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=weight_decay,
                            fused=fused)
    factor = lambda s: s/max(1, first) if s < first else max(0., .5*(1+math.cos(math.pi*(s-first)/max(1, total-first))))
    return opt, torch.optim.lr_scheduler.LambdaLR(opt, factor)


def recipe_steps(
    model, # from `recipe_model`
    processor, # its `VoxtralProcessor`
    clips, # anything `read_audio` takes
    texts, # one a clip
    *,
    steps, # optimizer steps to do
    batch_size, # clips a step
    total=None, # steps the schedule is made for, if it is more than `steps`
    lr=2e-4, # highest learning rate
    language="en", # of the clips
    seed=42, # of their order
    max_grad_norm=1., # gradients are clipped to it
    few_logits=False, # see `loss_of`
    clock=time.perf_counter,
): # yields (loss, seconds) of each step, everything from the clip to the update included
    "Train, one step at a time."
    collate, order = RecipeCollator(processor, language), order_of(len(clips), seed)
    opt, sched = recipe_optimizer(model, lr, total or steps)
    params = [p for p in model.parameters() if p.requires_grad]
    device = next(model.parameters()).device
    for _ in range(steps):
        began = clock()
        batch = collate([dict(audio=clips[i], text=texts[i]) for i in (next(order) for _ in range(batch_size))])
        loss = loss_of(model, {k: v.to(device) for k,v in batch.items()}, few_logits)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, max_grad_norm)
        opt.step()
        sched.step()
        opt.zero_grad()
        yield loss.item(), clock()-began
