"""One backtest with two parameters: what both sides of bench/warm.lua run 486 times."""
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


def backtest(pair):
    warnings.filterwarnings("ignore", "Some trades remain open", UserWarning)
    stats = Backtest(GOOG, SmaCross, cash=10000.0, commission=0.002).run(fast=pair[0], slow=pair[1])
    return float(stats["Equity Final [$]"])
