"""The entry point of the pytest plugin: its options, and the door to all the rest.

It loads in every pytest run of its environment, so it imports nothing that costs time. The name in
``-p no:NAME`` is that of the entry point or, which people will try first, that of the package.
"""

import pytest

from efficarch.options import add_options

PACKAGE = "efficarch"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the options, unless the package is switched off."""
    if not pluginmanager.is_blocked(PACKAGE):
        add_options(parser)


# last, so that whatever else a gate gave this process has seen what the environment says
@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register fixtures and hooks, unless the package is switched off."""
    if not config.pluginmanager.is_blocked(PACKAGE):
        config.pluginmanager.import_plugin("efficarch.hooks")
