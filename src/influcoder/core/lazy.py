"""Packages whose names are there at once, and whose modules are imported when a name is first used.

A command that lists what is in the store needs the manifest of a package, and none of the arithmetic beside it.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    __lazy__: Mapping[str, str]

    def __setattr__(self, name: str, value: Any) -> None:
        # A submodule that is imported would hide the function of its name, such as `labelsets.publish`.
        if not (isinstance(value, ModuleType) and name in self.__lazy__):
            super().__setattr__(name, value)


def lazily(package: str, **modules: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Args:
        package: its name.
        modules: for each submodule the names that the package gives of it, with spaces between them.
    """
    module, names = sys.modules[package], {name: place for place, held in modules.items() for name in held.split()}
    module.__dict__["__lazy__"] = names
    module.__class__ = _Package

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(f"{package}.{names[name]}"), name)
        module.__dict__[name] = found
        return found

    return find
