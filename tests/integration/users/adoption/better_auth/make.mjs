// Writes a database as Better Auth does: its own migrations, sign-ups, sign-ins and a provider's account.
// Prints what the people know, and the statements that make the same database.
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { admin } from "better-auth/plugins";
import { createPool } from "mysql2/promise";

const database = createPool({
  host: process.env.MYSQL_HOST,
  port: Number(process.env.MYSQL_PORT),
  user: process.env.MYSQL_USER,
  password: process.env.MYSQL_PASSWORD,
  database: process.env.MYSQL_DATABASE,
  timezone: "Z",
});

// The provider's word comes from here instead of the network; everything else is Better Auth's own way.
const google = {
  clientId: "made-up",
  clientSecret: "made-up",
  verifyIdToken: async () => true,
  getUserInfo: async () => ({
    user: { id: "google-cleo", name: "Cleo", email: "cleo@example.com", emailVerified: true, image: "https://example.com/cleo.png" },
    data: { sub: "google-cleo" },
  }),
};

const auth = betterAuth({
  database,
  secret: "made-up secret of a test, of thirty-two characters",
  baseURL: "http://localhost:3000",
  // Nothing is sent: what matters is the row that is written.
  emailAndPassword: { enabled: true, sendResetPassword: async () => undefined },
  socialProviders: { google },
  plugins: process.env.VARIANT === "admin" ? [admin()] : [],
  advanced: process.env.VARIANT === "serial" ? { database: { generateId: "serial" } } : {},
  telemetry: { enabled: false },
  logger: { level: "error" },
});

const { runMigrations, compileMigrations } = await getMigrations(auth.options);
const statements = await compileMigrations();
await runMigrations();

const headers = new Headers({ "user-agent": "Mozilla/5.0 (made up)", "x-forwarded-for": "203.0.113.7" });
const sign = (email, password, name) => auth.api.signUpEmail({ body: { email, password, name }, headers });
const ada = await sign("Ada.Lovelace@Example.com", "correct horse battery", "Ada Lovelace");
const ben = await sign("ben@example.com", "Grüße aus Köln 7", "Ben Öztürk");
const again = await auth.api.signInEmail({ body: { email: "ben@example.com", password: "Grüße aus Köln 7" }, headers });
const cleo = await auth.api.signInSocial({
  body: {
    provider: "google",
    idToken: { token: "id-token-of-cleo", accessToken: "access-token-of-cleo" },
  },
  headers,
});
const { internalAdapter } = await auth.$context;
const [linked] = await internalAdapter.findAccounts(cleo.user.id);
await internalAdapter.updateAccount(linked.id, {
  refreshToken: "refresh-token-of-cleo",
  accessTokenExpiresAt: new Date("2030-01-01T00:00:00Z"),
  scope: "openid,email,profile",
});
await auth.api.requestPasswordReset({ body: { email: "ben@example.com" } });
if (process.env.VARIANT === "admin") {
  await database.query("UPDATE user SET banned = 1, banReason = 'spam' WHERE id = ?", [ben.user.id]);
}

// What a database holds that another test makes without Node.
const inserts = [];
for (const table of ["user", "session", "account", "verification"]) {
  const [rows] = await database.query(`SELECT * FROM ${table} ORDER BY id`);
  for (const row of rows) inserts.push(database.format("INSERT INTO ?? SET ?", [table, row]));
}

console.log(JSON.stringify({
  statements: [...statements.split(";").map((each) => each.trim()).filter(Boolean), ...inserts],
  people: [
    { id: ada.user.id, email: "Ada.Lovelace@Example.com", password: "correct horse battery", tokens: [ada.token] },
    { id: ben.user.id, email: "ben@example.com", password: "Grüße aus Köln 7", tokens: [ben.token, again.token] },
    { id: cleo.user.id, email: "cleo@example.com", tokens: [cleo.token], account: "google-cleo" },
  ],
}));
await database.end();
