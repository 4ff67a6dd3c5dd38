"""Tables of other systems, as operators have them: those of the source document."""

from __future__ import annotations

SOURCE = [
    """CREATE TABLE users (
      id VARCHAR(255) PRIMARY KEY, email VARCHAR(255) UNIQUE NOT NULL, name VARCHAR(255), password_hash TEXT,
      image VARCHAR(255), created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
      updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, INDEX idx_email (email))""",
    """CREATE TABLE sessions (
      id VARCHAR(255) PRIMARY KEY, user_id VARCHAR(255) NOT NULL, expires_at TIMESTAMP NOT NULL,
      created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, FOREIGN KEY (user_id) REFERENCES users(id),
      INDEX idx_user_id (user_id), INDEX idx_expires_at (expires_at))""",
    """CREATE TABLE verifications (
      id VARCHAR(255) PRIMARY KEY, identifier VARCHAR(255) NOT NULL, value VARCHAR(255) NOT NULL,
      expires_at TIMESTAMP NOT NULL, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
      updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
      UNIQUE KEY uniq_identifier_value (identifier, value))""",
    """CREATE TABLE accounts (
      id VARCHAR(255) PRIMARY KEY, user_id VARCHAR(255) NOT NULL, account_id VARCHAR(255) NOT NULL,
      provider VARCHAR(255) NOT NULL, access_token TEXT, refresh_token TEXT, id_token TEXT, expires_at BIGINT,
      password VARCHAR(255), created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
      updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
      FOREIGN KEY (user_id) REFERENCES users(id), UNIQUE KEY uniq_provider_account (provider, account_id))""",
]
