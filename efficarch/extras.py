"""Packages that may be missing, and what to install for each."""

from traceback import walk_tb

from efficarch.errors import first_line

EXTRAS = {
    "PIL": "models",
    "huggingface_hub": "models",
    "ninja": "models",
    "onnx": "models",
    "optuna": "tune",
    "pynvml": "gpu",
    "safetensors": "models",
    "skimage": "models",
    "sklearn": "models",
    "torch": "models",
    "transformers": "models",
    "triton": "triton",
}
"""The extra that brings a module; what every installation brings has none."""

REQUIRED = (
    "cpuinfo",
    "jinja2",
    "markupsafe",
    "numpy",
    "pytest",
    "pytest_benchmark",
    "scipy",
)


def remedy(error: ImportError) -> str | None:
    """Say what to do so that an import succeeds; ``None`` if the module is no dependency."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS and module not in REQUIRED:
        return None
    if isinstance(error, ModuleNotFoundError):
        return not_installed(module)
    return f"{module} cannot be imported ({first_line(str(error))}); install it again"


def broken_import(error: BaseException) -> str | None:
    """Say which dependency raised an error of any kind while it was imported, if one did."""
    for frame, _line in walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and module in (*EXTRAS, *REQUIRED):
            what = f"{type(error).__name__}: {first_line(str(error))}"
            return f"{module} cannot be imported ({what}); install it again"
    return None


def not_installed(module: str) -> str:
    """Say that a module is missing, and what brings it."""
    extra = EXTRAS.get(module)
    what = "efficarch" if extra is None else f"'efficarch[{extra}]'"
    return f"{module} is not installed; run: pip install {what}"
