"""A hill with its top at x = 3, y = -1. Every fourth time it ends with status 75: the machine was busy, try again."""
import os
import sys

import moonsand

if os.urandom(1)[0] < 64:
    sys.exit(75)
p = moonsand.params()
moonsand.result({"height": 100 - (p["x"] - 3) ** 2 - (p["y"] + 1) ** 2})
