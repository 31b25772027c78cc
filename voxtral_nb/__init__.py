"""Fine-tune Mistral's Voxtral speech model in a notebook: `from voxtral_nb import RunConfig, train`.

The names that people use. Each is loaded when it is first asked for, so `import voxtral_nb` stays light."""
__version__ = "0.1.0"

_HOMES = {
    "core.config": ["RunConfig"], "core.assets": ["sample_speech"],
    "data.dataset": ["SpeechDataset"], "data.sources": ["load_speech"],
    "record.uploads": ["Uploads"], "record.recorder": ["Recorder"], "record.review": ["Review"],
    "model.models": ["load_voxtral"], "measure.evaluation": ["evaluate", "transcribe"], "measure.drafting": ["draft_transcripts"],
    "training.trainer": ["train"], "training.plan": ["dry_run"], "run.notebooks": ["run_notebook"],
    "run.doctor": ["doctor"],
    "share.publish": ["publish_model", "publish_dataset"], "share.demo": ["launch_demo", "deploy_demo"],
    "share.live": ["Live"],
    "studio.studio": ["Studio"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = list(_HOME)


def __getattr__(name):
    "Load a name from the module where it is defined."
    if name not in _HOME: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__(): return sorted({*globals(), *__all__})
