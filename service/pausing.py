"""Paused queues, from which workers take no job. Jobs come to them, and those that run go on."""

PAUSED = "paddock:paused"  # set of their names, written by the API and read with each claim
