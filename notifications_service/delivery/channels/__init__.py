"""The channels by which messages leave: email over SMTP, Web Push."""
