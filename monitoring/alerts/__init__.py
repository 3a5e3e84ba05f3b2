"""Alerts: what a person must hear of, an outbox in the store that loses none, and Apprise that carries them."""
