"""HTTP: request → answer. FastAPI lives here and nowhere else."""
