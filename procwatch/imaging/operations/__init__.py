"""The registry of operations: every module in this package defines one `OPERATION`, and adding a file adds an operation."""

import importlib
import pkgutil
from types import MappingProxyType

from procwatch.imaging.operation import GeometryOperation, Operation, PixelOperation


def _discover() -> MappingProxyType[str, Operation]:
    found: dict[str, Operation] = {}
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        operation = importlib.import_module(f"{__name__}.{module_info.name}").OPERATION
        assert isinstance(operation, GeometryOperation | PixelOperation), module_info.name
        assert operation.name not in found, operation.name
        found[operation.name] = operation
    return MappingProxyType(found)


OPERATIONS = _discover()
