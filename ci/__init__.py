"""What the workflows run beside the tests: the audit of dependencies and the release notes."""
