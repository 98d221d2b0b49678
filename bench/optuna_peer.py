"""Optuna's cost of a trial that does nothing: bench/sweeps.lua's peer.

    /usr/bin/python3 optuna_peer.py TRIALS JOURNAL

Random sampler, three parameters, the journal file; the objective returns at once. Prints the seconds of all trials.
"""
import os
import sys
import time

import optuna
from optuna.storages import JournalFileStorage, JournalStorage


def objective(trial):
    x = trial.suggest_float("x", 0.0, 1.0)
    n = trial.suggest_int("n", 1, 1000)
    trial.suggest_categorical("kind", ["a", "b", "c"])
    trial.set_user_attr("trades", n)
    return x * n


def main():
    count, path = int(sys.argv[1]), sys.argv[2]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileStorage(path))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=1), direction="maximize")
    began = time.monotonic()
    study.optimize(objective, n_trials=count)
    seconds = time.monotonic() - began
    assert len(study.trials) == count
    print(seconds)
    os.remove(path)


if __name__ == "__main__":
    main()
