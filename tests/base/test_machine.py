"""What this process may use, and which part of the work is its own."""

import pytest

from ser_base.machine import NoCard, check_part, each_device, parse_part, resolve_device, usable_cores


def test_a_part_of_the_work():
    assert parse_part("2/8") == (2, 8) and check_part((8, 8)) == (8, 8)


@pytest.mark.parametrize("text", ["", "2", "2/", "/8", "0/8", "9/8", "-1/8", "1.5/8", "2/8/9", "a/b"])
def test_other_texts_are_refused_with_an_example(text: str):
    with pytest.raises(ValueError, match="is not i/N.*for example 2/8"):
        parse_part(text)


def test_a_device_that_is_named_is_kept():
    assert resolve_device("cuda:1") == "cuda:1" and resolve_device("auto") in ("cpu", "cuda") and usable_cores() >= 1


@pytest.mark.parametrize(
    ("device", "each"),
    [
        ("cpu", ["cpu"]),
        ("cuda", ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:1", ["cuda:1"]),
        ("cuda:2,0,2", ["cuda:2", "cuda:0"]),
    ],
)
def test_every_visible_card_is_a_device_of_its_own(device: str, each: list[str]):
    assert list(each_device(device, visible=3)) == each


@pytest.mark.parametrize(("device", "visible"), [("cuda", 0), ("cuda:3", 3), ("cuda:0,3", 3)])
def test_a_card_that_is_not_there_is_an_error(device: str, visible: int):
    with pytest.raises(NoCard, match=f"--device {device} was given, and torch sees {visible} GPUs"):
        each_device(device, visible)
