"""What a checkout says of its project: where its code lies, what it is called, how it is built."""

import ast
import os
import re
import tomllib
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from efficarch.errors import EfficarchError
from efficarch.files import content, resolved

MARKS = ("pyproject.toml", "setup.py", "setup.cfg")
"""A folder with one of them is a project's."""

PYTEST_FILES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")

SETTINGS = (*MARKS, *PYTEST_FILES, "tox.ini", "constraints.txt", "requirements.txt")
"""What is read of a project before any of its code runs."""

LARGEST_SETTINGS = 10 * 2**20

PURE_BACKENDS = (
    "flit",
    "flit_core",
    "flit_scm",
    "hatchling",
    "jupyter_packaging",
    "pbr",
    "pdm",
    "poetry",
    "poetry_dynamic_versioning",
    "setuptools",
    "uv_build",
    "whey",
)
"""Build backends that compile nothing of themselves; of any other, nobody here knows."""
COMPILING_REQUIREMENTS = (
    "cffi",
    "cmake",
    "cython",
    "meson",
    "mypyc",
    "nanobind",
    "ninja",
    "pybind11",
    "scikit-build",
    "setuptools-rust",
    "torch",
)
COMPILING_WORDS = re.compile(
    r"\b(ext_modules|cffi_modules|cythonize|mypycify|rust_extensions|skbuild|Extension\()"
    r"|\b(Cpp|CUDA|CMake|Rust|Pybind11)Extension\b"
)
GENERATED = (
    (("setuptools_scm",), "version_file"),
    (("setuptools_scm",), "write_to"),
    (("hatch", "build", "hooks", "vcs"), "version-file"),
    (("pdm", "version"), "write_to"),
)
"""Settings that name a file with the version, which a build writes."""

COMPILING_HOOKS = ("custom", "cython", "mypyc", "scikit-build", "cmake")


def project_folder(top: Path, here: Path) -> Path:
    """Return the folder of the project that a folder of a repository belongs to."""
    if not here.is_relative_to(top):
        return top
    above = [here, *here.parents]
    inside = above[: above.index(top) + 1]
    return next((each for each in inside if any((each / m).is_file() for m in MARKS)), top)


def import_folders(project: Path) -> list[Path]:
    """Return the folders that a project's code is imported from, itself last."""
    data, setup = _pyproject(project), _setup_cfg(project)
    script = _setup_py(project).folder
    named = [*_setuptools(data, setup), *filter(None, [script]), *_other_backends(data), "src"]
    found, top = [], resolved(project)
    for name in dict.fromkeys(named):
        # names that no file can have
        with suppress(OSError, ValueError):
            folder = resolved(project / name)
            inside = folder.is_relative_to(top)
            if inside and folder.is_dir() and not (folder / "__init__.py").is_file():
                found.append(folder)
    return list(dict.fromkeys([*found, top]))


def distribution_name(project: Path) -> str | None:
    """Return what the project is called when it is installed."""
    data = _pyproject(project)
    for table in (_table(data, "project"), _table(data, "tool", "poetry")):
        if isinstance(table.get("name"), str):
            return str(table["name"])
    name = _setup_cfg(project).get("metadata", "name", fallback=None)
    return name if name is not None else _setup_py(project).name


def compiled_parts(project: Path) -> str | None:
    """Say what of a project has to be compiled before it runs; ``None`` where nothing is seen.

    A checkout holds no compiled files, so that it would lack them or find those of another.
    """
    data = _pyproject(project)
    build = _table(data, "build-system")
    backend = str(build.get("build-backend", ""))
    if backend and re.split(r"[.:]", backend)[0] not in PURE_BACKENDS:
        return f"the build backend {backend}"
    requires = build.get("requires")
    names = [re.split(r"[^\w-]", str(r).strip())[0].lower() for r in _list(requires)]
    needed = [name for name in names if name in COMPILING_REQUIREMENTS]
    if needed:
        return f"{needed[0]} in build-system.requires"
    if _table(data, "tool", "setuptools").get("ext-modules"):
        return "ext-modules in pyproject.toml"
    hooks = _table(data, "tool", "hatch", "build", "hooks")
    wheel = _table(data, "tool", "hatch", "build", "targets", "wheel", "hooks")
    if set(COMPILING_HOOKS) & {*hooks, *wheel}:
        return "a build hook of hatch"
    if _table(data, "tool", "poetry").get("build"):
        return "a build script of poetry"
    pdm = _table(data, "tool", "pdm", "build")
    if {"custom-hook", "run-setuptools"} & {*pdm} or (project / "pdm_build.py").is_file():
        return "a build script of pdm"
    found = COMPILING_WORDS.search(_text(project / "setup.py"))
    return f"{found.group().rstrip('(')} in setup.py" if found else None


def generated_file(project: Path) -> str | None:
    """Say which file a build would write that a checkout lacks: that of the version."""
    data = _pyproject(project)
    for keys, name in GENERATED:
        given = _table(data, "tool", *keys).get(name)
        if isinstance(given, str) and not (project / given).is_file():
            return f"{given}, which {name} names"
    return None


def pytest_settings(project: Path) -> dict[str, Any]:
    """Return what each file of a project tells pytest."""
    found: dict[str, Any] = {name: _text(project / name) for name in PYTEST_FILES}
    found["pyproject.toml"] = _table(_pyproject(project), "tool", "pytest")
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        parser = _ini(project / name)
        found[name] = dict(parser[section]) if parser.has_section(section) else {}
    return {name: said for name, said in found.items() if said}


def check_settings(project: Path, tree: Path, side: str) -> None:
    """Refuse a side's settings that are not to be read: too large, no file, or not of its tree.

    Raises:
        EfficarchError: there are such.
    """
    for name in SETTINGS:
        path = project / name
        try:
            if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(tree)):
                raise ValueError("is a link that leads out of the tree; put a file in its place")
            content(path, LARGEST_SETTINGS)
        except OSError:
            # for pytest and pip it is not there either
            continue
        except ValueError as error:
            raise EfficarchError(f"{name} of the {side} {error}") from error


def settings_text(path: Path) -> str | None:
    """Return what a file of settings says; ``None`` where there is none that can be read."""
    try:
        return content(path, LARGEST_SETTINGS).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):
        return None


def _setuptools(data: dict[str, Any], setup: ConfigParser) -> list[str]:
    table = _table(data, "tool", "setuptools")
    found = [_table(table, "package-dir").get("")]
    found += _list(_table(table, "packages", "find").get("where"))
    for line in setup.get("options", "package_dir", fallback="").splitlines():
        package, _, folder = line.partition("=")
        found += [] if package.strip() else [folder.strip()]
    found += [setup.get("options.packages.find", "where", fallback=None)]
    return [each for each in found if isinstance(each, str) and each]


class SetupCall(NamedTuple):
    """What stands in a ``setup.py`` as it is, without running it."""

    name: str | None = None
    folder: str | None = None
    """Of the packages."""


def _setup_py(project: Path) -> SetupCall:
    try:
        tree = ast.parse(_text(project / "setup.py"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two, nested deeply
        return SetupCall()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = call.func.attr if isinstance(call.func, ast.Attribute) else call.func
        if called == "setup" or (isinstance(called, ast.Name) and called.id == "setup"):
            given = {each.arg: _literal(each.value) for each in call.keywords}
            folders = given.get("package_dir")
            folder = folders.get("") if isinstance(folders, dict) else None
            return SetupCall(
                *(each if isinstance(each, str) else None for each in (given.get("name"), folder))
            )
    return SetupCall()


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        return None


def _other_backends(data: dict[str, Any]) -> list[str]:
    tool = _table(data, "tool")
    found: list[Any] = [
        _table(tool, "pdm", "build").get("package-dir"),
        _table(tool, "maturin").get("python-source"),
        _table(tool, "uv", "build-backend").get("module-root"),
    ]
    poetry = _list(_table(tool, "poetry").get("packages"))
    found += [each.get("from") for each in poetry if isinstance(each, dict)]
    for wheel in (
        _table(tool, "hatch", "build", "targets", "wheel"),
        _table(tool, "hatch", "build"),
        _table(tool, "scikit-build", "wheel"),
    ):
        packages = [p for p in _list(wheel.get("packages")) if isinstance(p, str)]
        found += [str(Path(package).parent) for package in packages]
        sources = wheel.get("sources")
        found += [*sources] if isinstance(sources, dict | list) else []
        found += _list(wheel.get("dev-mode-dirs"))
    return [each for each in found if isinstance(each, str) and each]


def _pyproject(project: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(project / "pyproject.toml"))
    except (ValueError, RecursionError):
        return {}


def _setup_cfg(project: Path) -> ConfigParser:
    return _ini(project / "setup.cfg")


def _ini(path: Path) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(_text(path))
    except ConfigError:
        return ConfigParser()
    return parser


def _text(path: Path) -> str:
    return settings_text(path) or ""


def _table(data: Any, *names: str) -> dict[str, Any]:
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
