"""What the wide world knows of the films."""
