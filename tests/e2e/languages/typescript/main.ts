// Calls the pair from TypeScript: creates, lists, decodes an error to its reason and watches. Prints what it saw as JSON.
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "./gen/typescript/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/typescript/vibework/errors/v1/error_reason_pb.js";
import { NotificationType } from "./gen/typescript/vibework/notifications/v1/notification_pb.js";
import { NotificationService } from "./gen/typescript/vibework/notifications/v1/notification_service_pb.js";
import { UserService } from "./gen/typescript/vibework/users/v1/user_service_pb.js";

const [usersAddress, notificationsAddress] = process.argv.slice(2);
const users = createClient(UserService, createGrpcTransport({ baseUrl: `http://${usersAddress}` }));
const notifications = createClient(
  NotificationService,
  createGrpcTransport({ baseUrl: `http://${notificationsAddress}` }),
);

const request = { email: "typescript@example.com", name: "TypeScript" };
const user = (await users.createUser(request)).user!;
const reason = await reasonOf(users.createUser(request));
const created = await create("first");
const page = await notifications.listNotifications({ userId: user.id });
const listed = page.notifications.map((notification) => notification.title);
console.log(JSON.stringify({ created, listed, reason, watched: await watch() }));
process.exit(0);

async function create(title: string): Promise<string> {
  const content = { title, message: "from TypeScript", type: NotificationType.IN_APP };
  const response = await notifications.createNotification({ userId: user.id, content });
  return response.notification!.title;
}

/** Returns the name of the reason that the call's error carries, looked up in the enum of the contract. */
async function reasonOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    const [info] = ConnectError.from(error, Code.Internal).findDetails(ErrorInfoSchema);
    if (info?.domain === "vibework") {
      const reason = ErrorReason[info.reason as keyof typeof ErrorReason];
      return `ERROR_REASON_${ErrorReason[reason]}`;
    }
  }
  throw new Error("the call gave no reason");
}

/** Waits for the end of the snapshot, creates a notification, and returns the title of the one that the stream brings. */
async function watch(): Promise<string> {
  const stream = notifications.watchNotifications(
    { userId: user.id, start: { case: "snapshot", value: {} } },
    { timeoutMs: 60_000 },
  );
  for await (const { event } of stream) {
    if (event.case === "snapshotEnd") await create("second");
    if (event.case === "created") return event.value.title;
  }
  throw new Error("the stream ended");
}
