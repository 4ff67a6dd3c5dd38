// Calls the pair from TypeScript: signs a user up, validates the session, tells the user something, watches, loses the
// stream and goes on where it was, and tells errors apart by their reason. Prints what it saw as JSON.
import { type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "./gen/typescript/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/typescript/vibework/errors/v1/error_reason_pb.js";
import { NotificationType } from "./gen/typescript/vibework/notifications/v1/notification_pb.js";
import {
  NotificationService,
  type WatchNotificationsRequestSchema,
} from "./gen/typescript/vibework/notifications/v1/notification_service_pb.js";
import { SessionService } from "./gen/typescript/vibework/users/v1/session_service_pb.js";

type WatchRequest = MessageInitShape<typeof WatchNotificationsRequestSchema>;

const [users = "127.0.0.1:50051", notifications = "127.0.0.1:50052"] = process.argv.slice(2);
const sessions = createClient(SessionService, createGrpcTransport({ baseUrl: `http://${users}` }));
const feed = createClient(NotificationService, createGrpcTransport({ baseUrl: `http://${notifications}` }));

const request = { email: `ts-${Date.now()}@example.com`, password: "correct horse battery", name: "TypeScript" };
const { user, sessionToken } = await sessions.signUp(request);
const userId = user!.id;
const validated = await sessions.validateSession({ sessionToken, includeUser: true });
const taken = await advice(sessions.signUp(request));
const invalid = await advice(sessions.validateSession({ sessionToken: "not one" }));

await notify("first");
// The unread notifications first, then whatever happens.
const watched = await next({ userId, start: { case: "snapshot", value: {} } });
// Nobody watches: what happens now is told to the watch that resumes with the token of this one.
await notify("second");
const resumed = await next({ userId, start: { case: "resumeToken", value: watched.token } });
console.log(
  JSON.stringify({
    validated: validated.user!.id === userId,
    taken,
    invalid,
    watched: watched.title,
    resumed: resumed.title,
  }),
);
process.exit(0);

/** Says what to do about a call that fails, by the reason of its error. */
async function advice(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "nothing";
  } catch (error) {
    switch (reasonOf(error)) {
      case ErrorReason.EMAIL_TAKEN:
        return "offer to sign in";
      case ErrorReason.SESSION_INVALID:
        return "sign in again";
      default:
        return `report ${error}`;
    }
  }
}

/**
 * Returns the reason that an error carries, or unspecified: of errors that gRPC itself makes, and of reasons that the
 * contract did not have yet when this program was built.
 */
function reasonOf(error: unknown): ErrorReason {
  const [info] = ConnectError.from(error, Code.Internal).findDetails(ErrorInfoSchema);
  const reason = info?.domain === "vibework" ? ErrorReason[info.reason as keyof typeof ErrorReason] : undefined;
  return reason ?? ErrorReason.UNSPECIFIED;
}

async function notify(title: string): Promise<void> {
  const content = { title, message: "from TypeScript", type: NotificationType.IN_APP };
  await feed.createNotification({ userId, content });
}

/**
 * Opens a watch and leaves it once it has brought a notification and, after a snapshot, the snapshot's end. Returns the
 * notification's title and the token of the last event, with which a later watch goes on.
 */
async function next(start: WatchRequest): Promise<{ title: string; token: string }> {
  let title = "";
  // To return from the loop cancels the call.
  for await (const { event, resumeToken } of feed.watchNotifications(start, { timeoutMs: 60_000 })) {
    if (event.case === "snapshot" || event.case === "created") title = event.value.title;
    if (event.case === "created" || event.case === "snapshotEnd") return { title, token: resumeToken };
  }
  throw new Error("the stream ended");
}
