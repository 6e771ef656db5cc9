"""What tests of code that submits jobs, and of tasks, are given: a pytest plugin."""
