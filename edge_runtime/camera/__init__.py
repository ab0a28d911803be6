"""Camera drivers, one file each. The fakes (`folder`, `synthetic`) ship and pass the same contract tests."""
