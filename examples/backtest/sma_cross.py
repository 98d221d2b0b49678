#!/usr/bin/env python3
"""SMA crossover with backtesting.py, on the prices of GOOG that come with the package.

Long when the fast average crosses the slow one upwards, short when downwards. Parameters come from the command line,
or from the JSON file $MOONSAND_PARAMS. Prints the statistics; leaves all of them as JSON in $MOONSAND_RESULT (durations
in days) and the equity curve in $MOONSAND_OUTPUT/equity.csv.
"""
import argparse
import json
import math
import os
import warnings

import pandas as pd
from backtesting import Backtest, Strategy
from backtesting.lib import crossover
from backtesting.test import GOOG


def average(values, period):
    return pd.Series(values).rolling(period).mean()


class SmaCross(Strategy):
    fast = 10
    slow = 20

    def init(self):
        self.fast_average = self.I(average, self.data.Close, self.fast)
        self.slow_average = self.I(average, self.data.Close, self.slow)

    def next(self):
        if crossover(self.fast_average, self.slow_average):
            self.position.close()
            self.buy()
        elif crossover(self.slow_average, self.fast_average):
            self.position.close()
            self.sell()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", type=int, default=SmaCross.fast, help="days of the fast average")
    parser.add_argument("--slow", type=int, default=SmaCross.slow, help="days of the slow average")
    parser.add_argument("--cash", type=float, default=10000.0)
    parser.add_argument("--commission", type=float, default=0.002, help="part of each trade's value")
    parser.add_argument("--finalize", action="store_true", help="close what is open at the end, and count it")
    if os.environ.get("MOONSAND_PARAMS"):
        with open(os.environ["MOONSAND_PARAMS"], encoding="utf-8") as f:
            parser.set_defaults(**json.load(f))
    return parser.parse_args()


def plain(value):
    """What JSON can say of a statistic."""
    if isinstance(value, pd.Timedelta):
        return value / pd.Timedelta(days=1)
    if isinstance(value, pd.Timestamp):
        return value.date().isoformat()
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def main():
    args = arguments()
    if not args.finalize:
        warnings.filterwarnings("ignore", "Some trades remain open", UserWarning)
    backtest = Backtest(GOOG, SmaCross, cash=args.cash, commission=args.commission, finalize_trades=args.finalize)
    stats = backtest.run(fast=args.fast, slow=args.slow)
    shown = stats[[name for name in stats.index if not name.startswith("_")]]
    print(shown.to_string())
    if os.environ.get("MOONSAND_OUTPUT"):
        stats["_equity_curve"].to_csv(os.path.join(os.environ["MOONSAND_OUTPUT"], "equity.csv"))
    if os.environ.get("MOONSAND_RESULT"):
        with open(os.environ["MOONSAND_RESULT"], "w", encoding="utf-8") as f:
            json.dump({name: plain(value) for name, value in shown.items()}, f, allow_nan=False)


if __name__ == "__main__":
    main()
