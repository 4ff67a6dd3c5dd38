"""What a notification is: its document, states, filters, retention and message."""
