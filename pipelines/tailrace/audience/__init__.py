"""What an audience is: its YAML header, validated and typed."""
