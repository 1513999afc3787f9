"""The order of the modules: each imports only what stands above it, so that none needs another that
needs it; and hot modules import nothing that costs time."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from test_hot_path import CACHED, PRODUCED, REMEMBERED

PACKAGE = Path(__file__).resolve().parent.parent / "ocsp_cgi"
PACKAGES = ("tools", "checks", "installation", "commands")  # within the package

# From the lowest to the highest: a module imports only from lines above its own.
LAYERS = """
    __init__
    limits times failure settings_table
    answer page last_resort
    der
    index_file
    sync_state
    config
    buckets
    cache
    admission
    file_kinds import_cryptography
    certificate unusual_algorithms
    algorithms authority_info
    keys
    signer_memory
    child token_faults
    pin_memory
    token_key
    signer
    ocsp_request
    ocsp_response
    index_row
    index_search
    map_file
    sidecar index_map
    issuer map_writer
    files lookup
    index_maps
    reuse
    without_key
    resident
    producer
    responder
    ocsp_http
    cgi client_errors
    wsgi client_http client_checks
    client
    tools
    checks
    installation
    commands
    command_line
    __main__
"""
LAYER_OF = {
    name: number for number, line in enumerate(LAYERS.strip().splitlines()) for name in line.split()
}

# What a hot module may import from Python: built-in modules, which are loaded in no time.  (On some
# systems binascii is a shared library, which is small.)
BUILT_IN = {"_thread", "binascii", "posix", "sys", "time"}
# What one that is loaded for every new response may import besides.
CHEAP = {"__future__", "itertools"}


class Import(NamedTuple):
    """An import statement: of `name`, with a leading dot if it is a module of ours."""

    name: str
    is_lazy: bool  # inside a function


def imports(source: str, package: str = "") -> list[Import]:
    """What a module of ocsp_cgi imports when it runs; `package` is "" or one of PACKAGES."""
    found: list[Import] = []
    parents = ["", package] if package else [""]

    def visit(node: ast.AST, is_lazy: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.orelse:
                visit(child, is_lazy)
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name.partition(".")[0], is_lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                found.append(Import(node.module.partition(".")[0], is_lazy))
                return
            parent = parents[len(parents) - node.level]
            for alias in node.names:
                path = ".".join(filter(None, (parent, node.module, alias.name)))
                found.append(Import(f".{_module(path)}", is_lazy))
        is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, is_lazy or is_function)

    visit(ast.parse(source), False)
    return found


def _module(path: str) -> str:
    """The module among ours that a dotted path is in: `tools.plan`, `answer`, `__init__`."""
    while path:
        file = PACKAGE / f"{path.replace('.', '/')}.py"
        if file.exists() or (file.with_suffix("") / "__init__.py").exists():
            return path
        path = path.rpartition(".")[0]
    return "__init__"


def _modules() -> dict[str, list[Import]]:
    """Every module, named as in LAYERS or `tools.plan`, with what it imports."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).replace(".__init__", "")
        package = path.parent.name if path.parent != PACKAGE else ""
        found[name] = imports(path.read_text(), package)
    return found


MODULES = _modules()
HOT = {name.partition(".")[2] or "__init__" for name in CACHED}
LOADED_TO_SIGN = {name.partition(".")[2] for name in PRODUCED | {REMEMBERED} if "." in name} - HOT


def _top(name: str) -> str:
    return name.partition(".")[0]


def test_imports_are_found_wherever_they_are():
    source = """
import os.path
if TYPE_CHECKING:
    import typing
    from . import keys
else:
    import enum
try:
    from . import cache, limits
except ImportError:
    pass
class X:
    def method(self):
        import re
        from .answer import Log
        from . import __version__
"""
    assert imports(source) == [
        Import("os", False),
        Import("enum", False),
        Import(".cache", False),
        Import(".limits", False),
        Import("re", True),
        Import(".answer", True),
        Import(".__init__", True),
    ]
    within = (
        "from .. import keys\nfrom ..answer import Log\nfrom . import plan\nfrom .plan import x"
    )
    assert [one.name for one in imports(within, "tools")] == [
        ".keys",
        ".answer",
        ".tools.plan",
        ".tools.plan",
    ]


def test_every_module_has_its_layer():
    assert {_top(name) for name in MODULES} == set(LAYER_OF)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_lower_layers(name):
    upwards = [
        one.name[1:]
        for one in MODULES[name]
        if one.name.startswith(".")
        and LAYER_OF[_top(one.name[1:])] >= LAYER_OF[_top(name)]
        and not (_top(name) in PACKAGES and _top(one.name[1:]) == _top(name))
    ]
    assert upwards == []


def test_there_is_no_import_cycle():
    """Within a package too."""
    below = {
        name: {one.name[1:] for one in found if one.name.startswith(".")}
        for name, found in MODULES.items()
    }
    while below:
        leaves = {name for name, imported in below.items() if not imported & set(below)}
        assert leaves, f"these modules import one another: {sorted(below)}"
        for name in leaves:
            del below[name]


def _all_that_it_imports(name: str, ever: bool) -> set[str]:
    """A module and all others of ours that are imported because of it: when it is loaded, or at
    any time if `ever`."""
    found, unseen = set(), [name]
    while unseen:
        name = unseen.pop()
        if name not in found:
            found.add(name)
            ours = [one for one in MODULES[name] if one.name.startswith(".")]
            unseen += [one.name[1:] for one in ours if ever or not one.is_lazy]
    return found


def test_the_wsgi_application_loads_all_its_modules_at_once():
    """Later, an upgrade may have put other versions in their places."""
    assert _all_that_it_imports("wsgi", False) == _all_that_it_imports("wsgi", True)


@pytest.mark.parametrize("name", sorted(HOT))
def test_a_hot_module_imports_only_built_in_and_hot_modules(name):
    """A CGI pays for each import on every request: ocsp_cgi/README.md has the prices."""
    eager = {one.name for one in MODULES[name] if not one.is_lazy}
    assert {one for one in eager if not one.startswith(".")} <= BUILT_IN
    assert {one[1:] for one in eager if one.startswith(".")} <= HOT


@pytest.mark.parametrize("name", sorted(LOADED_TO_SIGN))
def test_a_module_that_every_new_response_loads_imports_only_cheap_modules(name):
    eager = {one.name for one in MODULES[name] if not one.is_lazy}
    assert {one for one in eager if not one.startswith(".")} <= BUILT_IN | CHEAP
    assert {one[1:] for one in eager if one.startswith(".")} <= HOT | LOADED_TO_SIGN


def test_the_map_of_the_modules_is_complete():
    """ocsp_cgi/README.md lists them in the order of the layers, and marks the hot ones."""
    lines = re.findall(
        r"^\| (●)? ?\| ((?:`\w+`[, ]*)+) \|",
        (PACKAGE / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    listed = [(name, dot == "●") for dot, names in lines for name in re.findall(r"\w+", names)]
    assert dict(listed) == {name: name in HOT for name in LAYER_OF}
    assert len(listed) == len(LAYER_OF)
    order = [LAYER_OF[name] for name, _ in listed]
    assert order == sorted(order)
