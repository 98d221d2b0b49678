"""SMA crossover with backtesting.py, on the prices of GOOG that come with the package: one trial of a sweep.

The parameters n1 and n2 are the days of the two averages, below: a part of the prices, first and last row (all).
"""
import warnings

import moonsand
import pandas as pd
from backtesting import Backtest, Strategy
from backtesting.lib import crossover
from backtesting.test import GOOG


def average(values, period):
    return pd.Series(values).rolling(period).mean()


class SmaCross(Strategy):
    n1 = 10
    n2 = 20

    def init(self):
        self.fast = self.I(average, self.data.Close, self.n1)
        self.slow = self.I(average, self.data.Close, self.n2)

    def next(self):
        if crossover(self.fast, self.slow):
            self.position.close()
            self.buy()
        elif crossover(self.slow, self.fast):
            self.position.close()
            self.sell()


def main():
    p = moonsand.params()
    warnings.filterwarnings("ignore", "Some trades remain open", UserWarning)
    prices = GOOG.iloc[p.get("first", 0):p.get("last", len(GOOG))]
    backtest = Backtest(prices, SmaCross, cash=10000, commission=.002)
    moonsand.result(backtest.run(n1=p["n1"], n2=p["n2"]))


if __name__ == "__main__":
    main()
