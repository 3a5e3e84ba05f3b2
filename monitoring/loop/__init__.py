"""What follows a decision: retraining, the gate, promotion, the breaker."""
