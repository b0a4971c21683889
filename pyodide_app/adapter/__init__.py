"""What this GPU can do: measured, tried, chosen."""
