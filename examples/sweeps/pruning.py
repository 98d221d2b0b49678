"""SMA crossover on the S&P 500, without any package: says after each year what it has earned so far.

A pruner ends it when others had earned more by then. Parameters: fast and slow, days of the averages; band, how far
above the slow average the fast one must be, as a part of it.
"""
import csv
import os
import time

import moonsand


def averages(values, period):
    total, out = 0.0, []
    for i, value in enumerate(values):
        total += value - (values[i - period] if i >= period else 0.0)
        out.append(total / period if i + 1 >= period else None)
    return out


def main():
    p = moonsand.params()
    with open(os.path.join(os.environ["MOONSAND_DATA"], "sp500.csv"), encoding="utf-8") as f:
        rows = [(row["date"], float(row["close"])) for row in csv.DictReader(f)]
    closes = [close for _, close in rows]
    fast, slow = averages(closes, p["fast"]), averages(closes, p["slow"])
    equity, units, year, curve = 10000.0, 0.0, rows[0][0][:4], []
    for i, (date, close) in enumerate(rows):
        if date[:4] != year:
            moonsand.report(int(year), equity=equity + units * close)
            time.sleep(0.01)  # a real model takes longer than this for a year
            year = date[:4]
        if slow[i] is None:
            continue
        inside = fast[i] > slow[i] * (1 + p["band"])
        if inside and not units:
            units, equity = equity * 0.999 / close, 0.0
        elif not inside and units:
            equity, units = units * close * 0.999, 0.0
        if i % 20 == 0:
            curve.append(round(equity + units * close, 2))
    moonsand.result({"equity": equity + units * closes[-1], "series": {"equity curve": curve}})


if __name__ == "__main__":
    main()
