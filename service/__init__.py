"""Paddock: a job service. `api` answers, `broker` keeps, `execution` runs."""
