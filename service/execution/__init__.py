"""What happens in a worker. Never imports FastAPI: a worker is forked for every job."""
