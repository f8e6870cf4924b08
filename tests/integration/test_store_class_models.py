from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from functools import cache

import numpy as np
import pytest
from sqlalchemy import Connection, text

from app.discovery.model import ClassModel, fit
from app.store import class_models
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.factories import MODEL
from tests.support.prompts import examples

ODD = ["\0\x01", "\ud800 \udfff", "👩‍🌾 'quoted' \"twice\" {braces} \\N", "NULL NULL"]


@cache
def learned(kind: str) -> ClassModel:
    found = examples(400)
    prompts, declared = [example.prompt for example in found], [example.kind for example in found]
    unknown = [float("nan")] * 400
    match kind:
        case "strata":
            return fit(prompts, declared, [example.energy_j for example in found]).model
        case "no strata":
            return fit(prompts, [None] * 400, unknown).model
        case "no words":
            return fit([""] * 100, [None] * 100, unknown[:100]).model
        case _:
            return fit(ODD * 30, [None] * 120, unknown[:120]).model


def leaves(value: object) -> Iterator[object]:
    """The values of a dataclass and of those in it, in order."""
    for field in fields(value) if is_dataclass(value) else ():
        part = getattr(value, field.name)
        yield from leaves(part) if is_dataclass(part) else [part]


def same(left: ClassModel, right: ClassModel) -> bool:
    pairs = list(zip(leaves(left), leaves(right), strict=True))
    assert len(pairs) == 13
    return all(type(a) is type(b) and np.array_equal(a, b) for a, b in pairs) and all(
        a.dtype == b.dtype for a, b in pairs if isinstance(a, np.ndarray)
    )


@pytest.mark.parametrize("kind", ["strata", "no strata", "no words", "odd characters"])
def test_a_model_comes_back_exactly(connection: Connection, kind: str) -> None:
    model = learned(kind)
    assert class_models.put(connection, TENANT, MODEL, model, NOON)
    found = class_models.newest(connection, TENANT, MODEL)
    assert found is not None
    assert same(found, model)
    prompts = [example.prompt for example in examples(50, seed=5)] + ODD
    assert found.assign(prompts, [None] * len(prompts)) == model.assign(prompts, [None] * len(prompts))


def test_the_newest_version_counts_and_three_are_kept(connection: Connection) -> None:
    assert class_models.newest(connection, TENANT, MODEL) is None
    assert class_models.newest_learning(connection, TENANT, MODEL) is None
    for version in range(1, 6):
        entry = replace(learned("no words"), version=version)
        assert class_models.put(connection, TENANT, MODEL, entry, NOON + timedelta(hours=version))
    found = class_models.newest(connection, TENANT, MODEL)
    assert found is not None
    assert found.version == 5
    assert class_models.newest_learning(connection, TENANT, MODEL) == (NOON + timedelta(hours=5), 100)
    assert list(connection.execute(text("SELECT version FROM class_models ORDER BY 1")).scalars()) == [3, 4, 5]


def test_of_two_that_learn_at_once_the_first_is_kept(connection: Connection) -> None:
    assert class_models.put(connection, TENANT, MODEL, learned("strata"), NOON)
    assert not class_models.put(connection, TENANT, MODEL, learned("no words"), NOON)
    found = class_models.newest(connection, TENANT, MODEL)
    assert found is not None
    assert same(found, learned("strata"))


def test_tenants_and_models_are_apart(connection: Connection) -> None:
    for tenant, model in ((TENANT, MODEL), ("other", MODEL), (TENANT, "other-model")):
        for version in range(1, 5):
            class_models.put(connection, tenant, model, replace(learned("no words"), version=version), NOON)
    class_models.put(connection, "other", MODEL, replace(learned("strata"), version=9), NOON)
    versions = "SELECT tenant_id, model, count(*) FROM class_models GROUP BY 1, 2"
    assert {tuple(row) for row in connection.execute(text(versions))} == {
        (TENANT, MODEL, 3),
        (TENANT, "other-model", 3),
        ("other", MODEL, 1),
    }
    found = class_models.newest(connection, TENANT, MODEL)
    assert found is not None
    assert found.version == 4
    assert class_models.newest(connection, "third", MODEL) is None
