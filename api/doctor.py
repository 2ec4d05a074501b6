"""The doctor: what is installed, which devices there are, what would be used, and what is wrong with it.

It looks and tells; it changes nothing and reaches no network.
"""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from embedder.errors import InputError

_NEEDED = ("numpy", "tokenizers", "pyarrow", "fastapi", "uvicorn")
_BUILDS = {
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
_OPTIONAL = {"train": ("torch", "transformers", "pytorch-metric-learning", "onnx", "scikit-learn")}


def examine(model: Path | None = None) -> tuple[bool, list[str]]:
    """Whether everything that serving needs is in order, and the findings line by line."""
    healthy, lines = True, [f"python {platform.python_version()} on {platform.machine()}"]
    for name in _NEEDED:
        version = _version(name)
        healthy &= version is not None
        lines.append(f"{name} {version or 'MISSING: pip install dongil'}")
    for name, builds in _BUILDS.items():
        found = [f"{build} {version}" for build in builds if (version := _version(build))]
        healthy &= len(found) == 1
        wrong = (
            "MISSING: pip install dongil[cpu] or dongil[gpu]"
            if not found
            else "TWO BUILDS in one environment: remove one"
        )
        lines.append(f"{name}: {', '.join(found)}" + ("" if len(found) == 1 else f" {wrong}"))
    for extra, names in _OPTIONAL.items():
        missing = [name for name in names if not _version(name)]
        lines.append(f"[{extra}]: " + (f"not installed ({', '.join(missing)})" if missing else "installed"))
    if healthy:
        lines += _devices()
        try:
            lines += _model(model)
        except InputError as error:
            healthy = False
            lines.append(f"model: {error}")
    lines.append("everything that serving needs is in order" if healthy else "something is wrong: see the lines above")
    return healthy, lines


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import onnxruntime

    from embedder.encoder import available_cpus
    from index.vectors import gpus_seen

    providers = ", ".join(onnxruntime.get_available_providers())
    return [
        f"processors: {available_cpus()} usable",
        f"faiss sees {gpus_seen()} GPU(s)",
        f"onnxruntime providers: {providers}",
    ]


def _model(folder: Path | None) -> list[str]:
    from embedder.bundle import PROBABILITY, load_bundle
    from embedder.encoder import Encoder
    from index.decision import Decision

    bundle = load_bundle(folder)
    encoder, decision = Encoder(bundle), Decision.of(bundle)
    size = bundle.model_bytes / 2**20
    return [
        f"model: {bundle.config.architecture}, {bundle.config.dimensions} dimensions, {bundle.config.precision}, "
        f"{size:.1f} MiB, fingerprint {bundle.fingerprint}",
        f"would encode on {'GPU' if encoder.on_gpu else f'CPU, {encoder.threads} thread(s)'}",
        f"probability: {_probability(bundle.folder / PROBABILITY)}",
        "matches: each title gets the set of the best expected F1; one threshold for all would be "
        f"{decision.threshold:.2f}; clusters from {decision.cluster_threshold:.2f}",
        *(
            f"--min-precision {promise.precision:g}: from {promise.threshold:.3f}; {promise.words}"
            for promise in decision.promises
        ),
        *([] if decision.promises else ["--min-precision: none is proven; dongil threshold LABELLED proves one"]),
    ]


def _probability(path: Path) -> str:
    if not path.exists():
        return "of the cosine alone; dongil train makes a model of the evidence"
    return f"a model of the evidence, {path.stat().st_size / 2**20:.1f} MiB"
