"""What timm says of class names: descriptions where there are any, never synsets in a prompt."""

import pytest

from singaudit.classifier.convert.library_defaults import tagged_class_names, timm_class_names


def test_descriptions_stand_for_the_synsets_beside_them():
    config = {
        "num_classes": 2,
        "label_names": ["n01443537", "n01440764"],
        "label_descriptions": {"n01443537": "goldfish, Carassius auratus", "n01440764": "tench"},
    }
    assert timm_class_names(config)[0] == ("goldfish, Carassius auratus", "tench")


def test_names_are_taken_where_there_is_nothing_else_to_describe_them():
    assert timm_class_names({"num_classes": 2, "label_names": ["cat", "dog"]})[0] == ("cat", "dog")


@pytest.mark.parametrize(
    ("tag", "count", "known"), [("a1_in1k", 1000, True), ("in12k", 11821, True), ("mine", 5, False)]
)
def test_a_tag_names_the_list_it_was_trained_on_last(tag, count, known):
    from timm.data import ImageNetInfo

    config = {"architecture": "resnet18", "num_classes": count, "pretrained_cfg": {"tag": tag, "num_classes": count}}
    names, source = tagged_class_names(config)
    assert (names is not None) is known
    if known:
        info = ImageNetInfo("imagenet-12k" if count > 1000 else "imagenet-1k")
        assert names == tuple(info.index_to_description(i) for i in range(count))
        assert source.startswith("timm's list of")
