"""What Prometheus is told: of the service, by what Redis holds, and of HTTP, by this process."""
