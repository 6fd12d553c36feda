"""What the vehicles around may do next: windows to learn from, forecasts with and without learning."""
