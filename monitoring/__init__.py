"""Is the champion still right? Agreement checks, the drift decision, the promotion gate, Evidently reports."""
