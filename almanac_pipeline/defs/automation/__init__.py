"""What goes on by itself over several runs."""
