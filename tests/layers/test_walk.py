"""The walk over a network."""

import pytest
from paddle import nn

from ppeconv.layers.walk import exchange, walk


def test_every_place_comes_and_shared_layers_are_entered_once():
    shared = nn.Sequential(nn.ReLU())
    network = nn.Sequential(shared, nn.Sequential(shared, nn.Sigmoid()))
    assert [place.path for place in walk(network)] == ["", "0", "0.0", "1", "1.0", "1.1"]
    assert [place.path for place in walk(network, closed=(nn.Sequential,))] == [""]


def test_a_layer_is_exchanged_in_all_its_places():
    shared, new = nn.ReLU(), nn.Sigmoid()
    network = nn.Sequential(shared, nn.Sequential(shared))
    assert exchange(network, {id(shared): new}) is network
    assert network[0] is new
    assert network[1][0] is new
    assert exchange(network, {id(network): new}) is new


def test_nothing_is_put_in_the_place_of_the_network_itself():
    root, *_ = walk(nn.ReLU())
    with pytest.raises(TypeError, match="stands in no other layer"):
        root.put(nn.Sigmoid())
