from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.domain.errors import ConfigurationError, InvalidInput, SproutError
from app.domain.units import JOULES_PER_KWH
from app.simulation.dataset import load
from tests.support.recorded import MONTHS, PER_WORKLOAD, UNJUDGED, WORKLOADS, Contents, contents

FILES = (
    "measurements.parquet", "preferences.csv", "responses.jsonl.gz", "composition.csv", "carbon_intensity.csv.gz",
    "published_results.csv",
)  # fmt: skip


# What is read.


def test_everything_of_a_request_is_found_under_its_name(tmp_path: Path) -> None:
    rows = contents(per_workload=20)
    rows.preferences.reverse()
    rows.measurements.sort(key=lambda row: row["energy_kwh"])
    recording = load(rows.write(tmp_path)).recording
    assert recording.workloads == WORKLOADS
    assert len(recording) == 60
    measured = {(row["request_id"], row["model"], row["level"]): row for row in rows.measurements}
    preferred = {row["request_id"]: row for row in rows.preferences}
    texts = {row["request_id"]: row for row in rows.responses}
    for index, request in enumerate(recording.request_ids):
        assert recording.prompts[index] == texts[request]["prompt"]
        assert recording.workloads[recording.workload[index]] == preferred[request]["workload"]
        assert recording.pick[index] == preferred[request]["preferred_level"]
        for level in range(3):
            row = measured[request, "large", level]
            assert recording.energy_j[index, level] == pytest.approx(row["energy_kwh"] * JOULES_PER_KWH)
            assert recording.device_s[index, level] == row["duration_s"]


def test_means_are_over_all_measured_requests_judged_or_not(tmp_path: Path) -> None:
    rows = contents(per_workload=20)
    dataset = load(rows.write(tmp_path))
    for index, workload in enumerate(WORKLOADS):
        for model, level, mean in (
            ("large", 2, dataset.means.energy_j[index, 2]),
            ("small", 0, dataset.means.small_energy_j[index]),
        ):
            own = [
                row["energy_kwh"]
                for row in rows.measurements
                if (row["workload"], row["model"], row["level"]) == (workload, model, level)
            ]
            assert len(own) == 20 + UNJUDGED
            assert mean == pytest.approx(np.mean(own) * JOULES_PER_KWH)


def test_traffic_sums_to_one_in_every_hour(tmp_path: Path) -> None:
    rows = contents(per_workload=5)
    rows.composition = [
        {"hour": 0, "sums": 2, "quiz": 1, "letters": 1},
        {"hour": 1, "sums": 0, "quiz": 0, "letters": 7},
    ]
    rows.published = [row | {"hours": 2} for row in rows.published]
    assert load(rows.write(tmp_path)).traffic.tolist() == [[0.5, 0.25, 0.25], [0, 0, 1]]


def test_months_and_intensities_by_zone(recorded: Path) -> None:
    dataset = load(recorded)
    assert [(m.zone, m.month, m.start_hour, m.hours) for m in dataset.months] == list(MONTHS)
    assert dataset.months[0].published["clover"] == pytest.approx((0.2, 0.96))
    assert {zone: len(hours) for zone, hours in dataset.intensity.items()} == {"NORTH": 1000, "SOUTH": 1000}
    assert dataset.intensity["SOUTH"].mean() > dataset.intensity["NORTH"].mean()


def test_months_are_chosen_by_zone_and_name(recorded: Path) -> None:
    dataset = load(recorded)
    assert len(dataset.months_of(zone=None, month=None)) == 3
    assert [m.month for m in dataset.months_of(zone="NORTH", month=None)] == ["2023-02", "2023-06"]
    assert [m.zone for m in dataset.months_of(zone=None, month="2023-02")] == ["NORTH", "SOUTH"]
    with pytest.raises(InvalidInput, match="no zone SOUTH month 2023-06: it has NORTH 2023-02, SOUTH 2023-02"):
        dataset.months_of(zone="SOUTH", month="2023-06")


def test_a_workload_whose_references_are_prose_has_no_accuracy(recorded: Path) -> None:
    recording = load(recorded).recording
    checked = {name: np.isfinite(recording.correct[recording.workload == i]) for i, name in enumerate(WORKLOADS)}
    assert checked["sums"].all()
    assert checked["quiz"].all()
    assert not checked["letters"].any()


def test_what_cannot_be_checked_counts_as_the_mean_of_its_workload(tmp_path: Path) -> None:
    rows = contents(per_workload=20)
    rows.responses[0]["reference"] = "#### unknown"
    recording = load(rows.write(tmp_path)).recording
    sums = recording.workload == WORKLOADS.index("sums")
    unknown = np.isnan(recording.correct[:, 0]) & sums
    assert unknown.sum() == 1
    assert recording.checked[unknown][0] == pytest.approx(recording.correct[sums & ~unknown].mean(axis=0))
    assert recording.checked[sums].mean(axis=0) == pytest.approx(recording.correct[sums & ~unknown].mean(axis=0))
    assert np.isnan(recording.checked[recording.workload == WORKLOADS.index("letters")]).all()


def test_a_part_of_a_recording_keeps_its_requests_whole(recorded: Path) -> None:
    recording = load(recorded).recording
    rows = np.array([5, 3, 200])
    part = recording.take(rows)
    assert part.request_ids == tuple(recording.request_ids[row] for row in rows)
    assert part.prompts == tuple(recording.prompts[row] for row in rows)
    assert part.workloads == recording.workloads
    for name in ("workload", "pick", "energy_j", "device_s"):
        assert (getattr(part, name) == getattr(recording, name)[rows]).all()
    assert recording.take(np.arange(len(recording)) == 7).request_ids == (recording.request_ids[7],)


# What cannot be read.


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(recorded: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(recorded, tmp_path / "broken")
    (folder / name).unlink()
    with pytest.raises(ConfigurationError) as caught:
        load(folder)
    assert caught.value.message == f"The dataset {folder} lacks {name}."


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no dataset folder .*nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ("measurements", "energy_kwh"), ("measurements", "model"), ("preferences", "preferred_level"),
        ("preferences", "workload"), ("responses", "reference"), ("intensity", "direct_gco2eq_per_kwh"),
        ("intensity", "zone"), ("published", "start_hour"), ("published", "carbon_saving_vs_base"),
    ],
)  # fmt: skip
def test_a_missing_column_is_named(tmp_path: Path, rows: str, column: str) -> None:
    broken = contents(per_workload=5)
    for row in getattr(broken, rows):
        del row[column]
    assert column in refused(broken, tmp_path)


def refused(broken: Contents, folder: Path) -> str:
    """The one sentence that is said about it."""
    with pytest.raises(SproutError) as caught:
        load(broken.write(folder))
    message = caught.value.message
    assert isinstance(caught.value, InvalidInput)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def _set(rows: str, index: int, **values: object) -> Callable[[Contents], None]:
    return lambda broken: getattr(broken, rows)[index].update(values)


def _unjudge(broken: Contents) -> None:
    broken.preferences = [row for row in broken.preferences if row["workload"] != "quiz"]


def _unmeasure(broken: Contents) -> None:
    broken.measurements = [row for row in broken.measurements if row["request_id"] != "quiz-0-003"]


def _one_level(broken: Contents) -> None:
    broken.measurements = [row for row in broken.measurements if row["level"] == 0]


def _swap_hours(broken: Contents) -> None:
    broken.intensity[4], broken.intensity[5] = broken.intensity[5], broken.intensity[4]


def _clear(rows: str) -> Callable[[Contents], None]:
    return lambda broken: setattr(broken, rows, [])


@pytest.mark.parametrize(
    ("breaks", "named"),
    [
        (_set("measurements", 0, energy_kwh=float("nan")), "Request sums-0-000 at level 0 was measured at nan kWh"),
        (_set("measurements", 1, energy_kwh=None), "Request sums-0-000 at level 1 was measured at None kWh"),
        (_set("measurements", 0, energy_kwh=-1.0), "-1.0 kWh"),
        (_set("measurements", 0, duration_s=float("inf")), "inf s"),
        (_unmeasure, "quiz-0-003"),
        (_one_level, "No model was measured at a level other than L0"),
        (_set("preferences", 0, preferred_level=3), "preferences.csv prefers a level outside 0 to 2"),
        (_set("preferences", 0, preferred_level=-1), "preferences.csv prefers a level outside 0 to 2"),
        (_set("preferences", 0, preferred_level="brief"), "brief"),
        (_set("preferences", 0, workload="poems"), "workloads poems"),
        (_set("preferences", 0, request_id="stranger"), "stranger"),
        (_unjudge, "workloads quiz"),
        (_clear("preferences"), "workloads letters, quiz, sums"),
        (_clear("responses"), "letters-0-000"),
        (_set("responses", 0, responses={"L0": "", "L1": ""}), "L2"),
        (_set("responses", 0, responses={"L0": None, "L1": "", "L2": ""}), "cannot be read"),
        (_clear("composition"), "composition.csv needs at least one hour"),
        (_set("composition", 3, sums=float("nan")), "composition.csv needs"),
        (_set("composition", 3, sums=-0.1), "composition.csv needs"),
        (_set("composition", 3, sums=0, quiz=0, letters=0), "composition.csv needs"),
        (_set("composition", 3, sums=""), "cannot be read"),
        (_swap_hours, "intensity of NORTH is not ascending"),
        (_set("intensity", 1500, direct_gco2eq_per_kwh=float("nan")), "intensity of SOUTH is not ascending"),
        (_set("intensity", 7, direct_gco2eq_per_kwh="?"), "cannot be read"),
        (_set("published", 0, zone="EAST"), "EAST, 2023-02: not all its hours have an intensity"),
        (_set("published", 0, start_hour=941), "NORTH, 2023-02: not all its hours"),
        (_set("published", 0, hours=61), "NORTH, 2023-02: not all its hours"),
        (_set("published", 0, hours=0), "NORTH, 2023-02: not all its hours"),
        (_set("published", 0, start_hour=-1), "NORTH, 2023-02: not all its hours"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, breaks: Callable[[Contents], None], named: str) -> None:
    broken = contents(per_workload=5)
    breaks(broken)
    assert named in refused(broken, tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind(recorded: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(recorded, tmp_path / "broken")
    (folder / name).write_bytes(b"\x89PNG\x00\xff")
    with pytest.raises(InvalidInput, match=r"broken|composition\.csv needs"):
        load(folder)


def test_a_file_that_was_cut_short(recorded: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(recorded, tmp_path / "broken")
    whole = (folder / "carbon_intensity.csv.gz").read_bytes()
    (folder / "carbon_intensity.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(folder)
    assert gzip.decompress(whole)


def test_one_request_of_each_workload_is_enough(tmp_path: Path) -> None:
    assert len(load(contents(per_workload=1).write(tmp_path)).recording) == 3
    assert PER_WORKLOAD > 1
