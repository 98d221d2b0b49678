"""The lowest point of a curve with many valleys."""
import moonsand
import waves

moonsand.result({"height": waves.height(moonsand.params()["x"])})
