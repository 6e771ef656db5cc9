-- For wrk: posts an empty JSON object, and tells the figures as JSON.
wrk.method = "POST"
wrk.body = "{}"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_KEY")

function done(summary, latency, requests)
    local errors = summary.errors
    local refused = errors.status + errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format(
        'FIGURES {"rate": %.1f, "p50": %.2f, "p95": %.2f, "p99": %.2f, "refused": %d}\n',
        summary.requests / (summary.duration / 1e6),
        latency:percentile(50) / 1000, latency:percentile(95) / 1000,
        latency:percentile(99) / 1000, refused))
end
