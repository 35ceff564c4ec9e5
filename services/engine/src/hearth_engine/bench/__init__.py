"""`hearth-engine bench`: 16 bit and INT4, vLLM's own defaults and the plan, one after the other on this machine."""
