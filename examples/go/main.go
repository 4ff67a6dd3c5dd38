// Calls the pair from Go: signs a user up, validates the session, tells the user something, watches, loses the stream and
// goes on where it was, and tells errors apart by their reason. Prints what it saw as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	errorsv1 "vibework/errors/v1"
	notificationsv1 "vibework/notifications/v1"
	usersv1 "vibework/users/v1"
)

const password = "correct horse battery"

// Seen is what the program prints.
type Seen struct {
	Validated bool   `json:"validated"`
	Taken     string `json:"taken"`
	Invalid   string `json:"invalid"`
	Watched   string `json:"watched"`
	Resumed   string `json:"resumed"`
}

// Pair holds the clients of both services.
type Pair struct {
	sessions usersv1.SessionServiceClient
	feed     notificationsv1.NotificationServiceClient
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	users, notifications := "127.0.0.1:50051", "127.0.0.1:50052"
	if len(os.Args) == 3 {
		users, notifications = os.Args[1], os.Args[2]
	}
	pair := Pair{
		sessions: usersv1.NewSessionServiceClient(connect(users)),
		feed:     notificationsv1.NewNotificationServiceClient(connect(notifications)),
	}
	seen, err := pair.call(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		log.Fatal(err)
	}
}

func connect(address string) *grpc.ClientConn {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

func (pair *Pair) call(ctx context.Context) (*Seen, error) {
	request := &usersv1.SignUpRequest{
		Email: fmt.Sprintf("go-%d@example.com", time.Now().UnixNano()), Password: password, Name: "Go",
	}
	signedUp, err := pair.sessions.SignUp(ctx, request)
	if err != nil {
		return nil, err
	}
	validated, err := pair.sessions.ValidateSession(
		ctx, &usersv1.ValidateSessionRequest{SessionToken: signedUp.SessionToken, IncludeUser: true},
	)
	if err != nil {
		return nil, err
	}
	seen := &Seen{Validated: validated.User.Id == signedUp.User.Id}
	_, taken := pair.sessions.SignUp(ctx, request)
	_, invalid := pair.sessions.ValidateSession(ctx, &usersv1.ValidateSessionRequest{SessionToken: "not one"})
	seen.Taken, seen.Invalid = advice(taken), advice(invalid)
	seen.Watched, seen.Resumed, err = pair.watchTwice(ctx, signedUp.User.Id)
	return seen, err
}

// advice says what to do about an error, by its reason.
func advice(err error) string {
	switch reasonOf(err) {
	case errorsv1.ErrorReason_ERROR_REASON_EMAIL_TAKEN:
		return "offer to sign in"
	case errorsv1.ErrorReason_ERROR_REASON_SESSION_INVALID:
		return "sign in again"
	default:
		return fmt.Sprintf("report %v", err)
	}
}

// reasonOf returns the reason that an error carries, or unspecified: of errors that gRPC itself makes, and of reasons that
// the contract did not have yet when this program was built.
func reasonOf(err error) errorsv1.ErrorReason {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "vibework" {
			return errorsv1.ErrorReason(errorsv1.ErrorReason_value["ERROR_REASON_"+info.Reason])
		}
	}
	return errorsv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// watchTwice returns the title of the notification that a watch brings, and of the one that is created while nobody
// watches, which a second watch brings that resumes with the token of the first.
func (pair *Pair) watchTwice(ctx context.Context, user string) (string, string, error) {
	if err := pair.notify(ctx, user, "first"); err != nil {
		return "", "", err
	}
	// The unread notifications first, then whatever happens.
	watched, token, err := pair.next(ctx, &notificationsv1.WatchNotificationsRequest{
		UserId: user,
		Start: &notificationsv1.WatchNotificationsRequest_Snapshot_{
			Snapshot: &notificationsv1.WatchNotificationsRequest_Snapshot{},
		},
	})
	if err != nil {
		return "", "", err
	}
	if err := pair.notify(ctx, user, "second"); err != nil {
		return "", "", err
	}
	resumed, _, err := pair.next(ctx, &notificationsv1.WatchNotificationsRequest{
		UserId: user,
		Start:  &notificationsv1.WatchNotificationsRequest_ResumeToken{ResumeToken: token},
	})
	return watched, resumed, err
}

func (pair *Pair) notify(ctx context.Context, user, title string) error {
	_, err := pair.feed.CreateNotification(ctx, &notificationsv1.CreateNotificationRequest{
		UserId: user,
		Content: &notificationsv1.NotificationContent{
			Title: title, Message: "from Go", Type: notificationsv1.NotificationType_NOTIFICATION_TYPE_IN_APP,
		},
	})
	return err
}

// next opens a watch and leaves it once it has brought a notification and, after a snapshot, the snapshot's end. It
// returns the notification's title and the token of the last event, with which a later watch goes on.
func (pair *Pair) next(
	ctx context.Context, request *notificationsv1.WatchNotificationsRequest,
) (title, token string, err error) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	stream, err := pair.feed.WatchNotifications(ctx, request)
	if err != nil {
		return "", "", err
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return "", "", err
		}
		switch happened := event.Event.(type) {
		case *notificationsv1.WatchNotificationsResponse_Snapshot:
			title = happened.Snapshot.Title
		case *notificationsv1.WatchNotificationsResponse_SnapshotEnd_:
			return title, event.ResumeToken, nil
		case *notificationsv1.WatchNotificationsResponse_Created:
			return happened.Created.Title, event.ResumeToken, nil
		}
	}
}
