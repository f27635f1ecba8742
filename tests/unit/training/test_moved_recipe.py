"""A recipe that is written into another folder reads the same files, and the same documents of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_world import World
from trivium.data.sources import read_texts
from trivium.training.build import build_scheme
from trivium.training.moved import moved
from trivium.training.recipe import parse_recipe


@pytest.mark.deep
def test_paths_count_from_the_new_folder_and_the_rest_stays(world: World, tmp_path: Path) -> None:
    absolute = str(world.folder / "tales")
    content = world.content(
        teachers=[{"name": "sums", "model": "sums"}, {"name": "tales", "model": absolute}],
        student={"tokenizer": "trivium:first_light/tokenizer"},
        cache={"folder": "kept"},
    )
    content["data"]["domains"][0] |= {"train": "sums.train.jsonl#train", "validation": "trivium:python/validation"}
    recipe = parse_recipe(content)
    folder = world.folder / "deep" / "er"
    found = moved(recipe, world.folder, folder)
    assert [teacher.model for teacher in found.teachers] == ["../../sums", absolute]
    assert found.student.tokenizer == "trivium:first_light/tokenizer"
    assert found.student.model is None
    assert found.cache.folder == "../../kept"
    first, second = found.data.domains
    assert (first.train, first.validation) == ("../../sums.train.jsonl#train", "trivium:python/validation")
    assert second.test == "../../tales.test.jsonl"
    assert found.scheme == recipe.scheme
    assert moved(found, folder, world.folder) == recipe  # and back


def test_a_rule_from_a_file_is_found_from_the_new_folder(world: World) -> None:
    (world.folder / "elsewhere.py").write_text(
        "import torch, trivium as tv\n"
        "@tv.rule(scale='token', features=['margin'])\n"
        "def mine(margin):\n"
        "    return torch.softmax(margin, dim=-1)\n",
        encoding="utf-8",
    )
    recipe = world.recipe(scheme={"token": [{"rule": "elsewhere.py:mine", "strength": 0.5}]})
    folder = world.folder / "runs" / "a"
    folder.mkdir(parents=True, exist_ok=True)
    found = moved(recipe, world.folder, folder)
    assert found.scheme.token[0].rule == "../../elsewhere.py:mine"
    assert str(build_scheme(found, folder)) == str(build_scheme(recipe, world.folder))


def test_a_part_of_a_text_holds_the_same_documents_by_every_path(world: World) -> None:
    name = "sums.train.jsonl"
    (world.folder / "aside").mkdir(exist_ok=True)
    by_path = []
    for location, base in ((name, world.folder), (f"./{name}", world.folder), (f"../{name}", world.folder / "aside"),
                           (str(world.folder / name), Path("/"))):  # fmt: skip
        parts = [{text.name for text in read_texts(f"{location}#{part}", base).texts} for part in ("train",)]
        by_path.append(parts)
    assert all(parts == by_path[0] for parts in by_path)
    assert by_path[0][0]
