"""Who looks whether something needs a person, and who tells them."""
