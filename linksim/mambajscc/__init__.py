"""MambaJSCC: joint source-channel coding with generalised state space models."""
