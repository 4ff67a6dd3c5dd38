// Calls the pair from Go: creates, lists, decodes an error to its reason and watches. Prints what it saw as JSON.
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

// Seen is what the test compares.
type Seen struct {
	Created string   `json:"created"`
	Listed  []string `json:"listed"`
	Reason  string   `json:"reason"`
	Watched string   `json:"watched"`
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	users, notifications := connect(os.Args[1]), connect(os.Args[2])
	seen, err := call(ctx, usersv1.NewUserServiceClient(users), notificationsv1.NewNotificationServiceClient(notifications))
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

func call(
	ctx context.Context, users usersv1.UserServiceClient, notifications notificationsv1.NotificationServiceClient,
) (*Seen, error) {
	request := &usersv1.CreateUserRequest{Email: "go@example.com", Name: "Go"}
	user, err := users.CreateUser(ctx, request)
	if err != nil {
		return nil, err
	}
	_, taken := users.CreateUser(ctx, request)
	reason, err := reasonOf(taken)
	if err != nil {
		return nil, err
	}
	created, err := create(ctx, notifications, user.User.Id, "first")
	if err != nil {
		return nil, err
	}
	page, err := notifications.ListNotifications(
		ctx, &notificationsv1.ListNotificationsRequest{UserId: user.User.Id},
	)
	if err != nil {
		return nil, err
	}
	seen := &Seen{Created: created, Reason: reason}
	for _, notification := range page.Notifications {
		seen.Listed = append(seen.Listed, notification.Title)
	}
	seen.Watched, err = watch(ctx, notifications, user.User.Id)
	return seen, err
}

func create(
	ctx context.Context, notifications notificationsv1.NotificationServiceClient, user, title string,
) (string, error) {
	response, err := notifications.CreateNotification(ctx, &notificationsv1.CreateNotificationRequest{
		UserId: user,
		Content: &notificationsv1.NotificationContent{
			Title: title, Message: "from Go", Type: notificationsv1.NotificationType_NOTIFICATION_TYPE_IN_APP,
		},
	})
	return response.GetNotification().GetTitle(), err
}

// reasonOf returns the name of the reason that an error carries, looked up in the enum of the contract.
func reasonOf(err error) (string, error) {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "vibework" {
			reason := errorsv1.ErrorReason(errorsv1.ErrorReason_value["ERROR_REASON_"+info.Reason])
			return reason.String(), nil
		}
	}
	return "", fmt.Errorf("no reason in %v", err)
}

// watch waits for the end of the snapshot, creates a notification, and returns the title of the one that the stream brings.
func watch(
	ctx context.Context, notifications notificationsv1.NotificationServiceClient, user string,
) (string, error) {
	stream, err := notifications.WatchNotifications(ctx, &notificationsv1.WatchNotificationsRequest{
		UserId: user,
		Start:  &notificationsv1.WatchNotificationsRequest_Snapshot_{Snapshot: &notificationsv1.WatchNotificationsRequest_Snapshot{}},
	})
	if err != nil {
		return "", err
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return "", err
		}
		switch event := event.Event.(type) {
		case *notificationsv1.WatchNotificationsResponse_SnapshotEnd_:
			if _, err := create(ctx, notifications, user, "second"); err != nil {
				return "", err
			}
		case *notificationsv1.WatchNotificationsResponse_Created:
			return event.Created.Title, nil
		}
	}
}
