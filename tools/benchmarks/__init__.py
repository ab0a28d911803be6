"""The benchmarks: what the runtime costs, and how it compares. docs/performance.md holds the last run."""
