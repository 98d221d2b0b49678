--- What `moonsand sweep` loads ahead of time: the imports of a script.
local imports = require "moonsand.cli.sweep_imports"

describe("the imports of a script", function()
  it("are those of its top level", function()
    assert.same({ "os", "numpy", "pandas", "backtesting", "backtesting.lib", "a.b", "c", "json", "sys" }, imports.of [[
#!/usr/bin/env python3
"""Text
import docstring
"""
from __future__ import annotations
import os
import numpy as np, pandas  # import comment
from backtesting import Backtest, Strategy
from backtesting.lib import (
    crossover,
)
import a.b, c as d
import moonsand
from . import sibling
from .sibling import x
x = 'import string'; import json
y = """
import block
""" + 'it''s' ; import sys
text = "a \" import no"
def f():
    import inside
if True:
    import conditional
try:
    import optional
except ImportError:
    pass
importlib = 1
imported = import_module("x")
import os
]])
  end)

  it("of what is no Python at all are a list all the same", function()
    assert.same({}, imports.of "")
    assert.same({}, imports.of "'''")
    assert.same({}, imports.of "\"\n'\nimport\nimport \nfrom x\nimport ..\nimport a..b\nimport 5")
    assert.same({ "x" }, imports.of "s = 'never closed\nimport x")
  end)
end)
