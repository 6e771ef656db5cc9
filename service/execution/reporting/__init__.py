"""What a job tells while it runs, from its horse (`voice`, `capture`) over pipes to its worker
(`listener`, `reported`), and from there into Redis (`writer`)."""
