-- The users service's tables on a sharded Vitess, and those of its lookup vindexes. Send it once through vtgate:
--   mysql --host VTGATE --port 3306 --database vibework < deploy/vitess/schema.sql
-- and user_events and event_sequence once more, to the keyspace of events, before the routing rules (docs/scaling.md).
-- It is what `users-service migrate up` makes on one MySQL, but for what is remarked; later revisions come by `migrate up`.

-- idx_email is unique on one MySQL. Here that would hold within a shard only, and email_lookup says more: who has an address
-- has the normalised one, too.
CREATE TABLE users (
  id varchar(255) NOT NULL,
  email varchar(255) NOT NULL,
  email_normalized varchar(255) NOT NULL,
  email_verified tinyint(1) NOT NULL DEFAULT '0',
  name varchar(255) DEFAULT NULL,
  password_hash text,
  image varchar(255) DEFAULT NULL,
  revision int NOT NULL DEFAULT '1',
  created_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  disabled_at timestamp(6) NULL DEFAULT NULL,
  disabled_until datetime(6) DEFAULT NULL,
  disabled_reason varchar(255) DEFAULT NULL,
  is_disabled tinyint(1) NOT NULL DEFAULT '0',
  PRIMARY KEY (id),
  UNIQUE KEY uniq_email_normalized (email_normalized),
  KEY idx_email (email),
  KEY idx_created_at (created_at,id),
  KEY idx_email_verified (email_verified,created_at,id),
  KEY idx_updated_at (updated_at,id),
  KEY idx_is_disabled (is_disabled,created_at,id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE sessions (
  id varchar(255) NOT NULL,
  user_id varchar(255) NOT NULL,
  token_hash binary(32) NOT NULL,
  expires_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  absolute_expires_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  extended_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  last_seen_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  revoked_at timestamp(6) NULL DEFAULT NULL,
  revoked_reason varchar(32) DEFAULT NULL,
  do_not_remember tinyint(1) NOT NULL DEFAULT '0',
  ip_address varchar(45) DEFAULT NULL,
  user_agent varchar(512) DEFAULT NULL,
  created_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  authentication_method varchar(16) DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uniq_token_hash (token_hash),
  KEY idx_user_id (user_id,created_at,id),
  KEY idx_expires_at (expires_at),
  KEY idx_revoked_at (revoked_at),
  CONSTRAINT fk_sessions_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE rotated_session_tokens (
  token_hash binary(32) NOT NULL,
  session_id varchar(255) NOT NULL,
  rotated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (token_hash),
  KEY idx_session_id (session_id),
  CONSTRAINT fk_rotated_session_tokens_session FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE accounts (
  id varchar(255) NOT NULL,
  user_id varchar(255) NOT NULL,
  account_id varchar(255) NOT NULL,
  provider varchar(255) NOT NULL,
  access_token text,
  refresh_token text,
  id_token text,
  expires_at bigint DEFAULT NULL,
  refresh_token_expires_at bigint DEFAULT NULL,
  scope varchar(2048) DEFAULT NULL,
  token_key_id varchar(32) DEFAULT NULL,
  password varchar(255) DEFAULT NULL,
  revision int NOT NULL DEFAULT '1',
  created_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  verified_email varchar(255) DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uniq_provider_account (provider,account_id),
  KEY idx_user_id (user_id,created_at,id),
  KEY idx_token_key_id (token_key_id),
  CONSTRAINT fk_accounts_user FOREIGN KEY (user_id) REFERENCES users (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE verifications (
  id varchar(255) NOT NULL,
  identifier varchar(255) NOT NULL,
  value varchar(255) NOT NULL,
  purpose varchar(32) NOT NULL,
  kind varchar(16) NOT NULL,
  attempts int NOT NULL DEFAULT '0',
  consumed_at timestamp(6) NULL DEFAULT NULL,
  expires_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  created_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  user_id varchar(255) NOT NULL DEFAULT '',
  PRIMARY KEY (id),
  UNIQUE KEY uniq_identifier_value (identifier,value),
  UNIQUE KEY uniq_purpose_identifier_kind_user (purpose,identifier,kind,user_id),
  KEY idx_expires_at (expires_at),
  KEY idx_user_id (user_id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE idempotency_keys (
  method varchar(64) NOT NULL,
  request_id varchar(36) NOT NULL,
  fingerprint binary(32) NOT NULL,
  response mediumblob,
  created_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (method,request_id),
  KEY idx_created_at (created_at)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE outbox (
  id varchar(255) NOT NULL,
  kind varchar(64) NOT NULL,
  payload text NOT NULL,
  attempts int NOT NULL DEFAULT '0',
  available_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  leased_until timestamp(6) NULL DEFAULT NULL,
  created_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  KEY idx_available_at (available_at)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE user_events (
  id bigint NOT NULL AUTO_INCREMENT,
  seq bigint DEFAULT NULL,
  user_id varchar(255) NOT NULL,
  kind varchar(32) NOT NULL,
  revision int DEFAULT NULL,
  session_id varchar(255) DEFAULT NULL,
  occurred_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  sequenced_at timestamp(6) NULL DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uniq_seq (seq)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE event_sequence (
  id int NOT NULL,
  epoch binary(16) NOT NULL,
  purged bigint NOT NULL DEFAULT '0',
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE attempt_counters (
  scope varchar(32) NOT NULL,
  subject binary(32) NOT NULL,
  attempts int NOT NULL,
  window_ends_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (scope,subject),
  KEY idx_window_ends_at (window_ends_at)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which revision this is. The column on_one_shard is for the vindex, which must be on one that never changes.
CREATE TABLE alembic_version (
  version_num varchar(32) NOT NULL,
  on_one_shard tinyint DEFAULT NULL,
  PRIMARY KEY (version_num)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Lookups: where the row of a value is. Their columns are of the types of those that are looked up.

CREATE TABLE email_lookup (
  email_normalized varchar(255) NOT NULL,
  keyspace_id varbinary(128) NOT NULL,
  PRIMARY KEY (email_normalized)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE session_lookup (
  id varchar(255) NOT NULL,
  keyspace_id varbinary(128) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE token_lookup (
  token_hash binary(32) NOT NULL,
  keyspace_id varbinary(128) NOT NULL,
  PRIMARY KEY (token_hash)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE rotated_lookup (
  token_hash binary(32) NOT NULL,
  keyspace_id varbinary(128) NOT NULL,
  PRIMARY KEY (token_hash)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Unique by both columns; looked up by the first, under which hardly ever two providers have an account.
CREATE TABLE provider_lookup (
  account_id varchar(255) NOT NULL,
  provider varchar(255) NOT NULL,
  keyspace_id varbinary(128) NOT NULL,
  PRIMARY KEY (account_id,provider)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO alembic_version (version_num) VALUES ('0005');
