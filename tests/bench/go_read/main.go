// The read behind ValidateSession, written by hand: grpc-go, database/sql, one SELECT for each call, no rule and no limit.
package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/go-sql-driver/mysql"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// As many as the services have by default.
const connections = 10

const query = "SELECT id, user_id, created_at, expires_at, absolute_expires_at, last_seen_at, revoked_at, " +
	"do_not_remember, ip_address, user_agent FROM sessions WHERE token_hash = ?"

// Messages stay bytes, which are read and written below.
type raw struct{}

func (raw) Marshal(value any) ([]byte, error)      { return *value.(*[]byte), nil }
func (raw) Unmarshal(data []byte, value any) error { *value.(*[]byte) = data; return nil }
func (raw) Name() string                           { return "proto" }

type server struct{ selecting *sql.Stmt }

func (s *server) validate(ctx context.Context, request []byte) ([]byte, error) {
	token, ok := field(request, 1)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "no token")
	}
	hash := sha256.Sum256(token)
	var id, user string
	var created, expires, absolute time.Time
	var seen, revoked sql.NullTime
	var forget bool
	var address, agent sql.NullString
	row := s.selecting.QueryRowContext(ctx, hash[:])
	err := row.Scan(&id, &user, &created, &expires, &absolute, &seen, &revoked, &forget, &address, &agent)
	now := time.Now()
	if err == sql.ErrNoRows || err == nil && (revoked.Valid || !expires.After(now) || !absolute.After(now)) {
		return nil, status.Error(codes.Unauthenticated, "session invalid")
	}
	if err != nil {
		return nil, status.Error(codes.Unavailable, "database unavailable")
	}
	var session []byte
	session = text(session, 1, id)
	session = text(session, 2, user)
	session = moment(session, 3, created)
	session = moment(session, 4, expires)
	session = moment(session, 5, absolute)
	if seen.Valid {
		session = moment(session, 6, seen.Time)
	}
	session = text(session, 7, address.String)
	session = text(session, 8, agent.String)
	if forget {
		session = protowire.AppendVarint(protowire.AppendTag(session, 9, protowire.VarintType), 1)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), session), nil
}

// field returns the last value of a field of text or bytes.
func field(message []byte, wanted protowire.Number) (found []byte, ok bool) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil, false
		}
		message = message[size:]
		if number == wanted && kind == protowire.BytesType {
			found, size = protowire.ConsumeBytes(message)
			ok = size >= 0
		} else {
			size = protowire.ConsumeFieldValue(number, kind, message)
		}
		if size < 0 {
			return nil, false
		}
		message = message[size:]
	}
	return found, ok
}

func text(message []byte, number protowire.Number, value string) []byte {
	if value == "" {
		return message
	}
	return protowire.AppendString(protowire.AppendTag(message, number, protowire.BytesType), value)
}

func moment(message []byte, number protowire.Number, value time.Time) []byte {
	var stamp []byte
	stamp = protowire.AppendVarint(protowire.AppendTag(stamp, 1, protowire.VarintType), uint64(value.Unix()))
	if nanoseconds := value.Nanosecond(); nanoseconds != 0 {
		stamp = protowire.AppendVarint(protowire.AppendTag(stamp, 2, protowire.VarintType), uint64(nanoseconds))
	}
	return protowire.AppendBytes(protowire.AppendTag(message, number, protowire.BytesType), stamp)
}

func main() {
	config := mysql.NewConfig()
	config.Net, config.ParseTime = "tcp", true
	config.Addr = net.JoinHostPort(os.Getenv("MYSQL_HOST"), os.Getenv("MYSQL_PORT"))
	config.User, config.Passwd = os.Getenv("MYSQL_USER"), os.Getenv("MYSQL_PASSWORD")
	config.DBName = os.Getenv("MYSQL_DATABASE")
	database, err := sql.Open("mysql", config.FormatDSN())
	if err != nil {
		log.Fatal(err)
	}
	database.SetMaxOpenConns(connections)
	database.SetMaxIdleConns(connections)
	selecting, err := database.Prepare(query)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%s", os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer(grpc.ForceServerCodec(raw{}))
	serving.RegisterService(&grpc.ServiceDesc{
		ServiceName: "vibework.users.v1.SessionService",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "ValidateSession", Handler: handle}},
	}, &server{selecting})
	log.Fatal(serving.Serve(listener))
}

func handle(own any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var request []byte
	if err := decode(&request); err != nil {
		return nil, err
	}
	answer, err := own.(*server).validate(ctx, request)
	return &answer, err
}
