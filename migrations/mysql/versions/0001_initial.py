"""Initial schema.

A revision may be cut off in its middle and run again, since MySQL cannot roll DDL back: hence IF NOT EXISTS, and
every index inside its table's statement.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

OPTIONS = "ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

# Unique keys are checked in this order: with the normalised address first, all spellings of one address wait for the
# one row in their way, and not in turn for those of their own spelling that will fail too.
USERS = """
CREATE TABLE IF NOT EXISTS users (
  id VARCHAR(255) NOT NULL,
  email VARCHAR(255) NOT NULL,
  email_normalized VARCHAR(255) NOT NULL,
  email_verified BOOL NOT NULL DEFAULT 0,
  name VARCHAR(255),
  password_hash TEXT,
  image VARCHAR(255),
  revision INTEGER NOT NULL DEFAULT 1,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  UNIQUE KEY uniq_email_normalized (email_normalized),
  UNIQUE KEY idx_email (email),
  KEY idx_created_at (created_at, id),
  KEY idx_email_verified (email_verified, created_at, id)
)
"""

SESSIONS = """
CREATE TABLE IF NOT EXISTS sessions (
  id VARCHAR(255) NOT NULL,
  user_id VARCHAR(255) NOT NULL,
  token_hash BINARY(32) NOT NULL,
  expires_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  absolute_expires_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  extended_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  last_seen_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  revoked_at TIMESTAMP(6) NULL DEFAULT NULL,
  revoked_reason VARCHAR(32),
  do_not_remember BOOL NOT NULL DEFAULT 0,
  ip_address VARCHAR(45),
  user_agent VARCHAR(512),
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  UNIQUE KEY uniq_token_hash (token_hash),
  KEY idx_user_id (user_id, created_at, id),
  KEY idx_expires_at (expires_at),
  KEY idx_revoked_at (revoked_at),
  CONSTRAINT fk_sessions_user FOREIGN KEY (user_id) REFERENCES users (id)
)
"""

ROTATED_SESSION_TOKENS = """
CREATE TABLE IF NOT EXISTS rotated_session_tokens (
  token_hash BINARY(32) NOT NULL,
  session_id VARCHAR(255) NOT NULL,
  rotated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (token_hash),
  KEY idx_session_id (session_id),
  CONSTRAINT fk_rotated_session_tokens_session FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
)
"""

VERIFICATIONS = """
CREATE TABLE IF NOT EXISTS verifications (
  id VARCHAR(255) NOT NULL,
  identifier VARCHAR(255) NOT NULL,
  value VARCHAR(255) NOT NULL,
  purpose VARCHAR(32) NOT NULL,
  kind VARCHAR(16) NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  consumed_at TIMESTAMP(6) NULL DEFAULT NULL,
  expires_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  UNIQUE KEY uniq_identifier_value (identifier, value),
  UNIQUE KEY uniq_purpose_identifier (purpose, identifier),
  KEY idx_expires_at (expires_at)
)
"""

ACCOUNTS = """
CREATE TABLE IF NOT EXISTS accounts (
  id VARCHAR(255) NOT NULL,
  user_id VARCHAR(255) NOT NULL,
  account_id VARCHAR(255) NOT NULL,
  provider VARCHAR(255) NOT NULL,
  access_token TEXT,
  refresh_token TEXT,
  id_token TEXT,
  expires_at BIGINT,
  refresh_token_expires_at BIGINT,
  scope VARCHAR(2048),
  token_key_id VARCHAR(32),
  password VARCHAR(255),
  revision INTEGER NOT NULL DEFAULT 1,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  UNIQUE KEY uniq_provider_account (provider, account_id),
  KEY idx_user_id (user_id, created_at, id),
  KEY idx_token_key_id (token_key_id),
  CONSTRAINT fk_accounts_user FOREIGN KEY (user_id) REFERENCES users (id)
)
"""

IDEMPOTENCY_KEYS = """
CREATE TABLE IF NOT EXISTS idempotency_keys (
  method VARCHAR(64) NOT NULL,
  request_id VARCHAR(36) NOT NULL,
  fingerprint BINARY(32) NOT NULL,
  response MEDIUMBLOB,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (method, request_id),
  KEY idx_created_at (created_at)
)
"""

OUTBOX = """
CREATE TABLE IF NOT EXISTS outbox (
  id VARCHAR(255) NOT NULL,
  kind VARCHAR(64) NOT NULL,
  payload TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  available_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  leased_until TIMESTAMP(6) NULL DEFAULT NULL,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  KEY idx_available_at (available_at)
)
"""

ATTEMPT_COUNTERS = """
CREATE TABLE IF NOT EXISTS attempt_counters (
  scope VARCHAR(32) NOT NULL,
  subject BINARY(32) NOT NULL,
  attempts INTEGER NOT NULL,
  window_ends_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (scope, subject),
  KEY idx_window_ends_at (window_ends_at)
)
"""

TABLES = {
    "users": USERS,
    "sessions": SESSIONS,
    "rotated_session_tokens": ROTATED_SESSION_TOKENS,
    "verifications": VERIFICATIONS,
    "accounts": ACCOUNTS,
    "idempotency_keys": IDEMPOTENCY_KEYS,
    "outbox": OUTBOX,
    "attempt_counters": ATTEMPT_COUNTERS,
}


def upgrade() -> None:
    for statement in TABLES.values():
        op.execute(statement + OPTIONS)


def downgrade() -> None:
    for name in reversed(TABLES):
        op.execute(f"DROP TABLE IF EXISTS {name}")
