from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grimp
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

ENGINE_PACKAGES = ("pynvml", "torch", "transformers", "vllm")
DOMAIN_PACKAGES = {"app", "numpy", "scipy"}


def test_every_contract_is_kept(repository: Path, run_tool: Run) -> None:
    result = run_tool(repository, "lint-imports", "--no-cache")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("planes", "app/services/files.py", "import workers.celery"),
        ("planes", "app/store/migrate.py", "import migrations"),
        ("app-layers", "app/domain/units.py", "import app.settings"),
        ("app-layers", "app/ports.py", "import app.settings"),
        ("app-layers", "app/store/files.py", "import app.grid.static"),
        ("app-layers", "app/cli/main.py", "import app.api.main"),
        ("app-layers", "app/web/pages.py", "import app.api.access"),
        ("app-layers", "app/newcomer.py", "import math"),
        ("worker-layers", "workers/lifecycle.py", "import workers.generate"),
        ("no-engine-in-app", "app/model/locate.py", "import transformers"),
        ("no-engine-in-app", "app/services/files.py", "def load() -> None:\n    from torch.nn import Module"),
        ("pure-domain", "app/domain/units.py", "import os"),
        ("pure-domain", "app/domain/directive.py", "from random import random"),
    ],
)
def test_a_violation_breaks_its_contract(copy: Path, run_tool: Run, contract: str, module: str, line: str) -> None:
    with (copy / module).open("a") as file:
        file.write(f"\n{line}\n")
    result = run_tool(copy, "lint-imports", "--no-cache", "--contract", contract)
    assert result.returncode == 1, result.stdout
    assert "0 kept, 1 broken" in result.stdout


def test_the_domain_imports_only_the_standard_library_numpy_and_scipy() -> None:
    assert _foreign_imports(grimp.build_graph("app", include_external_packages=True, cache_dir=None)) == set()


def test_a_further_package_in_the_domain_is_found(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (copy / "app/domain/units.py").open("a") as file:
        file.write("\nimport httpx\n")
    # Under its own name, so that Python finds the copy and not the modules that are already loaded.
    (copy / "app").rename(copy / "app_copy")
    monkeypatch.syspath_prepend(str(copy))
    graph = grimp.build_graph("app_copy", include_external_packages=True, cache_dir=None)
    assert ("app_copy.domain.units", "httpx") in _foreign_imports(graph, package="app_copy")


def _foreign_imports(graph: grimp.ImportGraph, package: str = "app") -> set[tuple[str, str]]:
    modules = {f"{package}.domain"} | graph.find_descendants(f"{package}.domain")
    allowed = DOMAIN_PACKAGES | {package} | sys.stdlib_module_names
    return {
        (module, imported)
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.partition(".")[0] not in allowed
    }


@pytest.mark.parametrize("root", ["app.api.main", "app.cli.main", "workers.schedule"])
def test_what_is_not_a_generation_worker_loads_no_engine(repository: Path, root: str, tmp_path: Path) -> None:
    probe = f"import sys, {root}; print(sorted(sys.modules.keys() & set({ENGINE_PACKAGES!r})))"
    environment = {"PATH": "", "SPROUT_HOME": str(tmp_path), "SPROUT_BROKER_URL": "memory://"}
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=repository, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
