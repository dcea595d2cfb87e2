"""The study engine: design, runner, executors, store, statistics, verdicts. Imports no training framework."""
