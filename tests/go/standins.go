package main

// Small stand-ins for the control plane, so that the public client, as it is, talks to one agent.
//
// Everything between a call on Sandbox and the wire is the client's own code. What the control plane
// would say (which task, where its agent is, with which token) is said here.

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	modal "github.com/modal-labs/modal-client/go"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What the client says when the control plane's address is only known to be on this machine.
const expectedWarning = "Using insecure TLS (skip certificate verification) for task command router"

var background = context.Background()

// place is what each case is given: where the agent is.
type place struct {
	hostAndPort string
	taskID      string
	secret      []byte
}

// token makes an HS256 token that expires so long from now.
func (p *place) token(lifetime time.Duration, taskID string) string {
	claims, err := json.Marshal(map[string]any{
		"exp": time.Now().Add(lifetime).Unix(), "task_id": taskID,
	})
	must(err)
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, p.secret)
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// standin is the client library's own sandbox with what stands in for the rest.
type standin struct {
	*modal.Sandbox
	client  *modal.Client
	control *controlPlane
	logs    *listener
}

// sandbox is one on the agent under test, with these tokens in turn.
func (p *place) sandbox(tokens ...string) *standin {
	// The client speaks to the agent without TLS when its control plane is on this machine.
	must(os.Setenv("MODAL_SERVER_URL", cmp.Or(os.Getenv("DOORWARD_CONTROL_PLANE"), "http://127.0.0.1:1")))
	must(os.Setenv("MODAL_CONFIG_PATH", "/dev/null"))
	if len(tokens) == 0 {
		tokens = []string{p.token(time.Hour, p.taskID)}
	}
	control := &controlPlane{place: p, tokens: tokens}
	logs := &listener{expected: []string{expectedWarning}, released: make(chan struct{}, 100)}
	client, err := modal.NewClientWithOptions(&modal.ClientParams{
		ControlPlaneClient: control, Logger: slog.New(logs),
	})
	must(err)
	sandbox, err := client.Sandboxes.FromID(background, "sb-proof", nil)
	must(err)
	return &standin{sandbox, client, control, logs}
}

// exec starts a command, which must succeed.
func (s *standin) exec(params *modal.SandboxExecParams, command ...string) *modal.ContainerProcess {
	process, err := s.Exec(background, command, params)
	must(err)
	return process
}

// run runs a script and returns what it printed; it must succeed.
func (s *standin) run(script string) string {
	process := s.exec(nil, "sh", "-c", script)
	printed := all(process.Stdout)
	if code := wait(process); code != 0 {
		panic(fmt.Sprintf("%s: exit code %d: %s", script, code, all(process.Stderr)))
	}
	return printed
}

// controlPlane hands out the agent's address and tokens, and counts how often it was asked.
type controlPlane struct {
	pb.ModalClientClient
	place   *place
	tokens  []string
	fetched atomic.Int32
}

func (c *controlPlane) SandboxGetTaskIdV2(
	context.Context, *pb.SandboxGetTaskIdRequest, ...grpc.CallOption,
) (*pb.SandboxGetTaskIdResponse, error) {
	return pb.SandboxGetTaskIdResponse_builder{TaskId: &c.place.taskID}.Build(), nil
}

func (c *controlPlane) SandboxGetCommandRouterAccess(
	context.Context, *pb.SandboxGetCommandRouterAccessRequest, ...grpc.CallOption,
) (*pb.SandboxGetCommandRouterAccessResponse, error) {
	turn := min(int(c.fetched.Add(1)), len(c.tokens)) - 1
	// The client takes no other scheme, even if it then dials without TLS.
	return pb.SandboxGetCommandRouterAccessResponse_builder{
		Url: "https://" + c.place.hostAndPort, Jwt: c.tokens[turn],
	}.Build(), nil
}

// listener hears what the client says.
type listener struct {
	// What the client may warn its user of, and how often it warned.
	expected []string
	warnings atomic.Int32
	// One message each time that the client gives up its connection.
	released chan struct{}
	retries  atomic.Int32
}

func (*listener) Enabled(context.Context, slog.Level) bool { return true }
func (l *listener) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l *listener) WithGroup(string) slog.Handler          { return l }

func (l *listener) Handle(_ context.Context, record slog.Record) error {
	if record.Level >= slog.LevelWarn {
		l.warnings.Add(1)
		said := func(words string) bool { return strings.Contains(record.Message, words) }
		if !slices.ContainsFunc(l.expected, said) {
			panic("the client warned: " + record.Message)
		}
	}
	if strings.HasPrefix(record.Message, "Releasing the command router connection") {
		l.released <- struct{}{}
	}
	if strings.HasPrefix(record.Message, "Retrying") {
		l.retries.Add(1)
	}
	return nil
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal[T comparable](got, want T) {
	if got != want {
		panic(fmt.Sprintf("got %#v, not %#v", got, want))
	}
}

// same is equal without showing what may be long.
func same(got, want []byte) {
	if string(got) != string(want) {
		panic(fmt.Sprintf("%d bytes are not the expected %d", len(got), len(want)))
	}
}

// fails checks that an error is of this kind.
func fails[T error](err error) {
	if _, ok := err.(T); !ok {
		panic(fmt.Sprintf("got %#v", err))
	}
}

// refuses checks the code of gRPC and the words of an error.
func refuses(code codes.Code, err error, words string) {
	if status.Code(err) != code || !strings.Contains(err.Error(), words) {
		panic(fmt.Sprintf("got %v", err))
	}
}

func all(stream io.Reader) string {
	data, err := io.ReadAll(stream)
	must(err)
	return string(data)
}

func wait(process *modal.ContainerProcess) int {
	code, err := process.Wait(background, nil)
	must(err)
	return code
}

// feed writes all of it in one message and closes the input.
func feed(stdin io.WriteCloser, data []byte) {
	_, err := stdin.Write(data)
	must(err)
	must(stdin.Close())
}

// noise is so many bytes that look random.
func noise(size int) []byte {
	data := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(data)
	return data
}

func sha256of(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
