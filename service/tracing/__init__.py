"""OpenTelemetry: one trace of each job, from its submission to its end. Nothing without it."""
