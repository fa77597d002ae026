"""Whose null component each image is given: balanced within classes, scene by scene, whatever else is asked."""

from dataclasses import replace

import numpy as np
import pytest
from linear_worlds import world

from singaudit.metrics.donors import find_donors
from singaudit.metrics.subject import blocks
from singaudit.metrics.values import arrange, read_values


def donors_of(subject, groups=(0,)):
    layout = arrange([subject.groups[g] for g in groups], [read_values(subject, subject.groups[g]) for g in groups])
    (block,) = blocks(subject)
    return block, find_donors(block, subject.class_of[block.rows], layout)


def uses(donors, g=0):
    return np.bincount(donors.other[donors.within[:, g], g], minlength=len(donors.other))


def test_each_image_of_a_class_lends_its_null_component_about_as_often_as_the_others():
    _, donors = donors_of(world(n=1500, null=("hue",), values=4))
    assert donors.within.all()
    assert np.mean(uses(donors) == 1) > 0.9
    assert uses(donors).max() <= 2
    assert (np.bincount(donors.same[:, 0], minlength=1500) == 1).all()


def test_where_few_have_another_value_all_of_them_lend_equally_often():
    subject = world(n=1500, null=("hue",), values=2, shares=(0.85, 0.15))
    block, donors = donors_of(subject)
    own, klass, used = subject.groups[0].labels[block.rows], subject.class_of[block.rows], uses(donors)
    for fold in range(5):
        for k in range(5):
            rare = used[(block.fold == fold) & (klass == k) & (own == 1) & donors.within[:, 0]]
            # Once when images are paired, and the others spread evenly.
            assert rare.min() >= 2
            assert rare.max() - rare.min() <= 1


def test_donors_do_not_depend_on_other_groups_or_on_how_values_are_numbered():
    subject = world(n=600, null=("hue",), other=("none",))
    _, alone = donors_of(subject, (1,))
    _, together = donors_of(subject, (0, 1))
    np.testing.assert_array_equal(together.other[:, 1], alone.other[:, 0])
    np.testing.assert_array_equal(together.same[:, 1], alone.same[:, 0])
    group = subject.groups[1]
    order = np.array([2, 0, 3, 1])
    renamed = replace(
        group, texts=group.texts[order], second_texts=group.texts[order], labels=order.argsort()[group.labels]
    )
    _, again = donors_of(replace(subject, groups=(subject.groups[0], renamed)), (1,))
    np.testing.assert_array_equal(again.other, alone.other)


def test_the_images_of_a_scene_take_from_one_scene_that_lends_to_no_other():
    subject = world(n=2400, null=("hue",))
    scene = np.arange(2400) // 4
    group = replace(subject.groups[0], labels=subject.groups[0].labels[scene * 4])
    subject = replace(subject, units=scene, class_of=subject.class_of[scene * 4], groups=(group,))
    subject = replace(subject, fitted=replace(subject.fitted, fold=scene % 5))
    block, donors = donors_of(subject)
    lends = {}
    for row in np.flatnonzero(donors.within[:, 0]):
        lends.setdefault(block.units[row], set()).add(block.units[donors.other[row, 0]])
    assert all(len(lenders) == 1 for lenders in lends.values())
    often = np.bincount([next(iter(lenders)) for lenders in lends.values()], minlength=600)
    assert np.mean(often == 1) > 0.8
    assert often.max() <= 3


def test_what_is_lent_is_the_sum_over_those_that_take_it():
    _, donors = donors_of(world(n=300, null=("hue",), shares=(0.7, 0.1, 0.1, 0.1)))
    table = np.random.default_rng(0).normal(size=(300, 1))
    lent = donors.lent(table)
    for row in range(300):
        assert lent[row, 0] == pytest.approx(table[donors.other[:, 0] == row, 0].sum())
