#!/usr/bin/env python3
"""SMA crossover: in the market while the fast average is above the slow one.

A plain script: it imports nothing of moonsand's. It reads a CSV file with the columns date and close,
prints the last signal and the statistics, leaves the equity curve in $MOONSAND_OUTPUT/equity.csv and
the statistics as JSON in $MOONSAND_RESULT. Parameters come from the command line, or from the JSON
file $MOONSAND_PARAMS.
"""
import argparse
import csv
import json
import os
import statistics
import sys

TRADING_DAYS = 252


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prices", nargs="?", default="sp500.csv")
    parser.add_argument("--fast", type=int, default=50, help="days of the fast average")
    parser.add_argument("--slow", type=int, default=200, help="days of the slow average")
    parser.add_argument("--cash", type=float, default=10000.0)
    parser.add_argument("--commission", type=float, default=0.001, help="part of each trade's value")
    if os.environ.get("MOONSAND_PARAMS"):
        with open(os.environ["MOONSAND_PARAMS"], encoding="utf-8") as f:
            parser.set_defaults(**json.load(f))
    args = parser.parse_args()
    if not 0 < args.fast < args.slow:
        parser.error("--fast must be above 0 and below --slow")
    return args


def read_prices(path):
    with open(path, newline="", encoding="utf-8") as f:
        rows = [(row["date"], float(row["close"])) for row in csv.DictReader(f)]
    if any(close <= 0 for _, close in rows):
        sys.exit(f"{path}: a close of 0 or less")
    return rows


def averages(values, period):
    """The simple moving average at each place; None where there are too few values."""
    out, total = [], 0.0
    for i, value in enumerate(values):
        total += value
        if i >= period:
            total -= values[i - period]
        out.append(total / period if i + 1 >= period else None)
    return out


def signals(fast, slow):
    """BUY on the day of a cross upwards, SELL downwards, else HOLD."""
    out, above = [], None
    for f, s in zip(fast, slow):
        now = None if s is None else f > s
        if now is None or above is None or now == above:
            out.append("HOLD")
        else:
            out.append("BUY" if now else "SELL")
        above = now if now is not None else above
    return out


def backtest(rows, what, cash, commission):
    """Trades at the next day's close, so that no decision knows its own price. Equity per day, trades."""
    units, trades, entry, order = 0.0, [], 0.0, "HOLD"
    equity = []
    for (date, close), signal in zip(rows, what):
        if order == "BUY" and units == 0:
            entry = cash
            units, cash = cash * (1 - commission) / close, 0.0
        elif order == "SELL" and units > 0:
            units, cash = 0.0, units * close * (1 - commission)
            trades.append(cash / entry - 1)
        equity.append((date, close, cash + units * close, signal))
        order = signal
    return equity, trades


def max_drawdown(values):
    peak, worst = values[0], 0.0
    for value in values:
        peak = max(peak, value)
        worst = min(worst, value / peak - 1)
    return worst


def sharpe(values):
    """Of daily returns, a year, without a riskless rate."""
    returns = [b / a - 1 for a, b in zip(values, values[1:])]
    spread = statistics.pstdev(returns) if len(returns) > 1 else 0.0
    return statistics.fmean(returns) / spread * TRADING_DAYS ** 0.5 if spread else 0.0


def main():
    args = arguments()
    rows = read_prices(args.prices)
    if len(rows) <= args.slow:
        sys.exit(f"{args.prices}: {len(rows)} rows are too few for an average of {args.slow} days")
    closes = [close for _, close in rows]
    what = signals(averages(closes, args.fast), averages(closes, args.slow))
    equity, trades = backtest(rows, what, args.cash, args.commission)
    values = [value for _, _, value, _ in equity]
    crosses = [(date, signal) for (date, _), signal in zip(rows, what) if signal != "HOLD"]
    result = {
        "from": rows[0][0],
        "to": rows[-1][0],
        "fast": args.fast,
        "slow": args.slow,
        "signal": what[-1],
        "last_cross": {"date": crosses[-1][0], "signal": crosses[-1][1]} if crosses else None,
        "trades": len(trades),
        "win_rate_pct": round(100 * sum(t > 0 for t in trades) / len(trades), 2) if trades else 0.0,
        "final_equity": round(values[-1], 2),
        "return_pct": round(100 * (values[-1] / args.cash - 1), 2),
        "buy_and_hold_pct": round(100 * (closes[-1] / closes[0] - 1), 2),
        "max_drawdown_pct": round(100 * max_drawdown(values), 2),
        "sharpe": round(sharpe(values), 3),
    }

    print(f"Signal: {result['signal']} at {closes[-1]:.2f} on {result['to']}")
    if crosses:
        print(f"Last cross: {crosses[-1][1]} on {crosses[-1][0]}")
    print(f"Trades: {result['trades']} closed, {result['win_rate_pct']:.1f} % won")
    print(f"Final equity: {result['final_equity']:.2f} ({result['return_pct']:+.2f} %)")
    print(f"Buy and hold: {result['buy_and_hold_pct']:+.2f} %")
    print(f"Max drawdown: {result['max_drawdown_pct']:.2f} %")
    print(f"Sharpe ratio: {result['sharpe']:.3f}")

    if os.environ.get("MOONSAND_OUTPUT"):
        path = os.path.join(os.environ["MOONSAND_OUTPUT"], "equity.csv")
        with open(path, "w", newline="", encoding="utf-8") as f:
            writer = csv.writer(f)
            writer.writerow(["date", "close", "equity", "signal"])
            writer.writerows((date, close, round(value, 2), signal) for date, close, value, signal in equity)
    if os.environ.get("MOONSAND_RESULT"):
        with open(os.environ["MOONSAND_RESULT"], "w", encoding="utf-8") as f:
            json.dump(result, f)


if __name__ == "__main__":
    main()
