"""A library of one's own, which the image of examples/sweeps/own_image.lua has."""
import math


def height(x):
    return math.sin(x) + math.sin(10 * x / 3)
