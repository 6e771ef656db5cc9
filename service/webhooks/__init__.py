"""Telling a URL how a job ended: which URLs, what is sent, and the job that sends it.

The script that records a job's end enqueues the delivery with it (`notice`); `delivery` is the task
that runs then. It stands between broker and execution, which both record ends.
"""
