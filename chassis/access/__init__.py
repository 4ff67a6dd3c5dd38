"""Access: who calls, what the policy lets them call, and how often; the services know nothing of it."""
