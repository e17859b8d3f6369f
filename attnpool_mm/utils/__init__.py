"""What every package here may use: checks, errors, dry runs, reading configs."""
